package client

import (
	"golang.org/x/net/http2"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http2/client/output"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http2/wire"
)

// maxInterim bounds the 1xx responses in front of one final response.
const maxInterim = 16

func (c *Conn) headers(f *http2.HeadersFrame) error {
	c.mu.Lock()
	s, err := c.find(f.StreamID)
	trailer := s != nil && s.answered
	settled := c.settled
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if !settled {
		return violates(http2.ErrCodeProtocol, "the endpoint began without its settings")
	}
	kind := wire.ResponseHead
	if trailer {
		kind = wire.ResponseTrailer
	}
	c.trailer, c.blockID, c.blockEnd = trailer, f.StreamID, f.StreamEnded()
	c.decoder.Begin(c.fields, kind, c.options.Limits)
	return c.fragment(f.HeaderBlockFragment(), f.HeadersEnded())
}

// fragment takes a part of a field block. It is decoded also where nobody wants it, because the next one builds on it.
func (c *Conn) fragment(p []byte, last bool) error {
	if err := c.decoder.Write(p); err != nil || !last {
		return err
	}
	if err := c.decoder.End(); err != nil {
		return err
	}
	c.mu.Lock()
	s := c.streams[c.blockID]
	if s != nil {
		s.takeFields()
	}
	c.mu.Unlock()
	if s == nil {
		return c.bother()
	}
	return nil
}

// takeFields takes the block that was read last. The caller holds c.mu.
func (s *stream) takeFields() {
	c := s.c
	if s.ended {
		s.abort(http2.ErrCodeStreamClosed, "fields behind its end")
		return
	}
	if s.answered {
		fault := c.fields.Fault()
		switch {
		case fault != nil:
			s.abort(http2.ErrCodeProtocol, fault.Detail)
		case !c.blockEnd:
			s.abort(http2.ErrCodeProtocol, "a trailer that does not end it")
		default:
			s.trailer, c.fields = c.fields, s.trailer
			s.trailed = true
			s.end()
			s.signal()
		}
		return
	}
	r := &c.response
	fault := c.fields.Response(r, s.method, c.blockEnd)
	switch {
	case fault != nil:
		s.abort(http2.ErrCodeProtocol, fault.Detail)
		return
	case r.Status < 200:
		if s.interims++; c.blockEnd || s.interims > maxInterim {
			s.abort(http2.ErrCodeProtocol, "an interim response that is not valid")
			return
		}
		h := new(exchange.Header)
		for i := range r.Header.Len() {
			if _, name, value, ok := r.Header.At(i); ok {
				h.AddBytes(name, value)
			}
		}
		s.interim = append(s.interim, interim{r.Status, h})
	default:
		s.head, c.fields = c.fields, s.head
		s.response, c.response = c.response, s.response
		s.answered = true
		s.bodiless = !exchange.HasBody(s.method, s.response.Status)
		s.length = s.response.ContentLength
		if s.webSocket && s.response.Status/100 == 2 {
			s.length = -1
		}
		if c.blockEnd {
			s.ended = true
			s.closed()
		}
	}
	s.signal()
}

// end notes that the endpoint has ended the stream. The caller holds c.mu.
func (s *stream) end() {
	if s.length >= 0 && s.received != s.length && !s.bodiless {
		s.abort(http2.ErrCodeProtocol, "its body is not as long as announced")
		return
	}
	s.ended = true
	s.closed()
}

func (c *Conn) data(f *http2.DataFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.find(f.StreamID)
	if err != nil {
		return err
	}
	size := int(f.Length) // with padding, which counts (RFC 9113 §6.9.1)
	if c.recv -= size; c.recv < 0 {
		return violates(http2.ErrCodeFlowControl, "more was sent than allowed")
	}
	if c.recv < connWindow/2 {
		c.out.End(output.AppendWindowUpdate(c.out.Begin(), 0, connWindow-c.recv))
		c.recv = connWindow
	}
	p := f.Data()
	if s == nil { // it was given up while this was on its way
		return nil
	}
	if len(p) == 0 && !f.StreamEnded() {
		if err := c.bother(); err != nil {
			return err
		}
	}
	if s.recv -= size; s.recv < 0 {
		s.abort(http2.ErrCodeFlowControl, "more was sent than allowed")
		return nil
	}
	s.received += int64(len(p))
	switch {
	case s.ended || !s.answered:
		s.abort(http2.ErrCodeProtocol, "a body outside of it")
	case len(p) > 0 && s.bodiless, s.length >= 0 && s.received > s.length && !s.bodiless:
		s.abort(http2.ErrCodeProtocol, "its body is longer than announced")
	default:
		s.unread.Add(p)
		s.padding += size - len(p)
		if f.StreamEnded() {
			s.end()
		}
		s.signal()
	}
	return nil
}
