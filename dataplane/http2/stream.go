package http2

import (
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	h2 "golang.org/x/net/http2"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	sock "github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http2/inbox"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http2/wire"
)

// A stream is one exchange. It implements exchange.Downstream and sock.Client.
type stream struct {
	c      *conn
	id     uint32
	x      exchange.Exchange
	fields wire.Fields // of the request's head, which lie in it
	size   int         // as they count for the connection
	sender wire.Sender
	body   *inbox.Inbox
	fault  *wire.Fault // what is wrong with the request

	websocket bool // an extended CONNECT
	accept    [28]byte
	responded bool
	localOver atomic.Bool // our side has ended
	sending   wire.Patience

	gone     atomic.Bool // reset, or the connection is over: nobody is there to answer
	upstream atomic.Pointer[sock.Timer]

	// guarded by the connection's mu
	window wire.Window
	sendBy exchange.Nanos // the client must have made room; -1: it has not
}

// streams: the memory of an exchange, its fields and what they lie in serves the next one, on whatever connection.
var streams = sync.Pool{New: func() any {
	s := &stream{}
	s.sender.Wake = make(chan struct{}, 1)
	s.body = inbox.New(s, &s.x)
	return s
}}

// maxKept is how large the fields of a stream may have been whose memory is used again, in bytes.
const maxKept = 16 << 10

func newStream(c *conn, id uint32) *stream {
	s := streams.Get().(*stream)
	s.c, s.id = c, id
	s.window.Reset(streamWindow)
	s.x.Conn, s.x.Downstream = &c.facts, s
	return s
}

// free gives the stream's memory back. Nobody may hold it any more.
func (s *stream) free() {
	s.body.Clear()
	s.x.Reset()
	if s.fields.Memory() > maxKept {
		s.fields, s.x.Request.Header = wire.Fields{}, exchange.Header{}
	}
	s.c, s.fault, s.size = nil, nil, 0
	s.x.Conn, s.x.Downstream = nil, nil
	s.websocket, s.responded, s.sending = false, false, wire.Patience{}
	s.localOver.Store(false)
	s.gone.Store(false)
	s.upstream.Store(nil)
	s.sendBy = 0
	select {
	case <-s.sender.Wake:
	default:
	}
	streams.Put(s)
}

// lose notes that nobody is there any more for whom the stream is served. The connection's mu is locked.
func (s *stream) lose() {
	if s.gone.Swap(true) {
		return
	}
	s.sender.Close()
	s.body.Wake()
	if t := s.upstream.Load(); t != nil {
		s.c.wakes = append(s.c.wakes, t)
	}
}

// What follows implements inbox.Owner.

// Lock locks the connection's mu.
func (s *stream) Lock() { s.c.mu.Lock() }

// Unlock unlocks it.
func (s *stream) Unlock() { s.c.mu.Unlock() }

// Arm has the connection look at its deadlines then.
func (s *stream) Arm(at exchange.Nanos) { s.c.arm(at) }

// Flush has everything leave that was appended.
func (s *stream) Flush() { s.c.out.Flush() }

// Gone reports whether the stream was reset.
func (s *stream) Gone() bool { return s.gone.Load() }

// Freed notes that n bytes of the windows are free again.
func (s *stream) Freed(n int) {
	s.c.give(n)
	if more := s.window.Give(n); more > 0 && !s.body.Over() && !s.gone.Load() {
		s.c.out.WindowUpdate(s.id, more)
	}
}

// Patience is that with the client, in one direction.
func (s *stream) Patience() wire.Patience {
	o := s.c.srv.options.Load()
	return wire.Patience{Idle: s.idleTime(), Grace: o.HeaderTimeout, Rate: o.MinBodyRate}
}

// idleTime is the route's idle time-out where there is a route.
func (s *stream) idleTime() time.Duration {
	if s.x.Idle > 0 {
		return s.x.Idle
	}
	return s.c.srv.options.Load().IdleTimeout
}

