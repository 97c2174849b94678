package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/dataplane/listener"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
)

// off is the address of a server that is turned off.
const off = "off"

const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second // of a body, even of one that nobody reads
	writeTimeout  = 30 * time.Second // profiles extend it
	idleTimeout   = time.Minute
	maxHeader     = 16 << 10 // bytes
	maxOpen       = 128      // connections; more wait to be accepted
	retireTimeout = 5 * time.Second
)

// A Server answers HTTP requests on an address that may change while it runs. Make one with NewAdmin or NewMetrics; it
// serves nothing until Apply.
type Server struct {
	log      logr.Logger
	setting  string // the address's place in the configuration
	fallback string // the address where none is configured
	handler  func(boundName string) http.Handler
	role     listener.Role
	sockets  *listener.Sockets // that were passed to the process; nil: none

	mu       sync.Mutex
	current  *binding // nil: off, or skipped
	shutdown bool
	retiring sync.WaitGroup
}

// A binding is a server on one address.
type binding struct {
	address string // as asked for
	ln      *net.TCPListener
	http    *http.Server
}

// Addr returns the address that is bound, with the port that was chosen for port 0; it is empty where none is.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return ""
	}
	return s.current.ln.Addr().String()
}

// Apply makes the server answer on an address: host:port, off, or empty for the default. An address that is configured
// and cannot be bound is an error, and nothing has changed; a default that cannot be is skipped with a warning. An
// unchanged address stays as it is, with the port chosen for port 0.
func (s *Server) Apply(address string) error {
	commit, err := s.Prepare(address)
	if err != nil {
		return err
	}
	commit(true)
	return nil
}

// Prepare does what can fail of Apply: it binds the address. The caller calls commit once, with true to serve there and
// leave the old address, or with false to leave everything as it was. Between the two the Server must not be used.
func (s *Server) Prepare(address string) (commit func(ok bool), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shutdown {
		return nil, fmt.Errorf("%s: the server is shut down", s.setting)
	}
	configured := address != ""
	if !configured {
		address = s.fallback
	}
	old := s.current
	switch {
	case old != nil && old.address == address:
		return func(bool) {}, nil
	case address == off:
		return s.change(old, nil), nil
	}
	ln, err := s.listen(address)
	if err == nil {
		return s.change(old, &binding{address: address, ln: ln}), nil
	}
	if errors.Is(err, syscall.EADDRINUSE) && old != nil && samePort(old.ln.Addr().String(), address) {
		commit, err = s.handOver(old, address)
		if err == nil {
			return commit, nil
		}
		old = s.current
	}
	if configured {
		return nil, fmt.Errorf("%s: %w", s.setting, err)
	}
	telemetry.Warn(s.log, "the default address cannot be used and is skipped; configure another one, or off",
		"setting", s.setting, "address", address, "error", err.Error())
	return s.change(old, nil), nil
}

// change returns what takes the server from one binding to another, either of which may be nil.
func (s *Server) change(old, next *binding) func(ok bool) {
	return func(ok bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !ok {
			if next != nil {
				_ = next.ln.Close()
			}
			return
		}
		s.retire(old)
		s.current = next
		if next != nil {
			s.start(next)
		}
	}
}

// handOver binds an address that only the old one is in the way of, as 0.0.0.0:9901 is of 127.0.0.1:9901. The caller
// holds s.mu.
func (s *Server) handOver(old *binding, address string) (commit func(ok bool), err error) {
	bound := old.ln.Addr().String()
	s.retire(old)
	s.current = nil
	back := func() {
		ln, err := s.listen(bound)
		if err != nil {
			s.log.Error(err, "cannot go back to the old address", "setting", s.setting, "address", bound)
			return
		}
		s.current = &binding{address: old.address, ln: ln}
		s.start(s.current)
	}
	ln, err := s.listen(address)
	if err != nil {
		back()
		return nil, err
	}
	return func(ok bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !ok {
			_ = ln.Close()
			back()
			return
		}
		s.current = &binding{address: address, ln: ln}
		s.start(s.current)
	}, nil
}

// start serves on a binding. The caller holds s.mu.
func (s *Server) start(b *binding) {
	name, _, _ := net.SplitHostPort(b.address)
	b.http = &http.Server{
		Handler:           s.handler(name),
		ReadHeaderTimeout: headerTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(logr.ToSlogHandler(s.log.WithName("http")), slog.LevelInfo),
	}
	s.log.Info("listening", "setting", s.setting, "address", b.ln.Addr().String())
	ln := limited(b.ln, maxOpen)
	s.retiring.Go(func() {
		if err := b.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			s.log.Error(err, "the server has stopped", "setting", s.setting, "address", b.address)
		}
	})
}

// retire stops listening at once, and gives requests that run some time. The caller holds s.mu.
func (s *Server) retire(b *binding) {
	if b == nil {
		return
	}
	_ = b.ln.Close()
	s.retiring.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), retireTimeout)
		defer cancel()
		b.finish(ctx)
	})
}

func (b *binding) finish(ctx context.Context) {
	if b.http.Shutdown(ctx) != nil {
		_ = b.http.Close()
	}
}

// Shutdown stops listening, waits for requests that run until ctx is over, and cuts off the rest. The server cannot be
// used again.
func (s *Server) Shutdown(ctx context.Context) {
	s.mu.Lock()
	s.shutdown = true
	b := s.current
	s.current = nil
	s.mu.Unlock()
	if b != nil {
		b.finish(ctx)
	}
	s.retiring.Wait()
}

// listen returns what was passed for an address, or binds it. Of several sockets that share it the first one is used.
func (s *Server) listen(address string) (*net.TCPListener, error) {
	network := "tcp"
	if host, _, err := net.SplitHostPort(address); err == nil && strings.Count(host, ".") == 3 && net.ParseIP(host) != nil {
		network = "tcp4" // 0.0.0.0 means every IPv4 address, and no IPv6 one
	}
	bound, err := s.sockets.Listen(context.Background(), s.role, network, address, net.ListenConfig{})
	if err != nil {
		return nil, err
	}
	for _, other := range bound.Sockets[1:] {
		_ = other.Close()
	}
	return bound.Sockets[0], nil
}

// Offer returns a copy of the socket, for a process that takes this one's place; none, where the server is off.
func (s *Server) Offer() ([]listener.Socket, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return nil, nil
	}
	fd, err := listener.Duplicate(s.current.ln)
	if err != nil {
		return nil, err
	}
	return []listener.Socket{{Role: s.role, Address: s.current.address, FD: fd}}, nil
}

// Leave stops listening, for a process that listens on the same socket; requests that run go on.
func (s *Server) Leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shutdown = true
	s.retire(s.current)
	s.current = nil
}

func samePort(a, b string) bool {
	_, portA, errA := net.SplitHostPort(a)
	_, portB, errB := net.SplitHostPort(b)
	return errA == nil && errB == nil && portA == portB
}

// limited accepts up to n connections at a time; others wait in the kernel's queue.
func limited(ln net.Listener, n int) net.Listener {
	return &limitedListener{Listener: ln, slots: make(chan struct{}, n), closed: make(chan struct{})}
}

type limitedListener struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once
}

func (l *limitedListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: c, release: sync.OnceFunc(func() { <-l.slots })}, nil
}

func (l *limitedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	release func()
}

func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.release()
	return err
}
