package router

import (
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

func TestKeepsSlashes(t *testing.T) {
	keeps := func(hosts ...string) *snapshot.Service { return &snapshot.Service{Hosts: hosts, KeepSlashes: true} }
	merges := func(hosts ...string) *snapshot.Service { return &snapshot.Service{Hosts: hosts} }
	for _, test := range []struct {
		name     string
		services []*snapshot.Service
		want     map[string]bool // by host
	}{
		{"nobody", []*snapshot.Service{merges("a.example")}, map[string]bool{"a.example": false, "b.example": false}},
		{"one host", []*snapshot.Service{keeps("a.example"), merges("b.example")}, map[string]bool{
			"a.example": true, "A.EXAMPLE:8080": true, "a.example.": true, "b.example": false, "c.example": false, "": false,
		}},
		{"two services", []*snapshot.Service{keeps("a.example"), merges("a.example")}, map[string]bool{"a.example": false}},
		{"two services, the other way round", []*snapshot.Service{merges("a.example"), keeps("a.example")}, map[string]bool{"a.example": false}},
		{"both want it", []*snapshot.Service{keeps("a.example"), keeps("a.example")}, map[string]bool{"a.example": true}},
		{"a wider host merges", []*snapshot.Service{keeps("a.b.example"), merges("*.example")}, map[string]bool{"a.b.example": false, "x.example": false}},
		{"a wider host keeps", []*snapshot.Service{merges("a.b.example"), keeps("*.example")}, map[string]bool{"a.b.example": false, "x.b.example": true}},
		{"every host merges", []*snapshot.Service{keeps("a.example"), merges()}, map[string]bool{"a.example": false, "b.example": false}},
		{"every host keeps", []*snapshot.Service{keeps(), merges("a.example")}, map[string]bool{"a.example": false, "b.example": true, "": true}},
		{"wildcards of two lengths", []*snapshot.Service{keeps("*.a.example"), merges("*.example")}, map[string]bool{"x.a.example": false, "x.example": false}},
		{"wildcards of two lengths, both", []*snapshot.Service{keeps("*.a.example"), keeps("*.example")}, map[string]bool{"x.a.example": true, "x.example": true, "example": false}},
	} {
		table, err := Compile([]Listener{{Slot: 1, Snapshot: &snapshot.Listener{Services: test.services}}})
		if err != nil {
			t.Fatal(err)
		}
		for host, want := range test.want {
			if got := table.KeepsSlashes(1, []byte(host)); got != want {
				t.Errorf("%s: %q: %v, want %v", test.name, host, got, want)
			}
		}
		for _, slot := range []int{-1, 0, 2} {
			if table.KeepsSlashes(slot, []byte("a.example")) {
				t.Errorf("%s: slot %d has no listener", test.name, slot)
			}
		}
	}
}

// A route may bring a host of its own to a service that merges.
func TestKeepsSlashesOfRoutes(t *testing.T) {
	keeps, merges := &snapshot.Service{Hosts: []string{"a.example"}, KeepSlashes: true}, &snapshot.Service{Hosts: []string{"b.example"}}
	table, err := Compile([]Listener{{
		Snapshot: &snapshot.Listener{Services: []*snapshot.Service{keeps, merges}},
		Routes:   []*Route{{Snapshot: &snapshot.Route{Service: merges, Name: "r", Hosts: []string{"a.example"}}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if table.KeepsSlashes(0, []byte("a.example")) {
		t.Error("the path of a route that merges slashes is not what it is matched with")
	}
}
