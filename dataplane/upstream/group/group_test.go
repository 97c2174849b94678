package group

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream"
)

// grouped returns clusters a, b, c, … of n[i] endpoints each; those of a have the ports 11, 12, …, those of b 21, ….
func grouped(t testing.TB, n ...int) *Groups {
	t.Helper()
	cs := newGroups(t, upstream.Options{})
	cs.clusters.Apply(snapshots(n...))
	return cs
}

func snapshots(n ...int) []*snapshot.Cluster {
	list := make([]*snapshot.Cluster, len(n))
	for i := range n {
		list[i] = &snapshot.Cluster{ID: string(rune('a' + i))}
		for j := range n[i] {
			list[i].Endpoints = append(list[i].Endpoints, snapshot.Endpoint{Addr: addr(10*(i+1) + j + 1), Weight: 1})
		}
	}
	return list
}

// shares counts n picks by cluster.
func shares(g *Group, n int) string {
	got := counts(g, n)
	by := map[string]int{}
	for port, k := range got {
		if port == 0 {
			by["none"] += k
			continue
		}
		by[string(rune('a'+port/10-1))] += k
	}
	return fmt.Sprint(by)
}

func down(t testing.TB, cs *Groups, id string, ports ...int) {
	t.Helper()
	for _, p := range ports {
		endpoint(t, cs.clusters.Get(id), p).Checked(errTest)
	}
}

func up(t testing.TB, cs *Groups, id string, ports ...int) {
	t.Helper()
	for _, p := range ports {
		endpoint(t, cs.clusters.Get(id), p).Checked(nil)
	}
}

func TestGroup(t *testing.T) {
	w := func(id string, weight uint32) snapshot.WeightedCluster {
		return snapshot.WeightedCluster{Cluster: id, Weight: weight}
	}
	b := func(id string, weight uint32) snapshot.WeightedCluster {
		return snapshot.WeightedCluster{Cluster: id, Weight: weight, Backup: true}
	}
	for _, c := range []struct {
		name    string
		members []snapshot.WeightedCluster
		down    []string
		want    string
		reason  exchange.Reason
	}{
		{name: "one", members: []snapshot.WeightedCluster{w("a", 3)}, want: "map[a:60]"},
		{name: "by weight, not by size", members: []snapshot.WeightedCluster{w("a", 1), w("b", 2)}, want: "map[a:20 b:40]"},
		{name: "three", members: []snapshot.WeightedCluster{w("a", 3), w("b", 2), w("c", 1)}, want: "map[a:30 b:20 c:10]"},
		{name: "weight 0", members: []snapshot.WeightedCluster{w("a", 1), w("b", 0)}, want: "map[a:60]"},
		{
			name: "one of three down", members: []snapshot.WeightedCluster{w("a", 3), w("b", 2), w("c", 1)}, down: []string{"b"},
			want: "map[a:45 c:15]",
		},
		{name: "backup waits", members: []snapshot.WeightedCluster{w("a", 1), b("b", 9)}, want: "map[a:60]"},
		{name: "backup serves", members: []snapshot.WeightedCluster{w("a", 1), b("b", 9)}, down: []string{"a"}, want: "map[b:60]"},
		{
			name: "backups by weight", members: []snapshot.WeightedCluster{w("a", 1), b("b", 2), b("c", 1)}, down: []string{"a"},
			want: "map[b:40 c:20]",
		},
		{
			name: "one primary is enough", members: []snapshot.WeightedCluster{w("a", 1), w("b", 1), b("c", 1)}, down: []string{"a"},
			want: "map[b:60]",
		},
		{
			name: "all down", members: []snapshot.WeightedCluster{w("a", 1), b("b", 9)}, down: []string{"a", "b"},
			want: "map[none:60]", reason: exchange.NoHealthyUpstream,
		},
		{name: "only a backup", members: []snapshot.WeightedCluster{b("a", 1)}, want: "map[a:60]"},
		{name: "nothing", want: "map[none:60]", reason: exchange.NoEndpoints},
		{name: "unknown", members: []snapshot.WeightedCluster{w("x", 1)}, want: "map[none:60]", reason: exchange.NoEndpoints},
		{
			name: "empty ones", members: []snapshot.WeightedCluster{w("d", 1), w("e", 1)}, want: "map[none:60]",
			reason: exchange.NoEndpoints,
		},
		{name: "an empty one", members: []snapshot.WeightedCluster{w("d", 1), w("a", 1)}, want: "map[a:60]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cs := grouped(t, 1, 2, 3, 0, 0)
			for _, id := range c.down {
				for _, e := range cs.clusters.Get(id).Endpoints() {
					e.Checked(errTest)
				}
			}
			g := cs.Get("route", c.members, snapshot.Balance{})
			if got := shares(g, 60); got != c.want {
				t.Errorf("shares %s, want %s", got, c.want)
			}
			if _, reason := g.Pick(nil); reason != c.reason {
				t.Errorf("reason %q, want %q", reason, c.reason)
			}
			if got := g.Healthy(); got != (c.reason == "") {
				t.Errorf("healthy = %t", got)
			}
		})
	}
}

