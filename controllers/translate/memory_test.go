package translate_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/material"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/realm"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// TestMemoryChangesNothing: whatever comes, goes, moves or changes, the world included, a translation that remembers the one
// before says what one says that remembers nothing.
func TestMemoryChangesNothing(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0)), madness: 0.02}
	reused := 0
	for range 15 {
		var m translate.Memory
		in := input(goodObjects()...)
		in.World = g.world()
		for i := range in.Services {
			in.Services[i].Seal()
		}
		for step := range 25 {
			want, problems := translate.Translate(in)
			got, complaints := m.Translate(in)
			reused += m.Reused()
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("step %d: %s", step, cmp.Diff(fmt.Sprintf("%+v", others(want)), fmt.Sprintf("%+v", others(got))))
			}
			if !slices.Equal(problems, complaints) {
				t.Fatalf("step %d: problems %s", step, cmp.Diff(problems, complaints))
			}
			in.Services = slices.Clone(in.Services)
			n := len(in.Services)
			switch at := g.IntN(n); g.IntN(6) {
			case 0, 1:
				young := g.object()
				young.Name = fmt.Sprint("young", g.IntN(8))
				young.Seal()
				in.Services = slices.DeleteFunc(in.Services, func(s *translate.Service) bool { return s.Owner() == young.Owner() })
				in.Services = slices.Insert(in.Services, min(at, len(in.Services)), &young)
			case 2:
				if n > 1 {
					in.Services = slices.Delete(in.Services, at, at+1)
				}
			case 3:
				other := g.IntN(n)
				in.Services[at], in.Services[other] = in.Services[other], in.Services[at]
			case 4:
				in.World = g.world()
			case 5:
				for i, s := range in.Services {
					if len(s.Certificates) > 0 {
						changed := *s
						changed.Certificates = []material.Certificate{{Name: "x", Problem: "it is gone"}}
						in.Services[i] = &changed
					}
				}
			}
		}
	}
	if reused == 0 {
		t.Error("no service was ever remembered")
	}
}

// TestMemoryShares: what is a service's own stays the very same thing until the service changes, or what it names does.
func TestMemoryShares(t *testing.T) {
	var m translate.Memory
	in := input(spec("a", "0.0.0.0:80", route("r", "/a")), spec("b", "0.0.0.0:80", route("r", "/b")))
	for i := range in.Services {
		in.Services[i].Spec.Hosts = []string{in.Services[i].Name + ".example"}
		in.Services[i].Seal()
	}
	first, _ := m.Translate(in)
	again := *in.Services[0]
	in.Services[0] = &again // a copy is the same
	second, _ := m.Translate(in)
	if m.Reused() != 2 || !slices.Equal(first.Listeners[0].Routes, second.Listeners[0].Routes) || !slices.Equal(first.Clusters, second.Clusters) {
		t.Errorf("%d of 2 services were remembered", m.Reused())
	}
	in.Services[1].Seal() // something about it is another
	third, _ := m.Translate(in)
	kept := func(a, b *snapshot.Snapshot, service string) bool {
		return slices.ContainsFunc(a.Clusters, func(c *snapshot.Cluster) bool { return c.Service == service && slices.Contains(b.Clusters, c) })
	}
	if m.Reused() != 1 || !kept(second, third, in.Services[0].Owner()) || kept(second, third, in.Services[1].Owner()) {
		t.Errorf("%d of 2 services were remembered, a %t, b %t", m.Reused(), kept(second, third, in.Services[0].Owner()), kept(second, third, in.Services[1].Owner()))
	}
}

// TestMemoryAsksTheWorld: what a service names is looked up again each time.
func TestMemoryAsksTheWorld(t *testing.T) {
	var m translate.Memory
	in := input(goodObjects()...)
	for i := range in.Services {
		in.Services[i].Seal()
	}
	world := func(port string, endpoints ...snapshot.Endpoint) *realm.World {
		return &realm.World{
			Services:  map[string]realm.KubeService{"old/web": {Ports: []realm.KubePort{{Name: port, Number: 80}}}},
			Endpoints: map[string][]snapshot.Endpoint{realm.OriginKey(snapshot.Origin{Namespace: "old", Name: "web", Port: port}): endpoints},
		}
	}
	one := snapshot.Endpoint{Addr: netip.MustParseAddrPort("10.0.0.1:80"), Weight: 1}
	for _, c := range []struct {
		name   string
		world  *realm.World
		reused int
	}{
		{"first", world("http"), 0},
		{"again", world("http"), 4},
		{"an endpoint comes", world("http", one), 4},
		{"a port has another name", world("https"), 3},
		{"the Service is there again", world("http"), 3},
		{"other rules", &realm.World{Policy: realm.Policy{Ports: []realm.PortRange{{First: 1, Last: 1}}}}, 0},
	} {
		in.World = c.world
		got, problems := m.Translate(in)
		want, complaints := translate.Translate(in)
		if !reflect.DeepEqual(got, want) || !slices.Equal(problems, complaints) {
			t.Errorf("%s: the snapshot is another one:\n%s", c.name, cmp.Diff(fmt.Sprintf("%+v %+v", others(want), complaints), fmt.Sprintf("%+v %+v", others(got), problems)))
		}
		if m.Reused() != c.reused {
			t.Errorf("%s: %d services were remembered, want %d", c.name, m.Reused(), c.reused)
		}
	}
}
