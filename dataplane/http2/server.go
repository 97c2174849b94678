package http2

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/codec"
	sock "github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
)

// ServerOptions bound what a client connection may cost. They may be replaced while connections are open: each request
// reads them anew.
type ServerOptions struct {
	Limits        codec.Limits
	HeaderTimeout time.Duration // from a header block's first byte, or the connection's start, to the block's end
	IdleTimeout   time.Duration // of a connection without streams, and between bytes of a body
	MinBodyRate   int           // bytes a second, on average, that a client must send or take once HeaderTimeout has passed; 0: any
}

// A Server serves HTTP/2 client connections (RFC 9113).
type Server struct {
	handler exchange.Handler
	sweeper *sock.Sweeper
	log     logr.Logger
	options atomic.Pointer[ServerOptions]

	mu       sync.Mutex
	conns    map[*conn]struct{}
	draining bool
	grace    time.Duration
	closed   bool
}

// NewServer returns a Server that gives every request to handler.
func NewServer(handler exchange.Handler, sweeper *sock.Sweeper, options ServerOptions, log logr.Logger) *Server {
	s := &Server{handler: handler, sweeper: sweeper, log: log, conns: make(map[*conn]struct{})}
	s.SetOptions(options)
	return s
}

// SetOptions replaces the options; open connections follow with their next request.
func (s *Server) SetOptions(o ServerOptions) { s.options.Store(&o) }

// Serve serves a connection to its end and closes it: TCP, on which the client is known to speak HTTP/2, or TLS over a
// wire.Carrier that has negotiated it. read was read from it already. facts.Remote and what else is known are filled in by
// the caller.
func (s *Server) Serve(nc net.Conn, facts *exchange.Conn, read []byte) {
	c := newConn(s, nc, facts, read)
	s.mu.Lock()
	s.conns[c] = struct{}{}
	if s.closed {
		c.abort()
	} else if s.draining {
		c.drain(s.grace)
	}
	s.mu.Unlock()
	s.sweeper.Add(&c.timer)
	c.serve()
	s.sweeper.Remove(&c.timer)
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

// Drain lets every connection end: clients are told to open no more streams (GOAWAY), those that they open within grace
// are still served, and a connection without streams is closed then. It does not wait.
func (s *Server) Drain(grace time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return
	}
	s.draining, s.grace = true, grace
	for c := range s.conns {
		c.drain(grace)
	}
}

// Close ends every connection at once, whatever runs on it, and returns how many there were. One that comes later ends
// too.
func (s *Server) Close() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed, s.draining = true, true
	for c := range s.conns {
		c.abort()
	}
	return len(s.conns)
}
