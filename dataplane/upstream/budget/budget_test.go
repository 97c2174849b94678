package budget

import (
	"sync"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

func at(d time.Duration) exchange.Nanos { return exchange.Nanos(time.Hour + d) }

// spend returns how many retries are allowed at that time.
func spend(b *Budget, now exchange.Nanos, percent int) int {
	n := 0
	for n < 10000 && b.Retry(now, percent) {
		n++
	}
	return n
}

func TestBudget(t *testing.T) {
	type load struct {
		from, until time.Duration // a request each 10 ms
	}
	for _, c := range []struct {
		name    string
		load    load
		percent int
		when    time.Duration
		want    int
	}{
		{"no limit", load{}, 0, 0, 10000},
		{"a few are always allowed", load{}, 20, 0, minRetries},
		{"few requests", load{0, time.Second}, 20, time.Second, minRetries},
		{"20 % of 500", load{0, 5 * time.Second}, 20, 5 * time.Second, 100},
		{"100 % of 500", load{0, 5 * time.Second}, 100, 5 * time.Second, 500},
		{"the window's requests alone", load{0, 40 * time.Second}, 20, 39*time.Second + 990*time.Millisecond, 200},
		{"half of the window", load{0, 10 * time.Second}, 20, 14*time.Second + 500*time.Millisecond, 100},
		{"long ago", load{0, 10 * time.Second}, 20, 60 * time.Second, minRetries},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b Budget
			for d := c.load.from; d < c.load.until; d += 10 * time.Millisecond {
				b.Request(at(d))
			}
			if got := spend(&b, at(c.when), c.percent); got != c.want {
				t.Errorf("%d retries allowed, want %d", got, c.want)
			}
			if c.percent > 0 && b.Retry(at(c.when+time.Second), c.percent) {
				t.Error("a second later the spent budget is full again")
			}
			if !b.Retry(at(c.when+window*time.Second), c.percent) {
				t.Error("after the window the budget is still spent")
			}
		})
	}
}

func TestBudgetCountsExactlyUnderManyGoroutines(t *testing.T) {
	var b Budget
	var wg sync.WaitGroup
	allowed := make(chan int, 64)
	for i := range 64 {
		wg.Go(func() {
			for j := range 100 {
				b.Request(at(time.Duration(i+j) * time.Millisecond))
			}
		})
	}
	wg.Wait()
	for range 64 {
		wg.Go(func() { allowed <- spend(&b, at(time.Second), 10) })
	}
	wg.Wait()
	close(allowed)
	total := 0
	for n := range allowed {
		total += n
	}
	if total != 640 {
		t.Errorf("%d retries of 6400 requests at 10 %%, want 640", total)
	}
}

func BenchmarkBudget(b *testing.B) {
	var budget Budget
	b.ReportAllocs()
	for b.Loop() {
		budget.Request(1)
	}
}
