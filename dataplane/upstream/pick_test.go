package upstream

import (
	"errors"
	"math"
	"sync"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/balance"
)

var errTest = errors.New("connection refused")

var algorithms = map[string]snapshot.Algorithm{
	"round robin": snapshot.RoundRobin, "least request": snapshot.LeastRequest, "random": snapshot.Random,
	"consistent hash": snapshot.ConsistentHash,
}

// near reports whether a count of n draws of probability p is believable: within six standard deviations.
func near(got, n int, p float64) bool {
	return math.Abs(float64(got)-float64(n)*p) <= 6*math.Sqrt(float64(n)*p*(1-p))+1
}

func TestRandomAndIdleLeastRequestHonourWeights(t *testing.T) {
	const n = 20000
	for _, a := range []snapshot.Algorithm{snapshot.Random, snapshot.LeastRequest} {
		for _, weights := range [][]uint32{{1, 1, 1}, {6, 3, 1}, {2, 4}, {1000000, 1000000, 2000000}} {
			sum := 0
			for _, w := range weights {
				sum += int(w)
			}
			got := counts(newTestCluster(t, a, weights...), n)
			for i, w := range weights {
				if p := float64(w) / float64(sum); !near(got[i+1], n, p) {
					t.Errorf("algorithm %d, weights %v: endpoint %d got %d of %d", a, weights, i+1, got[i+1], n)
				}
			}
		}
	}
}

func TestLeastRequestFavoursTheIdle(t *testing.T) {
	const n = 10000
	c := newTestCluster(t, snapshot.LeastRequest, 1, 1, 1, 1)
	endpoint(t, c, 1).inFlight.Add(50)
	got := counts(c, n)
	// Two different ones are drawn, but for a rest of (1/4)^4: the busy one never wins.
	if got[1] != 0 {
		t.Errorf("the busy endpoint got %d of %d", got[1], n)
	}
	for port := 2; port <= 4; port++ {
		if got[port] < n/5 {
			t.Errorf("idle endpoint %d got %d of %d", port, got[port], n)
		}
	}
}

func TestLeastRequestMeasuresByWeight(t *testing.T) {
	c := newTestCluster(t, snapshot.LeastRequest, 1, 4)
	endpoint(t, c, 1).inFlight.Add(2)
	endpoint(t, c, 2).inFlight.Add(7) // less, for its weight
	if got := counts(c, 1000); got[2] != 1000 {
		t.Errorf("picks: %v, want all on 2", got)
	}
	endpoint(t, c, 2).inFlight.Add(2)
	if got := counts(c, 1000); got[1] != 1000 {
		t.Errorf("picks: %v, want all on 1", got)
	}
}

func TestTriedEndpointsAreAvoided(t *testing.T) {
	for name, a := range algorithms {
		t.Run(name, func(t *testing.T) {
			c := newTestCluster(t, a, 1, 100, 1, 0, 1)
			endpoint(t, c, 3).Checked(errTest)
			for range 200 {
				var tried Choice
				seen := map[uint16]bool{}
				for range 3 {
					e, reason := c.Pick(&tried)
					if e == nil {
						t.Fatalf("no endpoint (%s) after %v", reason, seen)
					}
					if seen[e.addr.Port()] {
						t.Fatalf("endpoint %v picked again after %v", e.addr, seen)
					}
					seen[e.addr.Port()] = true
					tried.Add(e)
				}
				if e, reason := c.Pick(&tried); e != nil || reason != exchange.NoHealthyUpstream {
					t.Fatalf("fourth pick of three: %v, %q", e, reason)
				}
			}
		})
	}
}

// A retry that took a turn would let every request begin at the endpoint that fails, instead of every second one.
func TestRetriesTakeNoTurns(t *testing.T) {
	c := newTestCluster(t, snapshot.RoundRobin, 1, 1)
	bad := c.Endpoints()[0]
	met := 0
	for range 100 {
		var w Choice
		if e, _ := c.Pick(&w); e == bad {
			met++
			w.Add(e)
			if e, _ = c.Pick(&w); e == bad || e == nil {
				t.Fatal(e)
			}
		}
	}
	if met != 50 {
		t.Errorf("of 100 requests %d began at the bad endpoint, want 50", met)
	}
}

func TestChoiceRemembersSixteen(t *testing.T) {
	var tried Choice
	list := make([]Endpoint, balance.MaxTries+1)
	for i := range list {
		tried.Add(&list[i])
	}
	if !tried.tried.Has(&list[0].inFlight) || !tried.tried.Has(&list[balance.MaxTries].inFlight) || tried.tried.Has(&list[balance.MaxTries-1].inFlight) {
		t.Error("the seventeenth did not replace the sixteenth")
	}
}

func TestPickReasons(t *testing.T) {
	for name, a := range algorithms {
		t.Run(name, func(t *testing.T) {
			for _, c := range []struct {
				name    string
				weights []uint32
				down    []int
				want    exchange.Reason
			}{
				{name: "none", want: exchange.NoEndpoints},
				{name: "weight 0", weights: []uint32{0, 0}, want: exchange.NoEndpoints},
				{name: "all down", weights: []uint32{1, 1}, down: []int{1, 2}, want: exchange.NoHealthyUpstream},
				{name: "one down", weights: []uint32{1, 1}, down: []int{1}},
				{name: "weight 0 is up", weights: []uint32{1, 0}, down: []int{1}, want: exchange.NoHealthyUpstream},
			} {
				cluster := newTestCluster(t, a, c.weights...)
				for _, port := range c.down {
					endpoint(t, cluster, port).Checked(errTest)
				}
				e, reason := cluster.Pick(nil)
				if reason != c.want || (e == nil) != (c.want != "") {
					t.Errorf("%s: %v, %q, want %q", c.name, e, reason, c.want)
				}
			}
		})
	}
}

// Picking while everything changes finds an endpoint as long as one is there that never changes.
func TestPickDuringChurn(t *testing.T) {
	for name, a := range algorithms {
		t.Run(name, func(t *testing.T) {
			c := newTestCluster(t, a, 1, 2, 3)
			stop := make(chan struct{})
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						var tried Choice
						e, reason := c.Pick(&tried)
						if e == nil {
							t.Errorf("no endpoint: %s", reason)
							return
						}
						tried.Add(e)
						if other, _ := c.Pick(&tried); other == e {
							t.Error("a tried endpoint was picked again")
							return
						}
						e.inFlight.Add(1)
						e.Report(503, nil)
						e.inFlight.Add(-1)
						c.Status()
					}
				})
			}
			for i := range 300 {
				c.SetEndpoints(endpoints([]uint32{1, uint32(i % 3), 5000, 2}[:1+i%4]...))
				if all := c.Endpoints(); len(all) > 1 {
					all[1].Checked([]error{nil, errTest}[i%2])
				}
				next := *c.Settings()
				next.Algorithm = snapshot.Algorithm(i % 4)
				next.Endpoints = endpoints(1, 1, 1)
				next.Passive = &snapshot.Passive{ConsecutiveErrors: 3, Ejection: 1, MaxEjectionPercent: 50}
				c.Update(&next)
			}
			close(stop)
			wg.Wait()
		})
	}
}
