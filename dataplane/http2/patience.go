package http2

import (
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// A patience counts how long a client has kept one direction of an exchange waiting, and says for how much longer it may,
// as that of HTTP/1.1 does: only time spent waiting for the client counts.
type patience struct {
	idle    time.Duration // the longest silence
	grace   time.Duration // the waiting that is free
	rate    int           // bytes a second that earn more; 0: silence alone counts
	blocked exchange.Nanos
	since   exchange.Nanos
}

func (s *stream) patience() patience {
	o := s.c.srv.options.Load()
	return patience{idle: s.idleTime(), grace: o.HeaderTimeout, rate: o.MinBodyRate}
}

// idleTime is the route's idle time-out where there is a route.
func (s *stream) idleTime() time.Duration {
	if s.x.Idle > 0 {
		return s.x.Idle
	}
	return s.c.srv.options.Load().IdleTimeout
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
