package upstream

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

func down(t testing.TB, cs *Clusters, id string, ports ...int) {
	t.Helper()
	for _, p := range ports {
		endpoint(t, cs.Get(id), p).Checked(errTest)
	}
}

func up(t testing.TB, cs *Clusters, id string, ports ...int) {
	t.Helper()
	for _, p := range ports {
		endpoint(t, cs.Get(id), p).Checked(nil)
	}
}

func TestZones(t *testing.T) {
	in := func(zones ...string) []snapshot.Endpoint {
		list := endpoints(slices.Repeat([]uint32{1}, len(zones))...)
		for i, z := range zones {
			list[i].Zones = z
		}
		return list
	}
	for _, c := range []struct {
		name, zone string
		off        bool
		endpoints  []snapshot.Endpoint
		down       []int
		want       []int
	}{
		{name: "ours", zone: "a", endpoints: in("a", "b", "a,b", "c"), want: []int{1, 3}},
		{name: "another's", zone: "c", endpoints: in("a", "b", "a,b", "c"), want: []int{4}},
		{name: "none for us", zone: "d", endpoints: in("a", "b"), want: []int{1, 2}},
		{name: "nobody knows where we are", endpoints: in("a", "b"), want: []int{1, 2}},
		{name: "one without a hint", zone: "a", endpoints: in("a", "b", ""), want: []int{1, 2, 3}},
		{name: "off", zone: "a", off: true, endpoints: in("a", "b"), want: []int{1, 2}},
		{name: "half of ours are down", zone: "a", endpoints: in("a", "a", "b"), down: []int{1}, want: []int{2}},
		{name: "most of ours are down", zone: "a", endpoints: in("a", "a", "a", "b"), down: []int{1, 2}, want: []int{3, 4}},
		{name: "ours are down", zone: "a", endpoints: in("a", "b"), down: []int{1}, want: []int{2}},
		{name: "no prefix", zone: "a", endpoints: in("aa", "b", "a"), want: []int{3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cs := newClusters(t, Options{Zone: c.zone})
			cs.Apply([]*snapshot.Cluster{{ID: "c", ZoneAware: !c.off, Endpoints: c.endpoints}})
			cluster := cs.Get("c")
			down(t, cs, "c", c.down...)
			var got []int
			for port := range counts(cluster, 20) {
				got = append(got, port)
			}
			slices.Sort(got)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if serving, total := cluster.Counts(); serving != total-len(c.down) {
				t.Errorf("%d of %d can serve", serving, total)
			}
			// A retry may go to any zone.
			var w Choice
			for range len(c.endpoints) - len(c.down) {
				e, reason := cluster.Pick(&w)
				if e == nil {
					t.Fatal(reason)
				}
				w.Add(e)
			}
		})
	}
}

// Endpoints that come later, or come back, begin slowly; those of the start do not.
func TestWhoBeginsSlowly(t *testing.T) {
	cs := newClusters(t, Options{})
	s := &snapshot.Cluster{ID: "c", SlowStart: 1000 * time.Hour, Endpoints: endpoints(1, 1)}
	cs.Apply([]*snapshot.Cluster{s})
	c := cs.Get("c")
	if got := counts(c, 100); got[1] != 50 {
		t.Errorf("at the start: %v", got)
	}
	c.SetEndpoints(endpoints(1, 1, 1))
	if got := counts(c, 1000); got[3] == 0 || got[3] > 150 {
		t.Errorf("of a new one: %v", got)
	}
	down(t, cs, "c", 2)
	up(t, cs, "c", 2)
	if got := counts(c, 1000); got[2] == 0 || got[2] > 200 || got[1] < 600 {
		t.Errorf("of one that came back: %v", got)
	}
	next := *s
	next.SlowStart, next.Endpoints = 0, endpoints(1, 1, 1)
	c.Update(&next)
	if got := counts(c, 300); got[1] != 100 || got[2] != 100 {
		t.Errorf("it was turned off: %v", got)
	}
}
