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
