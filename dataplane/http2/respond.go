package http2

import (
	"errors"
	"io"

	h2 "golang.org/x/net/http2"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	sock "github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http2/wire"
)

// The failures on the client's side of a response.
var (
	errClientReset = &exchange.Failure{Reason: exchange.ClientReset, Err: errors.New("the client ended the stream before the end of the response")}
	errClientSlow  = &exchange.Failure{Reason: exchange.ClientSlow, Err: errors.New("the client did not take the response in time")}
)

// errLength says that a response's body was not as long as announced.
var errLength = errors.New("the body has another length than was announced")

// Interim implements exchange.Downstream (RFC 9110 §15.2).
func (s *stream) Interim(_ *exchange.Exchange, status int, h *exchange.Header) error {
	e := s.c.out.BeginHeaders(&s.sender)
	if e == nil {
		return errClientReset
	}
	e.Status(status)
	if h != nil {
		e.Fields(h, wire.NotSent)
	}
	if _, err := s.c.out.EndHeaders(&s.sender, nil, false); err != nil {
		return errClientReset
	}
	s.c.out.Flush()
	return nil
}

// Respond implements exchange.Downstream.
func (s *stream) Respond(x *exchange.Exchange) error {
	r := &x.Response
	s.responded = true
	switch {
	case s.websocket && r.Status == 101 && r.Tunnel != nil && s.accepted(r):
		return s.tunnel(x)
	case r.Status < 200, s.websocket && r.Status < 300:
		// To the client 2xx would be a tunnel, and 101 is nothing that HTTP/2 has.
		x.Answer(502, exchange.UpstreamProtocol)
		x.Record.Status = 502
	}
	err := s.head(x)
	if err == nil && !s.localOver.Load() {
		err = s.rest(x)
	}
	if err != nil {
		s.cut(err)
	}
	s.c.out.Flush()
	return err
}

// cut resets a stream whose response broke off: nobody may take it for whole.
func (s *stream) cut(err error) {
	code := h2.ErrCodeInternal
	if errors.Is(err, errClientReset) || errors.Is(err, errClientSlow) {
		code = h2.ErrCodeCancel
	}
	c := s.c
	c.mu.Lock()
	if !s.gone.Load() {
		c.gone.Note(s.id)
		c.out.Reset(s.id, code)
		delete(c.streams, s.id)
		s.lose()
	}
	c.unlock()
}

// head sends the response's head, and what is at hand of its body with it.
func (s *stream) head(x *exchange.Exchange) error {
	if err := s.await(false); err != nil {
		return err
	}
	r := &x.Response
	hasBody := exchange.HasBody(x.Request.Method, r.Status)
	var data []byte
	if hasBody && r.Body != nil {
		data = r.Body.Buffered()
	}
	// Where all of a body is at hand its end is known: no trailer follows a length, but in HTTP/2.
	whole := hasBody && r.ContentLength >= 0 && int64(len(data)) == r.ContentLength && r.Protocol != exchange.HTTP2
	out := s.c.out
	e := out.BeginHeaders(&s.sender)
	if e == nil {
		return errClientReset
	}
	e.Status(r.Status)
	e.Fields(&r.Header, wire.NotSent)
	if !r.Header.Has(exchange.Date) {
		e.Field(exchange.Date, s.c.srv.sweeper.Date())
	}
	if r.ContentLength >= 0 && r.Status != 204 {
		e.Length(r.ContentLength)
	}
	if int64(len(data)) > r.ContentLength && r.ContentLength >= 0 {
		data = nil // and rest will find it out
	}
	over := !hasBody || whole || r.Body == nil && r.ContentLength <= 0 && r.Trailer.Len() == 0
	if s.fault != nil && s.fault.Status == 400 {
		over = false // the stream is reset behind it: what is malformed has no good end (RFC 9113 §8.1.1)
	}
	n, err := out.EndHeaders(&s.sender, data, over)
	if err != nil {
		return errClientReset
	}
	if n > 0 {
		r.Body.Skip(n)
		x.Record.BytesOut += int64(n)
	}
	s.localOver.Store(over && n == len(data))
	return s.goneError()
}

