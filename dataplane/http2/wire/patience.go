package wire

import (
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// A Patience counts how long a peer has kept one direction of an exchange waiting, and says for how much longer it may, as
// that of HTTP/1.1 does: only time spent waiting for that peer counts.
type Patience struct {
	Idle    time.Duration // the longest silence
	Grace   time.Duration // the waiting that is free
	Rate    int           // bytes a second that earn more; 0: silence alone counts
	blocked exchange.Nanos
	since   exchange.Nanos
}

// Start notes that waiting begins, and returns when it must have ended; moved is how many bytes came or went so far.
func (p *Patience) Start(now exchange.Nanos, moved int64) exchange.Nanos {
	p.since = now
	at := now + exchange.Nanos(p.Idle)
	if p.Rate > 0 {
		earned := time.Duration(float64(moved) / float64(p.Rate) * float64(time.Second))
		at = min(at, now+exchange.Nanos(p.Grace+earned)-p.blocked)
	}
	return max(at, now+1)
}

// Stop notes that waiting has ended.
func (p *Patience) Stop(now exchange.Nanos) {
	if p.since != 0 {
		p.blocked += now - p.since
		p.since = 0
	}
}
