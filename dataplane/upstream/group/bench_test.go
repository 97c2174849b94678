package group

import (
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

func TestNothingIsAllocatedForARequest(t *testing.T) {
	gs := grouped(t, 2, 2)
	single := gs.Get("single", []snapshot.WeightedCluster{{Cluster: "a", Weight: 1}}, snapshot.Balance{})
	several := gs.Get("several", []snapshot.WeightedCluster{{Cluster: "a", Weight: 3}, {Cluster: "b", Weight: 1}}, snapshot.Balance{})
	for name, f := range map[string]func(){
		"single": func() {
			var tried Choice
			first, _ := single.Pick(&tried)
			tried.Add(first)
			single.Pick(&tried)
		},
		"several": func() {
			var tried Choice
			first, _ := several.Pick(&tried)
			tried.Add(first)
			several.Pick(&tried)
		},
		"budget": func() {
			several.Budget().Request(1)
			several.Budget().Retry(1, 20)
		},
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkGroupPick(b *testing.B) {
	gs := grouped(b, 2, 2)
	g := gs.Get("route", []snapshot.WeightedCluster{{Cluster: "a", Weight: 3}, {Cluster: "b", Weight: 1}}, snapshot.Balance{})
	b.ReportAllocs()
	for b.Loop() {
		g.Pick(nil)
	}
}
