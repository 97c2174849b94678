package http2

import (
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"

	h2 "golang.org/x/net/http2"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	sock "github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
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
	body   requestBody
	fault  *wire.Fault // what is wrong with the request

	websocket bool // an extended CONNECT
	accept    [28]byte
	responded bool
	localOver bool // our side has ended
	sending   patience

	gone     atomic.Bool // reset, or the connection is over: nobody is there to answer
	upstream atomic.Pointer[sock.Timer]

	// guarded by the connection's mu
	window      wire.Window
	remoteEnded bool
	trailer     exchange.Header
	readBy      exchange.Nanos // a byte of the body must have arrived; -1: it has not
	sendBy      exchange.Nanos // the client must have made room; -1: it has not
}

// streams: the memory of an exchange, its fields and what they lie in serves the next one, on whatever connection.
var streams = sync.Pool{New: func() any {
	s := &stream{}
	s.sender.Wake = make(chan struct{}, 1)
	s.body.arrived = make(chan struct{}, 1)
	s.body.s = s
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
	s.body.clear()
	s.x.Reset()
	s.trailer.Reset(nil)
	if s.fields.Memory() > maxKept {
		s.fields, s.x.Request.Header = wire.Fields{}, exchange.Header{}
	}
	s.c, s.fault, s.size = nil, nil, 0
	s.x.Conn, s.x.Downstream = nil, nil
	s.websocket, s.responded, s.localOver, s.sending = false, false, false, patience{}
	s.gone.Store(false)
	s.upstream.Store(nil)
	s.remoteEnded, s.readBy, s.sendBy = false, 0, 0
	drain(s.sender.Wake)
	drain(s.body.arrived)
	streams.Put(s)
}

func drain(c chan struct{}) {
	select {
	case <-c:
	default:
	}
}

// lose notes that nobody is there any more for whom the stream is served. The connection's mu is locked.
func (s *stream) lose() {
	if s.gone.Swap(true) {
		return
	}
	s.sender.Close()
	s.arrive()
	if t := s.upstream.Load(); t != nil {
		s.c.wakes = append(s.c.wakes, t)
	}
}

// arrive wakes who reads the body.
func (s *stream) arrive() {
	select {
	case s.body.arrived <- struct{}{}:
	default:
	}
}

// give notes that n bytes of the stream's window are free again. The connection's mu is locked.
func (s *stream) give(n int) {
	if more := s.window.Give(n); more > 0 && !s.remoteEnded && !s.gone.Load() {
		s.c.out.WindowUpdate(s.id, more)
	}
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
	if s.remoteEnded && r.ContentLength < 0 && !r.Expect && s.trailer.Len() == 0 {
		r.ContentLength = int64(s.body.size) // all of it is here
	}
	if r.ContentLength != 0 {
		r.Body = &s.body
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
	case !s.localOver && s.fault != nil && s.fault.Status == 400:
		code = h2.ErrCodeProtocol
	case !s.localOver:
		code = h2.ErrCodeInternal
	case s.remoteEnded:
		c.completed.Add(1)
		return false
	}
	// A client that still sends is told to stop (RFC 9113 §8.1).
	c.noteGone(s.id)
	c.out.Reset(s.id, code)
	return true
}

// settle takes a stream that is over out of the connection's books. mu is locked.
func (c *conn) settle(s *stream) {
	s.sender.Close()
	c.running--
	c.headBytes -= s.size
	c.give(s.body.size)
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
