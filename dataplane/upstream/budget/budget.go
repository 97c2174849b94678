package budget

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

const (
	window = 10 // seconds: the time in which requests and retries are compared
	slots  = 16 // more than window, so that a slot is out of the window before it is used again

	// minRetries may always be made within the window: 3 a second, so that a route with few requests is retried at all.
	minRetries = 3 * window
)

// A Budget bounds retries to a share of the requests of the last ten seconds, so that endpoints in trouble are not given
// more to do. The zero value is ready to use.
type Budget struct {
	requests [slots]atomic.Uint64 // a second in the upper half, the requests of that second in the lower

	mu   sync.Mutex      // retries are few
	made *[slots]retries // nil before the first: most routes never retry
}

// The retries of one second.
type retries struct{ second, count uint64 }

func secondOf(now exchange.Nanos) uint64 {
	return uint64(now/exchange.Nanos(time.Second)) & (1<<32 - 1)
}

// Request counts a request, not its retries.
func (b *Budget) Request(now exchange.Nanos) {
	second := secondOf(now)
	slot := &b.requests[second%slots]
	for {
		old := slot.Load()
		next := old + 1
		if old>>32 != second {
			if old>>32 > second { // the goroutine was late by a whole round: its request counts nowhere
				return
			}
			next = second<<32 | 1
		}
		if slot.CompareAndSwap(old, next) {
			return
		}
	}
}

// Retry reports whether one more retry keeps within percent of the requests, and counts it if so. 0 is no limit.
func (b *Budget) Retry(now exchange.Nanos, percent int) bool {
	if percent == 0 {
		return true
	}
	second := secondOf(now)
	recent := func(of uint64) bool { return of <= second && of+window > second }
	var requests, retried uint64
	for i := range b.requests {
		if v := b.requests[i].Load(); recent(v >> 32) {
			requests += v & (1<<32 - 1)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.made == nil {
		b.made = new([slots]retries)
	}
	for i := range b.made {
		if r := &b.made[i]; recent(r.second) {
			retried += r.count
		}
	}
	allowed := requests * uint64(percent) / 100
	if retried >= max(allowed, minRetries) {
		return false
	}
	r := &b.made[second%slots]
	if r.second != second {
		r.second, r.count = second, 0
	}
	r.count++
	return true
}
