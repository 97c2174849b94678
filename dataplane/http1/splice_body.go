package http1

import (
	"errors"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// downstreamSide is the client's side of a response that is spliced.
type downstreamSide struct {
	*conn
	sent *int64
}

func (s downstreamSide) moved(n int) {
	*s.sent += int64(n)
	s.conn.moved(n)
}

// spliceResponse lets the kernel move the rest of a body of known length, where both sides are plain TCP. It moves
// nothing, and returns nil, where that cannot be done or is not worth it.
func (c *conn) spliceResponse(x *exchange.Exchange, framing Framing) error {
	body, ok := x.Response.Body.(*responseBody)
	if !ok || framing != LengthBody || c.tcp == nil {
		return nil
	}
	src, left := body.plain()
	if src == nil || left < spliceMin {
		return nil
	}
	readSide, err := splice(c.tcp, src, left, downstreamSide{c, &x.Record.BytesOut}, body)
	switch {
	case err == nil, errors.Is(err, errNoPipe):
		return nil
	case readSide:
		return body.fail(err)
	case c.timer.expired():
		return errClientSlow
	default:
		return errClientReset
	}
}

// spliceUpload is spliceResponse for a request's body.
func (u *upload) splice(x *exchange.Exchange) error {
	body, ok := x.Request.Body.(*requestBody)
	if !ok || u.c.tcp == nil {
		return nil
	}
	src, left := body.plain()
	if src == nil || left < spliceMin {
		return nil
	}
	readSide, err := splice(u.c.tcp, src, left, u, body)
	switch {
	case err == nil, errors.Is(err, errNoPipe):
		return nil
	case readSide:
		if body.err = body.timedOut(); body.err == nil {
			body.err = errClientGone
		}
		return body.err
	default:
		return errUpstreamWrite
	}
}
