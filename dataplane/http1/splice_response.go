package http1

import (
	"errors"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/codec"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
)

// downstreamSide is the client's side of a response that is spliced.
type downstreamSide struct {
	*conn
	sent *int64
}

// Moved implements wire.Side.
func (s downstreamSide) Moved(n int) {
	*s.sent += int64(n)
	s.conn.Moved(n)
}

// HeadSent implements wire.Headed: a client that reads slowly holds no more memory than the pipe's.
func (s downstreamSide) HeadSent() { s.w.giveBack() }

// spliceResponse sends what lies in w.out and lets the kernel move the rest of a body of known length, where both sides
// are plain TCP. It sends nothing, and returns false, where that cannot be done or is not worth it.
func (c *conn) spliceResponse(x *exchange.Exchange, framing codec.Framing) (sent bool, err error) {
	body, ok := x.Response.Body.(wire.Spliceable)
	if !ok || framing != codec.LengthBody || c.tcp == nil {
		return false, nil
	}
	src, left := body.Plain()
	if src == nil || left < wire.SpliceMin {
		return false, nil
	}
	readSide, err := wire.SpliceAfter(c.w.out.B, c.tcp, src, left, downstreamSide{c, &x.Record.BytesOut}, body)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, wire.ErrNoPipe):
		return false, nil
	case readSide:
		return true, body.Failed(err)
	case c.timer.Expired():
		return true, errClientSlow
	default:
		return true, errClientReset
	}
}
