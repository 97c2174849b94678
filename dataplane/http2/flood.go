package http2

import (
	h2 "golang.org/x/net/http2"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http2/wire"
)

// The allowances of a connection.
const (
	// maxCalm is for frames that ask for nothing: PING, SETTINGS, PRIORITY, WINDOW_UPDATE, DATA without data, unknown ones.
	maxCalm         = 1000
	calmPerSecond   = 100
	calmPerStream   = 8   // for each stream that came to its end
	bytesPerCalm    = 256 // so many bytes sent bring one back: clients give windows back as they read
	resetsAtOnce    = 200 // streams that end by a reset: the client's own, and those that it makes us send
	resetsPerSecond = 10
	resetsPerStream = 1
)

// errCalm ends a connection whose client had too much done for nothing.
const errCalm = h2.ConnectionError(h2.ErrCodeEnhanceYourCalm)

func (c *conn) resetAllowances(now exchange.Nanos) {
	c.calm = wire.Allowance{Most: maxCalm, PerSecond: calmPerSecond}
	c.resets = wire.Allowance{Most: resetsAtOnce, PerSecond: resetsPerSecond}
	c.calm.Reset(now)
	c.resets.Reset(now)
}

// bother takes a piece of the allowance for frames that ask for nothing. Only the reader calls it, and cancels.
func (c *conn) bother() error {
	if c.calm.Take() || c.calm.Refill(exchange.Now(), c.out.Sent()/bytesPerCalm+c.completed.Load()*calmPerStream) {
		return nil
	}
	return errCalm
}

// cancels takes a piece of the allowance for streams that end by a reset.
func (c *conn) cancels() error {
	if c.resets.Take() || c.resets.Refill(exchange.Now(), c.completed.Load()*resetsPerStream) {
		return nil
	}
	return errCalm
}