// A cluster that goes and comes back is seen by the next pick.
func TestGroupFollowsHealth(t *testing.T) {
	cs := grouped(t, 1, 1, 1)
	g := cs.Get("route", []snapshot.WeightedCluster{
		{Cluster: "a", Weight: 1},
		{Cluster: "b", Weight: 1},
		{Cluster: "c", Weight: 1, Backup: true},
	}, snapshot.Balance{})
	for _, step := range []struct {
		do   func()
		want string
	}{
		{func() {}, "map[a:5 b:5]"},
		{func() { down(t, cs, "a", 11) }, "map[b:10]"},
		{func() { down(t, cs, "b", 21) }, "map[c:10]"},
		{func() { up(t, cs, "a", 11) }, "map[a:10]"},
		{func() { up(t, cs, "b", 21) }, "map[a:5 b:5]"},
		{func() { cs.clusters.SetEndpoints("b", nil) }, "map[a:10]"},
		{func() { cs.clusters.SetEndpoints("b", snapshots(0, 2)[1].Endpoints) }, "map[a:5 b:5]"},
	} {
		step.do()
		if got := shares(g, 10); got != step.want {
			t.Errorf("shares %s, want %s", got, step.want)
		}
	}
	if serving, total := g.Counts(); serving != 4 || total != 4 {
		t.Errorf("%d of %d can serve, want 4 of 4", serving, total)
	}
}

// What a cluster that went down gives up is spread by weight over all others, and taken back when it is up again.
func TestGroupSpreadsTheShareOfTheUnavailable(t *testing.T) {
	cs := grouped(t, 1, 1, 1, 1)
	g := cs.Get("route", []snapshot.WeightedCluster{
		{Cluster: "a", Weight: 1},
		{Cluster: "b", Weight: 1},
		{Cluster: "c", Weight: 1},
		{Cluster: "d", Weight: 2},
	}, snapshot.Balance{})
	for _, step := range []struct {
		do   func()
		want string
	}{
		{func() {}, "map[a:12 b:12 c:12 d:24]"},
		{func() { down(t, cs, "b", 21) }, "map[a:15 c:15 d:30]"},
		{func() { up(t, cs, "b", 21) }, "map[a:12 b:12 c:12 d:24]"},
	} {
		step.do()
		if got := shares(g, 60); got != step.want {
			t.Errorf("shares %s, want %s", got, step.want)
		}
	}
}

// A retry goes to another cluster when its own has no other endpoint, and to the backups last.
func TestGroupRetriesElsewhere(t *testing.T) {
	cs := grouped(t, 1, 2, 1)
	g := cs.Get("route", []snapshot.WeightedCluster{
		{Cluster: "a", Weight: 1},
		{Cluster: "b", Weight: 1},
		{Cluster: "c", Weight: 1, Backup: true},
	}, snapshot.Balance{})
	for range 20 {
		var tried Choice
		var order []uint16
		for {
			e, reason := g.Pick(&tried)
			if e == nil {
				if reason != exchange.NoHealthyUpstream {
					t.Errorf("reason %q", reason)
				}
				break
			}
			tried.Add(e)
			order = append(order, e.Addr().Port())
		}
		if len(order) != 4 || order[3] != 31 {
			t.Fatalf("tried %v, want all four, the backup last", order)
		}
	}
}

