package tcp

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry/accesslog"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/group"
)

// A Stream is a snapshot's stream with its live parts.
type Stream struct {
	Snapshot *snapshot.Stream
	Group    *group.Group  // what it balances over; nil where it has nothing to balance over
	Access   filter.Filter // which clients may come; nil: all
	Metrics  *telemetry.StreamMetrics

	clientAuth string        // snapshot.ClientAuth.Digest
	open       *atomic.Int64 // connections
}

// Options are what a Server gets of the process around it.
type Options struct {
	Log     logr.Logger
	Metrics *telemetry.Metrics
	Access  *accesslog.Log
}

// A Server serves the connections of one listener. Which streams it has may be changed while connections are open: those
// stay with what they began with.
type Server struct {
	options Options
	table   atomic.Pointer[Table]

	mu     sync.Mutex
	conns  map[*conn]struct{}
	counts map[string]*atomic.Int64 // open connections by stream: they survive a change
	closed bool
}

// A Table finds streams. It is immutable.
type Table struct {
	streams  []*Stream
	first    *Stream // nil where there is none
	exact    map[string]*Stream
	wildcard map[string]*Stream // under what follows "*."
	any      *Stream            // nil where none takes every name
	hash     string             // of the configuration
}

// NewServer returns a Server that has no streams until Use.
func NewServer(o Options) *Server {
	s := &Server{options: o, conns: make(map[*conn]struct{}), counts: make(map[string]*atomic.Int64)}
	s.table.Store(NewTable(nil, ""))
	return s
}

// NewTable makes a table of streams, the oldest first: it wins where two want the same name. hash is that of the
// configuration.
func NewTable(streams []*Stream, hash string) *Table {
	t := &Table{streams: streams, exact: map[string]*Stream{}, wildcard: map[string]*Stream{}, hash: hash}
	for _, one := range streams {
		if one.Snapshot.TLS != nil {
			one.clientAuth = one.Snapshot.TLS.ClientAuth.Digest()
		}
		t.add(one)
	}
	return t
}

// Use makes connections that come from now on go by a table, which no other Server has.
func (s *Server) Use(t *Table) {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := make(map[string]*atomic.Int64, len(t.streams))
	for _, one := range t.streams {
		key := one.Snapshot.Namespace + "/" + one.Snapshot.Name
		if one.open = s.counts[key]; one.open == nil {
			one.open = new(atomic.Int64)
		}
		counts[key] = one.open
	}
	s.counts = counts
	s.table.Store(t)
}

func (t *Table) add(s *Stream) {
	if t.first == nil {
		t.first = s
	}
	if len(s.Snapshot.Hosts) == 0 && t.any == nil {
		t.any = s
	}
	for _, h := range s.Snapshot.Hosts {
		h = strings.TrimSuffix(strings.ToLower(h), ".")
		suffix, wild := strings.CutPrefix(h, "*.")
		names := t.exact
		if wild {
			names = t.wildcard
		}
		if names[suffix] == nil {
			names[suffix] = s
		}
	}
}

// Find returns the stream of a name that a client asks for (SNI), in any case: the exact one, then the longest wildcard,
// then one without hosts; nil: nobody has it. Of no name it is the oldest stream.
func (t *Table) Find(serverName string) *Stream {
	if serverName == "" {
		return t.first
	}
	name := strings.TrimSuffix(strings.ToLower(serverName), ".")
	if found := t.exact[name]; found != nil {
		return found
	}
	for rest := name; len(t.wildcard) > 0; {
		_, after, more := strings.Cut(rest, ".")
		if !more {
			break
		}
		if found := t.wildcard[after]; found != nil {
			return found
		}
		rest = after
	}
	return t.any
}

// Find is that of the table that serves.
func (s *Server) Find(serverName string) *Stream { return s.table.Load().Find(serverName) }

// Serve serves a connection to its end and closes it: a *net.TCPConn, or one over TLS whose NetConn is a *wire.Carrier.
// facts tell for which name it was opened.
func (s *Server) Serve(nc net.Conn, facts exchange.Conn) {
	t := s.table.Load()
	ctx, cut := context.WithCancel(context.Background())
	defer cut()
	c := &conn{server: s, client: newEnd(nc), cut: cut, hash: t.hash}
	defer c.client.close(false)
	s.mu.Lock()
	s.conns[c] = struct{}{}
	closed := s.closed
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	stream := t.Find(facts.ServerName)
	switch {
	case closed:
	case stream == nil: // the configuration has changed since the name was looked at
		s.options.Metrics.RejectConnection(exchange.UnknownName)
	default:
		c.serve(ctx, stream, facts)
	}
}

// Close ends every connection at once, and returns how many there were. One that comes later ends too.
func (s *Server) Close() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for c := range s.conns {
		c.abort()
	}
	return len(s.conns)
}

// Open returns how many connections there are.
func (s *Server) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// clientOf is the address of a client as endpoints are picked by.
func clientOf(facts *exchange.Conn) netip.Addr { return facts.Remote.Addr().Unmap() }
