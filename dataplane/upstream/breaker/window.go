package breaker

import (
	"sync/atomic"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

const (
	windowSeconds = 10
	slots         = 16 // more than windowSeconds, so that a slot is out of the window before it is used again

	countBits = 20 // of each of the two counts of a slot: a million requests a second
	countMask = 1<<countBits - 1
)

// A window counts the requests of the last ten seconds and those among them that failed. A slot is one second: its number
// in the upper bits, then the requests, then the failures.
type window [slots]atomic.Uint64

func secondOf(now exchange.Nanos) uint64 {
	return uint64(now/exchange.Nanos(time.Second)) & (1<<(64-2*countBits) - 1)
}

// add counts a request.
func (w *window) add(now exchange.Nanos, failed bool) {
	second := secondOf(now)
	slot := &w[second%slots]
	for {
		old := slot.Load()
		next := old
		if at := old >> (2 * countBits); at != second {
			if at > second { // the goroutine was late by a whole round: its request counts nowhere
				return
			}
			next = second << (2 * countBits)
		}
		if next>>countBits&countMask == countMask { // full: what the second was like is known
			return
		}
		next += 1 << countBits
		if failed {
			next++
		}
		if slot.CompareAndSwap(old, next) {
			return
		}
	}
}

// sums returns what the last ten seconds held.
func (w *window) sums(now exchange.Nanos) (requests, failures uint64) {
	second := secondOf(now)
	for i := range w {
		v := w[i].Load()
		if at := v >> (2 * countBits); at <= second && at+windowSeconds > second {
			requests += v >> countBits & countMask
			failures += v & countMask
		}
	}
	return requests, failures
}

// clear forgets everything.
func (w *window) clear() {
	for i := range w {
		w[i].Store(0)
	}
}
