package router

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// TestNextLikeCompile: however services and routes come and go, a table that is made of the one before finds what one finds
// that is made of nothing.
func TestNextLikeCompile(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	m := maker{rand.New(rand.NewPCG(seed, 0))}
	shared := 0
	for range 60 {
		all := map[*snapshot.Route]*Route{}
		l := *m.listener()
		before := next(t, &Table{}, &l, all)
		for range 12 {
			other, changed := m.listener(), l
			changed.Services, changed.Routes = slices.Clone(l.Services), slices.Clone(l.Routes)
			m.change(&changed, other)
			l = changed
			now := next(t, before, &l, all)
			for _, h := range now.listeners[0].exact {
				if before.listeners[0].exact[h.name] == h {
					shared++
				}
			}
			if diff := cmp.Diff(texts(table(t, &l)), texts(now)); diff != "" {
				t.Fatalf("the next table has other routes (-whole +next):\n%s", diff)
			}
			for range 20 {
				compare(t, &l, now, m.request())
			}
			before = now
		}
	}
	if shared == 0 {
		t.Error("no host was ever shared")
	}
}

// change takes a service or a route away, adds one of another listener, or moves services.
func (m maker) change(l, other *snapshot.Listener) {
	switch m.IntN(5) {
	case 0: // a service leaves
		if len(l.Services) == 0 {
			return
		}
		s := l.Services[m.IntN(len(l.Services))]
		l.Services = slices.DeleteFunc(l.Services, func(o *snapshot.Service) bool { return o == s })
		l.Routes = slices.DeleteFunc(l.Routes, func(r *snapshot.Route) bool { return r.Service == s })
	case 1: // one comes
		if len(other.Services) == 0 {
			return
		}
		s := other.Services[0]
		l.Services = slices.Insert(l.Services, m.IntN(len(l.Services)+1), s)
		for _, r := range other.Routes {
			if r.Service == s {
				l.Routes = slices.Insert(l.Routes, m.IntN(len(l.Routes)+1), r)
			}
		}
	case 2: // a route leaves
		if len(l.Routes) > 0 {
			at := m.IntN(len(l.Routes))
			l.Routes = slices.Delete(l.Routes, at, at+1)
		}
	case 3: // one changes
		if len(l.Routes) > 0 && len(other.Routes) > 0 {
			at := m.IntN(len(l.Routes))
			r := *other.Routes[0]
			r.Service = l.Routes[at].Service
			l.Routes[at] = &r
		}
	case 4: // two are in another order
		if n := len(l.Routes); n > 1 {
			a, b := m.IntN(n), m.IntN(n)
			l.Routes[a], l.Routes[b] = l.Routes[b], l.Routes[a]
		}
	}
}

func next(t *testing.T, before *Table, l *snapshot.Listener, all map[*snapshot.Route]*Route) *Table {
	t.Helper()
	in := Listener{Snapshot: l}
	for _, r := range l.Routes {
		if all[r] == nil {
			all[r] = &Route{Snapshot: r}
		}
		in.Routes = append(in.Routes, all[r])
	}
	compiled, err := before.Next([]Listener{in})
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

func texts(table *Table) []string {
	var out []string
	for _, d := range table.Routes() {
		out = append(out, fmt.Sprintf("%s %s %s/%s %v", d.Address, d.Host, d.Route.Snapshot.Service.Name, d.Route.Snapshot.Name, d.Match))
	}
	return out
}

// TestNextShares: one service of many that changes leaves the hosts of the others as they are, and a listener where nothing
// changes is the same.
func TestNextShares(t *testing.T) {
	var l snapshot.Listener
	for i := range 100 {
		s := &snapshot.Service{Name: fmt.Sprint(i), Hosts: []string{fmt.Sprintf("h%d.example", i)}}
		l.Services = append(l.Services, s)
		l.Routes = append(l.Routes, &snapshot.Route{Service: s, Name: "r"})
	}
	all := map[*snapshot.Route]*Route{}
	first := next(t, &Table{}, &l, all)
	same := l
	if next(t, first, &same, all).listeners[0] != first.listeners[0] {
		t.Error("a listener was compiled again in which nothing has changed")
	}
	changed := l
	changed.Services, changed.Routes = slices.Clone(l.Services), slices.Clone(l.Routes)
	s := *l.Services[50]
	changed.Services[50] = &s
	changed.Routes[50] = &snapshot.Route{Service: &s, Name: "other"}
	second := next(t, first, &changed, all)
	for name, h := range second.listeners[0].exact {
		if again := first.listeners[0].exact[name] != h; again != (name == "h50.example") {
			t.Errorf("%s: made again: %t", name, again)
		}
	}
}
