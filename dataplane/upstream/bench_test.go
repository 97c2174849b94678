package upstream

import (
	"fmt"
	"net"
	"slices"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/client"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// onPipe puts an idle connection without an endpoint into the pool.
func onPipe(t testing.TB, e *Endpoint) {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { _ = far.Close() })
	e.inFlight.Add(1)
	e.traffic().idle.done(client.New(near, client.Options{Sweeper: e.cluster.owner.options.Sweeper, Done: e.traffic().idle.done}), true)
}

// take does what a request does to endpoint and pool around its round trip.
func take(e *Endpoint) {
	e.requests.Add(1)
	e.inFlight.Add(1)
	e.traffic().idle.done(e.traffic().idle.get(), true)
	e.Report(200, nil)
}

func TestNothingIsAllocatedForARequest(t *testing.T) {
	cs := newClusters(t, Options{})
	cs.Apply([]*snapshot.Cluster{{ID: "a", Endpoints: endpoints(1, 1)}})
	e := endpoint(t, cs.Get("a"), 1)
	onPipe(t, e)
	cases := map[string]func(){
		"pool": func() { take(e) },
	}
	for name, a := range algorithms {
		c := newTestCluster(t, a, 1, 2, 3)
		cases[name] = func() {
			var tried Choice
			first, _ := c.Pick(&tried)
			tried.Add(first)
			c.Pick(&tried)
		}
	}
	for name, f := range cases {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	for name, a := range algorithms {
		for _, n := range []int{3, 300} {
			for _, weight := range []uint32{1, 3} {
				weights := slices.Repeat([]uint32{1}, n)
				weights[0] = weight
				c := newTestCluster(b, a, weights...)
				b.Run(fmt.Sprintf("%s/%d endpoints, weight %d", name, n, weight), func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						c.Pick(nil)
					}
				})
			}
		}
	}
}

func BenchmarkPickParallel(b *testing.B) {
	c := newTestCluster(b, snapshot.RoundRobin, 1, 1, 1)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c.Pick(nil)
		}
	})
}

func BenchmarkPool(b *testing.B) {
	_, e := clusterOf(b, Options{}, addr(1))
	onPipe(b, e)
	b.ReportAllocs()
	for b.Loop() {
		take(e)
	}
}

func BenchmarkPoolParallel(b *testing.B) {
	_, e := clusterOf(b, Options{}, addr(1))
	for range 64 {
		onPipe(b, e)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			take(e)
		}
	})
}