// rest sends what is left of the body, and the trailer.
func (s *stream) rest(x *exchange.Exchange) error {
	r := &x.Response
	body := r.Body
	switch {
	case s.fault != nil && s.fault.Status == 400:
		return s.farewell(x)
	case !exchange.HasBody(x.Request.Method, r.Status):
		return s.finish(x)
	case body == nil:
		if r.ContentLength > 0 {
			return io.ErrUnexpectedEOF
		}
		return s.finish(x)
	}
	for {
		for at := body.Buffered(); len(at) > 0; at = body.Buffered() {
			last := r.ContentLength >= 0 && x.Record.BytesOut+int64(len(at)) == r.ContentLength && r.Protocol != exchange.HTTP2
			n, err := s.sender.Data(at, last)
			if err != nil {
				return errClientReset
			}
			body.Skip(n)
			x.Record.BytesOut += int64(n)
			if n == len(at) && last {
				s.localOver.Store(true)
				return s.goneError()
			}
			if n < len(at) {
				if err := s.await(true); err != nil {
					return err
				}
			}
		}
		if body.Ended() {
			return s.finish(x)
		}
		if err := s.await(true); err != nil { // before there is a buffer to hold
			return err
		}
		ended, err := s.copy(x)
		if ended || err != nil {
			return err
		}
	}
}

// copy reads once from the body and sends what that is. It reports whether the response is complete.
func (s *stream) copy(x *exchange.Exchange) (bool, error) {
	r := &x.Response
	s.c.out.Flush() // what was sent so far, before it is waited for more
	buf := sock.GetBuffer()
	defer buf.Put()
	n, readErr := buf.Fill(r.Body)
	if readErr != nil && readErr != io.EOF {
		return false, readErr
	}
	ended := readErr == io.EOF || r.Body.Ended()
	total := x.Record.BytesOut + int64(n)
	if r.ContentLength >= 0 && (total > r.ContentLength || ended && total < r.ContentLength) {
		return false, errLength
	}
	last := ended && n > 0 && r.Trailer.Len() == 0
	for data := buf.Data()[:n]; ; {
		k, err := s.sender.Data(data, last)
		if err != nil {
			return false, errClientReset
		}
		data = data[k:]
		x.Record.BytesOut += int64(k)
		if len(data) == 0 {
			break
		}
		if err := s.await(true); err != nil {
			return false, err
		}
	}
	switch {
	case last:
		s.localOver.Store(true)
		return true, s.goneError()
	case ended:
		return true, s.finish(x)
	}
	return false, s.goneError()
}

// finish ends our side of the stream: with the trailer, if there is one.
func (s *stream) finish(x *exchange.Exchange) error {
	r := &x.Response
	if r.ContentLength >= 0 && exchange.HasBody(x.Request.Method, r.Status) && x.Record.BytesOut != r.ContentLength {
		return errLength
	}
	if r.Trailer.Len() > 0 {
		e := s.c.out.BeginHeaders(&s.sender)
		if e == nil {
			return errClientReset
		}
		e.TrailerFields(&r.Trailer)
		if _, err := s.c.out.EndHeaders(&s.sender, nil, true); err != nil {
			return errClientReset
		}
	} else if _, err := s.sender.Data(nil, true); err != nil {
		return errClientReset
	}
	s.localOver.Store(true)
	return s.goneError()
}

// farewell sends as much of an answer as can be sent at once, in front of a reset.
func (s *stream) farewell(x *exchange.Exchange) error {
	if body := x.Response.Body; body != nil {
		at := body.Buffered()
		n, err := s.sender.Data(at, false)
		if err != nil {
			return errClientReset
		}
		body.Skip(n)
		x.Record.BytesOut += int64(n)
	}
	return nil
}

// goneError tells that what was sent was for nobody.
func (s *stream) goneError() error {
	if s.gone.Load() {
		return errClientReset
	}
	return nil
}

// await waits until something can be sent: until the connection takes it and, for data, until there is a window.
func (s *stream) await(data bool) error {
	for {
		ready, err := s.sender.Ready(data)
		switch {
		case err != nil || s.gone.Load():
			return errClientReset
		case ready:
			return nil
		}
		if s.sending.Idle == 0 {
			s.sending = s.Patience()
		}
		late := s.wait(s.sending.Start(exchange.Now(), s.x.Record.BytesOut))
		s.sending.Stop(exchange.Now())
		if late {
			return errClientSlow
		}
	}
}

// wait waits until it is worth trying again to send. It reports whether that was not before by.
func (s *stream) wait(by exchange.Nanos) (late bool) {
	c := s.c
	c.mu.Lock()
	s.sendBy = by
	c.arm(by)
	c.mu.Unlock()
	c.out.Flush()
	<-s.sender.Wake
	c.mu.Lock()
	late = s.sendBy < 0
	s.sendBy = 0
	c.mu.Unlock()
	return late
}
