package http1

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/codec"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/loop"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
)

// ServerOptions bound what a client connection may cost. They may be replaced while connections are open: each request
// reads them anew.
type ServerOptions struct {
	Limits        codec.Limits
	HeaderTimeout time.Duration // from a head's first byte, or the connection's start, to the head's end
	IdleTimeout   time.Duration // of a kept-alive connection, and between bytes of a body
	MinBodyRate   int           // bytes a second, on average, that a client must send or take once HeaderTimeout has passed; 0: any
}

// A Server serves HTTP/1.1 client connections (RFC 9112): each on a goroutine, or on a Loop with others.
type Server struct {
	handler exchange.Handler
	sweeper *wire.Sweeper
	log     logr.Logger
	options atomic.Pointer[ServerOptions]
	preface func(nc net.Conn, facts *exchange.Conn, read []byte)

	draining atomic.Bool
	mu       sync.Mutex
	conns    map[*conn]struct{}
	closed   bool
}

// NewServer returns a Server that gives every request to handler.
func NewServer(handler exchange.Handler, sweeper *wire.Sweeper, options ServerOptions, log logr.Logger) *Server {
	s := &Server{handler: handler, sweeper: sweeper, log: log, conns: make(map[*conn]struct{})}
	s.SetOptions(options)
	return s
}

// SetOptions replaces the options; open connections follow with their next request.
func (s *Server) SetOptions(o ServerOptions) { s.options.Store(&o) }

// OnPreface has connections over plain TCP that begin with the preface of HTTP/2 served by serve, which gets what was read
// of them. It is called before Serve; without it they are refused.
func (s *Server) OnPreface(serve func(nc net.Conn, facts *exchange.Conn, read []byte)) {
	s.preface = serve
}

// Secured is a connection over TLS, such as a *tls.Conn; its NetConn is a *wire.Carrier.
type Secured interface {
	net.Conn
	NetConn() net.Conn
}

// Serve serves a connection, a *net.TCPConn or Secured, to its end and closes it. facts.Remote and what else is known are
// filled in by the caller.
func (s *Server) Serve(nc net.Conn, facts *exchange.Conn) {
	c := newConn(s, nc, facts)
	s.open(c)
	c.serve()
	s.end(c)
}

// Start has a Loop serve a connection to its end, and calls ended then. Requests for which that does not do (those with a
// body, or that become a tunnel) move the connection to a goroutine of its own, where it stays.
func (s *Server) Start(sock *loop.Socket, facts exchange.Conn, ended func()) {
	c := newConn(s, sock, &facts)
	c.sock, c.ended, c.probed = sock, ended, true
	s.open(c)
	sock.Start(c.ready)
}

// open begins to watch a connection.
func (s *Server) open(c *conn) {
	c.begin()
	s.mu.Lock()
	s.conns[c] = struct{}{}
	if s.closed {
		c.abort()
	} else if s.draining.Load() { // it was accepted just before the listener closed: its first request is served
		c.drainAt.Store(int64(exchange.Now() + exchange.Nanos(time.Second)))
	}
	s.mu.Unlock()
	s.sweeper.Add(&c.timer)
}

// end forgets a connection, and closes it, or gives it to who goes on with it.
func (s *Server) end(c *conn) {
	s.sweeper.Remove(&c.timer)
	if c.preface == nil {
		c.close()
	}
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	if c.preface != nil {
		if !c.aborted.Load() {
			_ = c.nc.SetDeadline(time.Time{}) // of a wake-up that came late
		}
		s.preface(c.nc, &c.facts, c.preface)
	}
	if c.ended != nil {
		c.ended()
	}
}

// Drain lets every connection end: from now on responses say Connection: close, and a connection that has been silent
// for idleGrace is closed. It does not wait.
//
// The grace is for clients that are just about to send: closing under a request on its way would lose it.
func (s *Server) Drain(idleGrace time.Duration) {
	s.draining.Store(true)
	at := exchange.Now() + exchange.Nanos(max(idleGrace, time.Millisecond))
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.drain(at)
	}
}

// Close ends every connection at once, whatever runs on it, and returns how many there were. One that comes later ends
// too.
func (s *Server) Close() int {
	s.draining.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for c := range s.conns {
		c.abort()
	}
	return len(s.conns)
}
