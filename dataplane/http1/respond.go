package http1

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/codec"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
)

// The failures on the client's side of a response.
var (
	errClientReset = &exchange.Failure{Reason: exchange.ClientReset, Err: errors.New("the client closed the connection before the end of the response")}
	errClientSlow  = &exchange.Failure{Reason: exchange.ClientSlow, Err: errors.New("the client did not take the response in time")}
)

// Interim implements exchange.Downstream (RFC 9110 §15.2).
func (c *conn) Interim(x *exchange.Exchange, status int, h *exchange.Header) error {
	c.continued = c.continued || status == 100
	if x.Request.Protocol == exchange.HTTP10 {
		return nil
	}
	r := exchange.Response{Status: status, Protocol: exchange.HTTP11}
	if h != nil {
		r.Header = *h
	}
	if c.sock != nil {
		c.patience = patience{}
		return c.write(codec.AppendResponseHead(nil, &r, codec.NoBody))
	}
	// A deadline of its own: the timer may be that of an upload, which reads meanwhile.
	c.brief.Store(true)
	_ = c.nc.SetWriteDeadline(time.Now().Add(c.srv.options.Load().IdleTimeout))
	_, err := c.nc.Write(codec.AppendResponseHead(nil, &r, codec.NoBody))
	_ = c.nc.SetWriteDeadline(time.Time{})
	c.brief.Store(false)
	switch {
	case err != nil:
		c.abort() // part of it may have left: nothing can follow
	case c.aborted.Load(): // meanwhile, and its deadline is overwritten
		c.Wake()
	}
	return err
}

// Respond implements exchange.Downstream.
func (c *conn) Respond(x *exchange.Exchange) error {
	r := &x.Response
	c.responded = true
	if r.Status == 101 && r.Tunnel != nil {
		return c.tunnel(x)
	}
	framing := c.framing(x)
	if r.Close || c.srv.draining.Load() || framing == codec.UntilClose || c.unread(x) {
		c.closing = true
		c.linger = r.Close || !x.Request.Close // the client learns of it only now, and may have sent more
	}
	if c.closing {
		r.Header.AddIDString(exchange.Connection, "close")
	} else if x.Request.Protocol == exchange.HTTP10 {
		r.Header.AddIDString(exchange.Connection, "keep-alive")
	}
	if !r.Header.Has(exchange.Date) {
		r.Header.AddID(exchange.Date, c.srv.sweeper.Date())
	}
	w := c.w
	w.out = wire.GetOut()
	defer w.giveBack()
	w.out.B = codec.AppendResponseHead(w.out.B, r, framing)
	c.patience = patience{}
	var err error
	if framing == codec.NoBody {
		err = c.write(w.out.B)
	} else {
		err = c.relay(x, framing)
	}
	if err != nil {
		c.closing = true
		if framing == codec.UntilClose {
			c.torn = true // an ordinary close would make the body look complete
			switch {
			case c.tcp != nil:
				_ = c.tcp.SetLinger(0)
			case c.carrier != nil: // who overlooks that TLS does not end in order sees a reset
				_ = c.carrier.SetLinger(0)
			}
		}
	}
	return err
}

// framing decides how the body is delimited on the way to the client, whatever it was on the way here.
func (c *conn) framing(x *exchange.Exchange) codec.Framing {
	r := &x.Response
	switch {
	case !exchange.HasBody(x.Request.Method, r.Status):
		return codec.NoBody
	case r.ContentLength >= 0:
		return codec.LengthBody
	case x.Request.Protocol == exchange.HTTP10:
		return codec.UntilClose
	default:
		return codec.ChunkedBody
	}
}

// unread reports whether so much of the request's body may be left when the response has been sent that the connection
// cannot be used again. A body that is still being uploaded is not unread.
func (c *conn) unread(x *exchange.Exchange) bool {
	switch {
	case x.Request.ContentLength == 0:
		return false
	case x.Request.Expect && !c.continued:
		return true // the client may send the body, or not: where its next request begins is not to be known
	case x.Response.Stream != nil:
		return false
	}
	b := &c.body
	return !b.Ended() && (b.err != nil || b.chunked || b.left > drainBytes)
}

