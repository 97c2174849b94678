package http2

import (
	"errors"

	h2 "golang.org/x/net/http2"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// A fault of the client's that ends its connection is an h2.ConnectionError.
const (
	errProtocol = h2.ConnectionError(h2.ErrCodeProtocol)
	errFlow     = h2.ConnectionError(h2.ErrCodeFlowControl)
	errEnded    = h2.ConnectionError(h2.ErrCodeStreamClosed)
)

// frame handles one frame. Only the reader calls it. An error ends the connection.
func (c *conn) frame(h h2.FrameHeader) error {
	if !c.settled && (h.Type != h2.FrameSettings || h.Flags.Has(h2.FlagSettingsAck)) {
		return errProtocol
	}
	if h.Type == h2.FrameData {
		p, err := c.in.Data(h)
		if err != nil {
			return err
		}
		return c.data(h, p)
	}
	f, err := c.in.Frame(h)
	if err != nil {
		return c.badFrame(h, err)
	}
	switch f := f.(type) {
	case *h2.HeadersFrame:
		return c.headers(f)
	case *h2.ContinuationFrame:
		return c.fragment(f.HeaderBlockFragment(), f.HeadersEnded())
	case *h2.SettingsFrame:
		return c.settings(f)
	case *h2.WindowUpdateFrame:
		return c.credit(f)
	case *h2.RSTStreamFrame:
		return c.canceled(f.StreamID)
	case *h2.PingFrame:
		if f.IsAck() {
			return c.bother()
		}
		c.out.Ping(true, f.Data)
		return c.bother()
	case *h2.PriorityFrame:
		if f.StreamDep == f.StreamID {
			return c.refuseFrame(h, h2.ErrCodeProtocol)
		}
		return c.bother()
	case *h2.PushPromiseFrame:
		return errProtocol
	}
	return c.bother() // GOAWAY, too: the client tells what it will not do any more
}

// badFrame decides what the error of a frame ends.
func (c *conn) badFrame(h h2.FrameHeader, err error) error {
	var fault h2.StreamError
	if errors.As(err, &fault) {
		return c.refuseFrame(h, fault.Code)
	}
	var whole h2.ConnectionError
	if errors.As(err, &whole) {
		return whole
	}
	return h2.ConnectionError(h2.ErrCodeFrameSize) // the frame ends before its fields do
}

// refuseFrame ends a stream for a frame that is not right. A frame that carries a header block cannot be passed over: what
// follows could not be decoded.
func (c *conn) refuseFrame(h h2.FrameHeader, code h2.ErrCode) error {
	if h.Type == h2.FrameHeaders {
		return h2.ConnectionError(code)
	}
	c.mu.Lock()
	idle := h.StreamID > c.last || h.StreamID%2 == 0
	c.mu.Unlock()
	if idle && h.Type != h2.FramePriority {
		return errProtocol
	}
	return c.reset(h.StreamID, code)
}

// reset ends a stream for the client's fault. That counts like a reset of its own: it can make us send as many of ours as
// it likes (CVE-2025-8671).
func (c *conn) reset(id uint32, code h2.ErrCode) error {
	c.mu.Lock()
	defer c.unlock()
	return c.resetLocked(id, code)
}

// maxSettings is how many one frame may have. Each may change the windows of all streams.
const maxSettings = 64

// settings takes the client's settings.
func (c *conn) settings(f *h2.SettingsFrame) error {
	if !f.IsAck() {
		if f.NumSettings() > maxSettings {
			return errCalm
		}
		if err := c.out.Adopt(f); err != nil {
			return err
		}
	}
	if !c.settled {
		c.settled = true
		c.mu.Lock()
		c.deadlines.start, c.deadlines.quiet = 0, exchange.Now()
		c.deadlines.check = 0
		c.arm(c.deadlines.quiet + exchange.Nanos(c.srv.options.Load().IdleTimeout))
		if c.deadlines.drain != 0 {
			c.arm(c.deadlines.drain)
		}
		c.mu.Unlock()
		return nil
	}
	return c.bother()
}

// credit takes a WINDOW_UPDATE.
func (c *conn) credit(f *h2.WindowUpdateFrame) error {
	if f.StreamID == 0 {
		if !c.out.Credit(f.Increment) {
			return errFlow
		}
		return c.bother()
	}
	c.mu.Lock()
	s, idle := c.streams[f.StreamID], f.StreamID > c.last || f.StreamID%2 == 0
	overflows := s != nil && !s.sender.Credit(f.Increment)
	c.mu.Unlock()
	switch {
	case idle:
		return errProtocol
	case overflows:
		return c.reset(f.StreamID, h2.ErrCodeFlowControl)
	}
	return c.bother()
}

// canceled takes a RST_STREAM (CVE-2023-44487).
func (c *conn) canceled(id uint32) error {
	c.mu.Lock()
	s, idle := c.streams[id], id > c.last || id%2 == 0
	if s != nil {
		s.lose()
		delete(c.streams, id) // what follows on it is a fault: only what we reset may be on its way
	}
	c.unlock()
	switch {
	case idle:
		return errProtocol
	case s == nil:
		return c.bother()
	}
	return c.cancels()
}

// data takes a DATA frame whose data is p.
func (c *conn) data(h h2.FrameHeader, p []byte) error {
	all, ended := int(h.Length), h.Flags.Has(h2.FlagDataEndStream)
	c.mu.Lock()
	defer c.unlock()
	if !c.window.Take(all) {
		return errFlow
	}
	s := c.streams[h.StreamID]
	if s == nil || s.body.Over() {
		c.give(all)
		switch {
		case h.StreamID > c.last || h.StreamID%2 == 0:
			return errProtocol
		case s == nil && c.gone.Has(h.StreamID):
			return c.bother()
		}
		return c.resetLocked(h.StreamID, h2.ErrCodeStreamClosed)
	}
	if !s.window.Take(all) {
		c.give(all)
		return c.resetLocked(h.StreamID, h2.ErrCodeFlowControl)
	}
	if padding := all - len(p); padding > 0 {
		s.Freed(padding)
	}
	if !s.body.Take(p, ended) {
		c.give(len(p))
		return c.resetLocked(h.StreamID, h2.ErrCodeProtocol)
	}
	if len(p) == 0 && !ended {
		return c.bother()
	}
	return nil
}

// resetLocked is reset with mu locked.
func (c *conn) resetLocked(id uint32, code h2.ErrCode) error {
	if s := c.streams[id]; s != nil {
		s.lose()
		delete(c.streams, id)
	}
	c.gone.Note(id)
	c.out.Reset(id, code)
	return c.cancels()
}

// give notes that n bytes of the connection's window are free again. mu is locked.
func (c *conn) give(n int) {
	if more := c.window.Give(n); more > 0 {
		c.out.WindowUpdate(0, more)
	}
}
