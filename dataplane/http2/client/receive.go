package client

import (
	"golang.org/x/net/http2"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
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
	c.block.reset(trailer)
	c.blockID, c.blockEnd, c.blockSize, c.blockLen = f.StreamID, f.StreamEnded(), 0, 0
	return c.fragment(f.HeaderBlockFragment(), f.HeadersEnded())
}

// fragment takes a part of a field block. It is decoded also where nobody wants it, because the next one builds on it.
func (c *Conn) fragment(p []byte, last bool) error {
	c.blockSize += len(p)
	c.blockLen++
	if c.blockSize > c.options.Bytes+maxFrame || c.blockLen > maxContinuations {
		return violates(http2.ErrCodeEnhanceYourCalm, "a block of fields is too large")
	}
	if _, err := c.decoder.Write(p); err != nil {
		return violates(http2.ErrCodeCompression, "a block of fields cannot be decoded")
	}
	if !last {
		return nil
	}
	if err := c.decoder.Close(); err != nil {
		return violates(http2.ErrCodeCompression, "a block of fields cannot be decoded")
	}
	c.block.close()
	c.mu.Lock()
	s := c.streams[c.blockID]
	if s != nil {
		s.takeBlock()
	}
	c.mu.Unlock()
	if s == nil {
		return c.bother()
	}
	return nil
}

// takeBlock takes the block that was read last. The caller holds c.mu.
func (s *stream) takeBlock() {
	c := s.c
	b, end := c.block, c.blockEnd
	switch {
	case s.ended:
		s.abort(http2.ErrCodeStreamClosed, "fields behind its end")
	case b.bad != "":
		s.abort(http2.ErrCodeProtocol, b.bad)
	case s.answered:
		if !end {
			s.abort(http2.ErrCodeProtocol, "a trailer that does not end it")
			return
		}
		s.trailer, c.block = c.block, s.trailer
		s.end()
	case b.status < 200:
		if s.interims++; b.status == 101 || end || s.interims > maxInterim {
			s.abort(http2.ErrCodeProtocol, "an interim response that is not valid")
			return
		}
		s.interim = append(s.interim, b.clone())
	case end && b.length > 0 && exchange.HasBody(s.method, b.status):
		s.abort(http2.ErrCodeProtocol, "a body is announced that does not follow")
	default:
		s.head, c.block = c.block, s.head
		s.answered = true
		s.length = b.length
		s.bodiless = !exchange.HasBody(s.method, b.status)
		if s.webSocket && b.status/100 == 2 {
			s.length, s.bodiless = -1, false
		}
		if end {
			s.end()
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
		c.out.end(appendWindowUpdate(c.out.begin(), 0, connWindow-c.recv))
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
		s.unread.add(p)
		s.padding += size - len(p)
		if f.StreamEnded() {
			s.end()
		}
		s.signal()
	}
	return nil
}
