package health

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// TestQueue: whatever comes and goes, the one that is due first is in front, and each knows its place.
func TestQueue(t *testing.T) {
	var q queue
	var all []*check
	for range 5000 {
		switch {
		case rand.IntN(5) < 3 || len(all) == 0:
			c := &check{due: exchange.Nanos(rand.N(time.Hour))}
			q.push(c)
			all = append(all, c)
		case rand.IntN(2) == 0:
			at := rand.IntN(len(all))
			q.remove(all[at])
			if all[at].at != -1 {
				t.Fatal("one that was removed has a place")
			}
			all = slices.Delete(all, at, at+1)
		default:
			first := slices.MinFunc(all, func(a, b *check) int { return cmp.Compare(a.due, b.due) })
			if got := q.pop(); got != first {
				t.Fatalf("%v came out, and %v is due earlier", got.due, first.due)
			}
			all = slices.DeleteFunc(all, func(c *check) bool { return c == first })
		}
		for i, c := range q {
			if c.at != i {
				t.Fatalf("the one at %d says that it is at %d", i, c.at)
			}
		}
		if len(q) != len(all) {
			t.Fatalf("it holds %d of %d", len(q), len(all))
		}
	}
}

// However many checks are due, no more of them begin than the budget of the time that has passed lets.
func TestChecksPerSecondAreBounded(t *testing.T) {
	k := New()
	begin := func() (n int) {
		for k.next() != nil {
			n++
		}
		return n
	}
	w := &watch{}
	for range 100_000 {
		k.queue.push(&check{watch: w})
	}
	k.budget, k.filled = 5, exchange.Now()+exchange.Nanos(time.Hour)
	if n := begin(); n != 5 {
		t.Errorf("%d checks began of a budget of 5", n)
	}
	k.budget, k.filled = 0, exchange.Now()-exchange.Nanos(time.Hour)
	if n := begin(); n < maxChecks || n > 2*maxChecks { // a second fill, of the time that this took
		t.Errorf("%d checks began at once, want about %d", n, maxChecks)
	}
}
