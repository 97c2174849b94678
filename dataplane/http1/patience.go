package http1

import (
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// A patience counts how long the peer of one connection has kept an exchange waiting, and says for how much longer it
// may. Only time spent waiting for that peer counts: a client is not cut off because an endpoint streams slowly.
type patience struct {
	idle    time.Duration // the longest silence
	grace   time.Duration // the waiting that is free
	rate    int           // bytes a second that earn more; 0: silence alone counts
	blocked exchange.Nanos
	since   exchange.Nanos
}

// patienceFor is the patience with the client of an exchange.
func (c *conn) patienceFor(x *exchange.Exchange) patience {
	o := c.srv.options.Load()
	return patience{idle: c.idleOf(x), grace: o.HeaderTimeout, rate: o.MinBodyRate}
}

// idleOf is the route's idle time-out where there is a route.
func (c *conn) idleOf(x *exchange.Exchange) time.Duration {
	if x.Idle > 0 {
		return x.Idle
	}
	return c.srv.options.Load().IdleTimeout
}

// start notes that waiting begins, and returns when it must have ended; moved is how many bytes came or went so far.
func (p *patience) start(now exchange.Nanos, moved int64) exchange.Nanos {
	p.since = now
	at := now + exchange.Nanos(p.idle)
	if p.rate > 0 {
		earned := time.Duration(float64(moved) / float64(p.rate) * float64(time.Second))
		at = min(at, now+exchange.Nanos(p.grace+earned)-p.blocked)
	}
	return max(at, now+1)
}

// stop notes that waiting has ended.
func (p *patience) stop(now exchange.Nanos) {
	if p.since != 0 {
		p.blocked += now - p.since
		p.since = 0
	}
}