// write writes p to the client, on the short way while step runs.
func (c *conn) write(p []byte) error {
	if c.carrier != nil {
		return c.writeSecured(p)
	}
	if c.fd >= 0 {
		n, err := wire.Send(c.fd, p)
		if n == len(p) {
			return nil
		}
		if err != nil && err != syscall.EAGAIN && err != syscall.EINTR {
			return errClientReset
		}
		p = p[max(n, 0):]
	}
	if c.put == nil {
		c.put = wire.NewWriter(c.raw)
	}
	for {
		c.Waits()
		n, err := c.put.Write(p)
		c.Moved(n)
		p = p[n:]
		if err == nil {
			return nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return errClientReset
		}
		if !c.Spurious() {
			return errClientSlow
		}
	}
}

// writeSecured is write over TLS, whose Carrier goes on where a deadline was not meant; see Again.
func (c *conn) writeSecured(p []byte) error {
	c.Waits()
	_, err := c.nc.Write(p)
	c.Moved(len(p))
	switch {
	case err == nil:
		return nil
	case c.timer.Expired():
		err = errClientSlow
	default:
		err = errClientReset
	}
	c.stuck = true
	return err
}

// Again tells the connection below TLS whether a write that met a deadline goes on.
func (c *conn) Again() bool {
	if t := c.carries.Load(); t != nil {
		return t.check(c.nc) == nil
	}
	return !c.brief.Load() && c.Spurious()
}

// spurious implements wire.Side.
func (c *conn) Spurious() bool {
	if c.timer.Expired() || c.aborted.Load() {
		return false
	}
	_ = c.nc.SetDeadline(time.Time{})
	if c.aborted.Load() { // meanwhile, and its deadline is overwritten
		c.Wake()
		return false
	}
	return true
}

// waits implements wire.Side: the client keeps a response waiting.
func (c *conn) Waits() {
	if c.patience.idle == 0 {
		c.patience = c.patienceFor(&c.w.x)
	}
	c.timer.Set(c.patience.start(exchange.Now(), c.w.x.Record.BytesOut))
}

// moved implements wire.Side; who calls it counts the bytes that are the body's.
func (c *conn) Moved(int) {
	if c.patience.since != 0 {
		c.patience.stop(exchange.Now())
		c.timer.Ease()
	}
}

// relay writes the head, which lies in w.out.B, and the body. What is at hand of the body leaves with the head.
func (c *conn) relay(x *exchange.Exchange, framing codec.Framing) error {
	body, w := x.Response.Body, c.w
	if body == nil { // an announced length without a body
		if framing == codec.LengthBody && x.Response.ContentLength > 0 {
			return io.ErrUnexpectedEOF
		}
		if framing == codec.ChunkedBody {
			w.out.B = codec.AppendLastChunk(w.out.B, &x.Response.Trailer)
		}
		return c.write(w.out.B)
	}
	for at := body.Buffered(); len(at) > 0; at = body.Buffered() {
		w.out.B = codec.AppendData(w.out.B, at, framing)
		x.Record.BytesOut += int64(len(at))
		body.Skip(len(at))
	}
	if body.Ended() {
		if framing == codec.ChunkedBody {
			w.out.B = codec.AppendLastChunk(w.out.B, &x.Response.Trailer)
		}
		return c.write(w.out.B)
	}
	if sent, err := c.spliceResponse(x, framing); sent || err != nil {
		return err
	}
	if err := c.write(w.out.B); err != nil {
		return err
	}
	w.giveBack()
	return c.copyResponse(x, framing)
}

// copyResponse relays the rest of a body through a buffer: one read, one write.
func (c *conn) copyResponse(x *exchange.Exchange, framing codec.Framing) error {
	body := x.Response.Body
	buf := wire.GetBuffer()
	defer buf.Put()
	for {
		n, readErr := buf.Fill(body)
		x.Record.BytesOut += int64(n)
		out := buf.Frame(n, framing == codec.ChunkedBody)
		ended := readErr == io.EOF || readErr == nil && body.Ended()
		if ended && framing == codec.ChunkedBody {
			out = codec.AppendLastChunk(out, &x.Response.Trailer)
		}
		if len(out) > 0 {
			if err := c.write(out); err != nil {
				return err
			}
		}
		switch {
		case ended:
			return nil
		case readErr != nil:
			return readErr
		}
	}
}
