package upstream

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// Every stretch as long as the sum of the weights visits every place exactly as often as its weight says.
func TestRotationIsExactInEveryWindow(t *testing.T) {
	equal := slices.Repeat([]uint32{7}, 5000)
	for _, c := range []struct {
		weights []uint32
		live    bool
	}{
		{weights: []uint32{1}},
		{weights: []uint32{1, 1, 1}},
		{weights: []uint32{5, 1, 1}},
		{weights: []uint32{3, 2, 7, 1}},
		{weights: []uint32{100, 50, 250}},
		{weights: []uint32{4095, 1}},
		{weights: []uint32{4096, 1}, live: true},
		{weights: []uint32{5000, 3001, 2}, live: true},
		{weights: equal},
	} {
		name := fmt.Sprint(c.weights[:min(len(c.weights), 4)], len(c.weights))
		t.Run(name, func(t *testing.T) {
			r := newRotation(c.weights)
			if got := r.live != nil; got != c.live {
				t.Fatalf("live = %t", got)
			}
			reduced, sum := reduce(c.weights)
			var position atomic.Uint64
			visits := make([]int, 0, 3*sum)
			for range 3 * sum {
				visits = append(visits, r.next(&position))
			}
			window := make([]int, len(reduced))
			for i, place := range visits {
				window[place]++
				if i < int(sum)-1 {
					continue
				}
				if i >= int(sum) {
					window[visits[i-int(sum)]]--
				}
				if i%97 != 0 && i != len(visits)-1 && len(reduced) > 100 {
					continue // looking at every place of every window of the long one takes long
				}
				for p, n := range window {
					if n != int(reduced[p]) {
						t.Fatalf("window up to %d visits place %d %d times, want %d", i, p, n, reduced[p])
					}
				}
			}
		})
	}
}

func TestRotationIsSmooth(t *testing.T) {
	for _, c := range []struct {
		weights []uint32
		want    string
	}{
		{[]uint32{5, 1, 1}, "a a b a c a a"}, // as nginx's documentation of the algorithm has it
		{[]uint32{10, 2, 2}, "a a b a c a a"},
		{[]uint32{1, 1, 1}, "a b c"},
		{[]uint32{2, 1}, "a b a"},
	} {
		r := newRotation(c.weights)
		var position atomic.Uint64
		var got []string
		for range strings.Fields(c.want) {
			got = append(got, string(rune('a'+r.next(&position))))
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%v: %s, want %s", c.weights, s, c.want)
		}
	}
}

func TestRoundRobinIsExactUnderManyGoroutines(t *testing.T) {
	for _, weights := range [][]uint32{{1, 1, 1}, {5, 1, 2}, {4001, 1000}} {
		t.Run(fmt.Sprint(weights), func(t *testing.T) {
			c := newTestCluster(t, snapshot.RoundRobin, weights...)
			_, sum := reduce(weights)
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