// Attach implements sock.Client. A client that was cut off before it could be known whom to wake is asked for by Aborted.
func (s *stream) Attach(t *sock.Timer) { s.upstream.Store(t) }

// Aborted implements sock.Client.
func (s *stream) Aborted() bool { return s.gone.Load() }

// ready makes the request what its handler gets. The connection's mu is locked.
func (s *stream) ready() {
	r := &s.x.Request
	if s.websocket || s.fault != nil {
		return
	}
	if r.ContentLength < 0 && !r.Expect && s.body.Whole() {
		r.ContentLength = int64(s.body.Size()) // all of it is here
	}
	if r.ContentLength != 0 {
		r.Body = s.body
	}
}

// A worker is a goroutine that serves one stream after the other: its stack has grown to what a request needs.
type worker struct {
	next chan *stream
}

// work serves s, and then what dispatch gives to w, until the connection has had no streams for a while.
func (c *conn) work(w *worker, s *stream) {
	for s != nil {
		s.serve()
		c.finish(s, w)
		s = <-w.next
	}
}

// serve serves the exchange. A panic ends one stream, not the process.
func (s *stream) serve() {
	x := &s.x
	defer func() {
		if p := recover(); p != nil {
			s.c.srv.log.Error(fmt.Errorf("panic: %v", p), "a request ended in a panic; its stream is closed",
				"request_id", string(x.RequestID), "stack", string(debug.Stack()))
			if x.Response.Stream != nil {
				x.Response.Stream.Release()
				x.Response.Stream = nil
			}
			if !s.responded {
				s.c.srv.handler.Refuse(x, 500, exchange.Internal)
			}
		}
	}()
	if f := s.fault; f != nil {
		s.c.srv.log.V(1).Info("a request was refused", "status", f.Status, "reason", f.Reason, "detail", f.Detail,
			"client", s.c.facts.Remote.String())
		s.c.srv.handler.Refuse(x, f.Status, f.Reason)
		return
	}
	s.c.srv.handler.Serve(x)
}

// finish ends a stream that was served, and lets w wait for the next one.
func (c *conn) finish(s *stream, w *worker) {
	c.mu.Lock()
	tell := false
	if c.streams[s.id] == s {
		delete(c.streams, s.id)
		tell = s.end()
	}
	c.settle(s)
	if c.deadlines.over {
		close(w.next)
	} else {
		c.idle = append(c.idle, w)
	}
	drained := c.running == 0 && c.deadlines.drain == never
	c.unlock()
	s.free()
	if tell {
		c.out.Flush()
	}
	if drained {
		c.poke()
	}
}

// end ends both sides of a stream that neither side has reset. It reports whether there is something to flush. The
// connection's mu is locked.
func (s *stream) end() bool {
	if s.gone.Load() {
		return false
	}
	c := s.c
	code := h2.ErrCodeNo
	switch {
	case !s.localOver.Load() && s.fault != nil && s.fault.Status == 400:
		code = h2.ErrCodeProtocol
	case !s.localOver.Load():
		code = h2.ErrCodeInternal
	case s.body.Over():
		c.completed.Add(1)
		return false
	}
	// A client that still sends is told to stop (RFC 9113 §8.1).
	c.gone.Note(s.id)
	c.out.Reset(s.id, code)
	return true
}

// settle takes a stream that is over out of the connection's books. mu is locked.
func (c *conn) settle(s *stream) {
	s.sender.Close()
	c.running--
	if c.left != nil {
		close(c.left)
		c.left = nil
	}
	c.headBytes -= s.size
	c.give(s.body.Size())
	s.gone.Store(true)
	if c.running == 0 {
		c.deadlines.quiet, c.deadlines.granted = exchange.Now(), false
		c.arm(c.deadlines.quiet + checkInterval)
	}
}

// drop ends a stream that was never served.
func (c *conn) drop(s *stream) {
	c.mu.Lock()
	if c.streams[s.id] == s {
		delete(c.streams, s.id)
	}
	c.settle(s)
	c.unlock()
	s.free()
}
