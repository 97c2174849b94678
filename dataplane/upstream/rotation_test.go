package upstream

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

func TestRoundRobinIsExactUnderManyGoroutines(t *testing.T) {
	for _, weights := range [][]uint32{{1, 1, 1}, {5, 1, 2}, {4001, 1000}} {
		t.Run(fmt.Sprint(weights), func(t *testing.T) {
			c := newTestCluster(t, snapshot.RoundRobin, weights...)
			sum := uint32(0)
			for _, w := range weights {
				sum += w
			}
			const turns = 64
			total := int(sum) * turns
			var left atomic.Int64
			left.Store(int64(total))
			seen := make([]atomic.Int64, len(weights)+1)
			var wg sync.WaitGroup
			for range 64 {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						e, _ := c.Pick(nil)
						seen[e.addr.Port()].Add(1)
					}
				})
			}
			wg.Wait()
			for i, w := range weights {
				if got, want := seen[i+1].Load(), int64(total)*int64(w)/int64(sum); got != want {
					t.Errorf("endpoint %d got %d of %d, want %d", i+1, got, total, want)
				}
			}
		})
	}
}

// What an endpoint that cannot serve gives up falls to all others by their weights, not to its neighbour.
func TestRoundRobinSpreadsTheShareOfTheUnavailable(t *testing.T) {
	c := newTestCluster(t, snapshot.RoundRobin, 1, 1, 1, 3)
	endpoint(t, c, 2).Checked(errTest)
	got := counts(c, 500)
	for port, want := range map[int]int{0: 0, 1: 100, 2: 0, 3: 100, 4: 300} {
		if got[port] != want {
			t.Errorf("endpoint %d got %d, want %d", port, got[port], want)
		}
	}
}

func TestRoundRobinGoesOnWhenEndpointsChange(t *testing.T) {
	c := newTestCluster(t, snapshot.RoundRobin, 1, 1, 1, 1)
	if got := counts(c, 2); got[1] != 1 || got[2] != 1 {
		t.Fatalf("first picks: %v", got)
	}
	shuffled := endpoints(1, 1, 1, 1)
	slices.Reverse(shuffled)
	c.SetEndpoints(shuffled)
	if got := counts(c, 2); got[3] != 1 || got[4] != 1 {
		t.Errorf("after the same endpoints in another order: %v, want 3 and 4", got)
	}
}

// Endpoints that stay get the same number of requests, but for one each time that others come or go.
func TestRoundRobinIsEvenWhileEndpointsComeAndGo(t *testing.T) {
	c := newTestCluster(t, snapshot.RoundRobin, 1, 1)
	total := map[int]int{}
	const changes = 200
	for i := range changes {
		c.SetEndpoints(endpoints(slices.Repeat([]uint32{1}, 2+i%5)...))
		for port, n := range counts(c, 103) {
			total[port] += n
		}
	}
	if total[0] != 0 {
		t.Errorf("%d picks found no endpoint", total[0])
	}
	if d := total[1] - total[2]; d < -changes || d > changes {
		t.Errorf("endpoints that stayed got %d and %d", total[1], total[2])
	}
	if sum := total[1] + total[2]; sum < changes*103/3 {
		t.Errorf("endpoints that stayed got %d of %d", sum, changes*103)
	}
}

func TestLiveRotationKeepsItsCredits(t *testing.T) {
	c := newTestCluster(t, snapshot.RoundRobin, 5000, 2500, 3)
	before := counts(c, 7503/2)
	c.SetEndpoints(append(endpoints(5000, 2500, 3), snapshot.Endpoint{Addr: addr(9), Weight: 0}))
	for port, n := range counts(c, 7503-7503/2) {
		before[port] += n
	}
	for port, want := range map[int]int{1: 5000, 2: 2500, 3: 3} {
		if before[port] != want {
			t.Errorf("endpoint %d got %d, want %d", port, before[port], want)
		}
	}
}
