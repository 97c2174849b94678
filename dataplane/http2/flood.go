package http2

import (
	h2 "golang.org/x/net/http2"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// The allowances of a connection. Each is a bucket of so many pieces, of which perSecond come back in a second; what the
// client lets us do for it brings some back, too, so that none but those who have work done for nothing run dry.
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

// An allowance is a bucket. The reader of a connection alone uses it.
type allowance struct {
	left     int64
	refilled exchange.Nanos
	streams  int64 // completed, when it was refilled
	sent     int64
}

// errCalm ends a connection whose client had too much done for nothing.
const errCalm = h2.ConnectionError(h2.ErrCodeEnhanceYourCalm)

// bother takes one piece of the allowance for frames that ask for nothing.
func (c *conn) bother() error {
	if c.calm.left--; c.calm.left >= 0 {
		return nil
	}
	sent := c.out.Sent()
	earned := (sent - c.calm.sent) / bytesPerCalm
	c.calm.sent += earned * bytesPerCalm
	return c.calm.refill(maxCalm, calmPerSecond, calmPerStream, earned, c.completed.Load())
}

// cancels takes one piece of the allowance for streams that end by a reset.
func (c *conn) cancels() error {
	if c.resets.left--; c.resets.left >= 0 {
		return nil
	}
	return c.resets.refill(resetsAtOnce, resetsPerSecond, resetsPerStream, 0, c.completed.Load())
}

// refill is called when nothing is left. It puts in what has come back since it was called last.
func (a *allowance) refill(most, perSecond, perStream, earned, streams int64) error {
	now := exchange.Now()
	const second = exchange.Nanos(1e9)
	back := min(int64(now-a.refilled)*perSecond/int64(second), most)
	a.left += back + earned + (streams-a.streams)*perStream
	if back > 0 {
		a.refilled = now
	}
	a.streams = streams
	if a.left < 0 {
		return errCalm
	}
	a.left = min(a.left, most)
	return nil
}
