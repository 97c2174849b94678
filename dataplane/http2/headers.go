package http2

import (
	h2 "golang.org/x/net/http2"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http2/wire"
)

// A block is the header block that a connection's reader is in the middle of. Between HEADERS and the end of its block
// nothing else may come.
type block struct {
	id    uint32
	ended bool // the stream ends with it
	means meaning
	began exchange.Nanos
}

// A meaning says what becomes of a header block when it is complete.
type meaning uint8

const (
	ignored meaning = iota // decoded for the sake of the next one
	begins                 // a request
	ends                   // a request's trailer
	refused                // a request that may be sent again
	faulty                 // the stream is reset
)

// headers begins a header block.
func (c *conn) headers(f *h2.HeadersFrame) error {
	c.makeRoom()
	b := &c.block
	*b = block{id: f.StreamID, ended: f.StreamEnded(), began: exchange.Now()}
	if b.id%2 == 0 {
		return errProtocol
	}
	limits := c.srv.options.Load().Limits
	c.mu.Lock()
	s := c.streams[b.id]
	switch {
	case s != nil && s.body.Over() && s.localOver.Load(): // its handler is about to end
		c.mu.Unlock()
		return errEnded
	case s != nil && (s.body.Over() || !b.ended):
		b.means = faulty
	case s != nil:
		b.means = ends
	case b.id <= c.last:
		if !c.gone.Has(b.id) {
			c.mu.Unlock()
			return errEnded
		}
	case c.farCut:
	case c.running >= maxStreams:
		b.means = refused
		c.last = b.id
	default:
		b.means = begins
		c.last = b.id
	}
	c.mu.Unlock()
	if f.HasPriority() && f.Priority.StreamDep == b.id {
		b.means = faulty
	}
	kind := wire.RequestHead
	if b.means == ends {
		kind = wire.RequestTrailer
	}
	c.decoder.Begin(&c.fields, kind, limits)
	if !f.HeadersEnded() {
		c.mu.Lock()
		c.deadlines.block = b.began + exchange.Nanos(c.srv.options.Load().HeaderTimeout)
		c.deadlines.granted = false
		c.arm(c.deadlines.block)
		c.mu.Unlock()
	}
	return c.fragment(f.HeaderBlockFragment(), f.HeadersEnded())
}

// fragment takes a piece of the header block.
func (c *conn) fragment(p []byte, last bool) error {
	b := &c.block
	err := c.decoder.Write(p)
	if err == nil && last {
		err = c.decoder.End()
	}
	if err != nil || !last {
		return err
	}
	c.mu.Lock()
	c.deadlines.block = 0
	c.mu.Unlock()
	switch b.means {
	case begins:
		return c.begin()
	case ends:
		return c.trailer()
	case refused:
		return c.reset(b.id, h2.ErrCodeRefusedStream)
	case faulty:
		code := h2.ErrCodeProtocol
		c.mu.Lock()
		if s := c.streams[b.id]; s != nil && s.body.Over() {
			code = h2.ErrCodeStreamClosed
		}
		c.mu.Unlock()
		return c.reset(b.id, code)
	case ignored:
	}
	return c.bother()
}

// begin begins a stream whose request is complete but for its body. It is served when all that has been read is looked at.
func (c *conn) begin() error {
	b, size := &c.block, c.fields.Size()
	c.mu.Lock()
	if c.running > 0 && c.headBytes+size > maxHeadBytes {
		defer c.unlock()
		return c.resetLocked(b.id, h2.ErrCodeRefusedStream)
	}
	c.headBytes += size
	c.running++
	c.mu.Unlock()
	s := newStream(c, b.id)
	s.fields, c.fields = c.fields, s.fields // where nothing comes of a block, its memory serves the next one
	s.size = size
	r := &s.x.Request
	s.x.Record.Start = b.began
	s.fault = s.fields.Request(r, b.ended)
	if protocol := s.fields.Protocol(); len(protocol) > 0 && s.fault == nil {
		s.fault = s.connect(protocol)
	}
	length := r.ContentLength
	if s.websocket || s.fault != nil { // nothing is known of it
		length = -1
	}
	s.body.Open(length, b.ended)
	c.mu.Lock()
	c.streams[s.id] = s
	c.mu.Unlock()
	c.out.Open(&s.sender, s.id)
	c.fresh = append(c.fresh, s)
	return nil
}

// trailer takes the trailer of a request.
func (c *conn) trailer() error {
	id := c.block.id
	c.mu.Lock()
	defer c.unlock()
	s := c.streams[id]
	if s == nil {
		return nil
	}
	if !s.body.End(&c.fields) {
		return c.resetLocked(id, h2.ErrCodeProtocol)
	}
	return nil
}

// dispatch has the streams served that are left of those that began in what was read last. One that was reset by what
// followed it has cost nothing.
func (c *conn) dispatch() {
	if len(c.fresh) == 0 {
		return
	}
	c.mu.Lock()
	if c.running > 0 {
		c.arm(exchange.Now() + checkInterval)
	}
	for i, s := range c.fresh {
		c.fresh[i] = nil
		if s.gone.Load() {
			c.mu.Unlock()
			c.drop(s)
			c.mu.Lock()
			continue
		}
		s.ready()
		if last := len(c.idle) - 1; last >= 0 {
			w := c.idle[last]
			c.idle[last] = nil
			c.idle = c.idle[:last]
			w.next <- s
			continue
		}
		w := &worker{next: make(chan *stream, 1)}
		c.handlers.Go(func() { c.work(w, s) })
	}
	c.unlock()
	c.fresh = c.fresh[:0]
}