func TestGroupIsExactUnderManyGoroutines(t *testing.T) {
	cs := grouped(t, 1, 1, 1)
	g := cs.Get("route", []snapshot.WeightedCluster{
		{Cluster: "a", Weight: 5}, {Cluster: "b", Weight: 2}, {Cluster: "c", Weight: 1},
	}, snapshot.Balance{})
	var seen [40]atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range 80 {
				e, _ := g.Pick(nil)
				seen[e.Addr().Port()].Add(1)
			}
		})
	}
	wg.Wait()
	for port, want := range map[int]int64{11: 3200, 21: 1280, 31: 640} {
		if got := seen[port].Load(); got != want {
			t.Errorf("endpoint %d got %d, want %d", port, got, want)
		}
	}
}

func TestGroupSurvivesApply(t *testing.T) {
	cs := grouped(t, 1, 1)
	members := []snapshot.WeightedCluster{{Cluster: "a", Weight: 3}, {Cluster: "b", Weight: 1}}
	g := cs.Get("route", members, snapshot.Balance{}) // a a b a
	first := shares(g, 2)
	g.Budget().Request(1)
	cs.clusters.Apply(snapshots(1, 1))
	if again := cs.Get("route", members, snapshot.Balance{}); again != g {
		t.Error("the same key and members made another group")
	}
	if first != "map[a:2]" {
		t.Fatalf("first picks: %s", first)
	}
	if got := shares(g, 1); got != "map[b:1]" {
		t.Errorf("third pick: %s, want b: the position is lost", got)
	}
	// With other members the position and the budget go on: of a b c, two were visited, the third is next.
	cs.clusters.Apply(snapshots(1, 1, 1))
	next := cs.Get("route", []snapshot.WeightedCluster{
		{Cluster: "a", Weight: 1}, {Cluster: "b", Weight: 1}, {Cluster: "c", Weight: 1},
	}, snapshot.Balance{})
	if next == g || next.state != g.state {
		t.Error("changed members must make another group that goes on with the old one's position and budget")
	}
	if other := cs.Get("other", members, snapshot.Balance{}); other.state == g.state {
		t.Error("two keys share a position")
	}
}

func TestGroupsThatNobodyNeedsAreForgotten(t *testing.T) {
	gs := grouped(t, 1)
	get := func(key string, settings snapshot.Balance) *Group {
		return gs.Get(key, []snapshot.WeightedCluster{{Cluster: "a", Weight: 1}}, settings)
	}
	kept, dropped := get("kept", snapshot.Balance{}), get("dropped", snapshot.Balance{})
	next := get("kept", snapshot.Balance{HashOn: snapshot.HashClientIP}) // another group under the same key
	gs.Release(kept)
	gs.Release(dropped)
	if len(gs.byKey) != 1 || !gs.Holds(next) {
		t.Errorf("%d groups are remembered, want the one in use", len(gs.byKey))
	}
	if again := get("kept", snapshot.Balance{HashOn: snapshot.HashClientIP}); again != next {
		t.Error("it is another one")
	}
	gs.Release(next)
	if !gs.Holds(next) {
		t.Error("it is forgotten before everybody has released it")
	}
}

// A retry that took a turn would let every request begin at the endpoint that fails.
func TestRetriesTakeNoTurns(t *testing.T) {
	gs := grouped(t, 2, 1)
	g := gs.Get("route", []snapshot.WeightedCluster{{Cluster: "a", Weight: 1}, {Cluster: "b", Weight: 1}}, snapshot.Balance{})
	bad := gs.clusters.Get("a").Endpoints()[0]
	met := 0
	for range 100 {
		var w Choice
		if e, _ := g.Pick(&w); e == bad {
			met++
			w.Add(e)
			if e, _ = g.Pick(&w); e == bad || e == nil {
				t.Fatal(e)
			}
		}
	}
	if met != 25 {
		t.Errorf("of 100 requests %d began at the bad endpoint, want 25", met)
	}
}
