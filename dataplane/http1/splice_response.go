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

// spliceResponse lets the kernel move the rest of a body of known length, where both sides are plain TCP. It moves
// nothing, and returns nil, where that cannot be done or is not worth it.
func (c *conn) spliceResponse(x *exchange.Exchange, framing codec.Framing) error {
	body, ok := x.Response.Body.(wire.Spliceable)
	if !ok || framing != codec.LengthBody || c.tcp == nil {
		return nil
	}
	src, left := body.Plain()
	if src == nil || left < wire.SpliceMin {
		return nil
	}
	readSide, err := wire.Splice(c.tcp, src, left, downstreamSide{c, &x.Record.BytesOut}, body)
	switch {
	case err == nil, errors.Is(err, wire.ErrNoPipe):
		return nil
	case readSide:
		return body.Failed(err)
	case c.timer.Expired():
		return errClientSlow
	default:
		return errClientReset
	}
}
