package client

import (
	"errors"
	"net"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http2/pool"
)

// A Try bounds one round trip.
type Try = pool.Try

// A Pool holds the connections to one endpoint.
type Pool struct{ pool.Pool }

// Init makes p ready. open opens a connection for an exchange, within its bounds; its error is an *exchange.Failure.
func (p *Pool) Init(o Options, open func(x *exchange.Exchange, t Try) (net.Conn, error)) {
	p.Pool.Init(open, func(nc net.Conn, gone func(pool.Conn)) pool.Conn { return New(nc, o, gone) })
}

// Single makes one round trip on a connection that nobody shares, and that ends with it.
func Single(nc net.Conn, o Options, x *exchange.Exchange, t Try) error {
	conn := New(nc, o, func(pool.Conn) {})
	conn.Reserve()
	conn.Once()
	err := conn.RoundTrip(x, t)
	if errors.Is(err, pool.ErrLeft) {
		err = &Error{Reason: exchange.UpstreamReset, Err: err}
	}
	return err
}
