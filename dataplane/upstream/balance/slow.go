package balance

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

const (
	// leastShare is what an endpoint begins with, as a part of its share: without any it would be met by everything at once
	// where all others are in their slow start too.
	leastShare = 0.05
	// maxRefusals is how often a pick passes endpoints by because of their slow start.
	maxRefusals = 32
)

// A slow is the slow start of some endpoints: each is passed by with a probability that falls evenly.
type slow struct {
	since []exchange.Nanos // by place; 0: it has its share
	span  exchange.Nanos
	until exchange.Nanos // when the last one has its share
	over  atomic.Bool    // until has passed: no clock is read any more
}

// newSlow returns nil where every endpoint has its share.
func newSlow(members []Member, span time.Duration) *slow {
	if span <= 0 {
		return nil
	}
	var s *slow
	now := exchange.Now()
	for i, m := range members {
		end := m.Since + exchange.Nanos(span)
		if m.Since == 0 || end <= now {
			continue
		}
		if s == nil {
			s = &slow{since: make([]exchange.Nanos, len(members)), span: exchange.Nanos(span)}
		}
		s.since[i] = m.Since
		s.until = max(s.until, end)
	}
	return s
}

// rising returns the time, and whether there is still an endpoint in its slow start.
func (s *slow) rising() (now exchange.Nanos, rising bool) {
	if s.over.Load() {
		return 0, false
	}
	if now = exchange.Now(); now >= s.until {
		s.over.Store(true)
		return 0, false
	}
	return now, true
}

// share returns what part of its share an endpoint has.
func (s *slow) share(i int, now exchange.Nanos) float64 {
	since := s.since[i]
	if since == 0 {
		return 1
	}
	return min(1, max(leastShare, float64(now-since)/float64(s.span)))
}

// takes says by chance whether an endpoint gets a request whose turn it is.
func (s *slow) takes(i int, now exchange.Nanos) bool {
	return s.since[i] == 0 || rand.Float64() < s.share(i, now)
}
