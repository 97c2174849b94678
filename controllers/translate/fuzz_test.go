package translate_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pingora-proxy/pingora-proxy/api/defaults"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/api/validation"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone/certificates"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/material"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// TestGeneratedObjects puts 10,000 objects, sane ones and absurd ones, as the youngest beside good ones. Each is translated
// and can be served, and not a byte of what the others got is another.
func TestGeneratedObjects(t *testing.T) {
	const objects = 10_000
	var flawless, faulty, built, conflicts int
	for seed := range uint64(objects) {
		g := &generator{Rand: rand.New(rand.NewPCG(seed, 42)), madness: []float64{0, 0.02, 0.3}[seed%3]}
		s, problems := addYoungest(t, g, fmt.Sprintf("seed %d", seed))
		if t.Failed() {
			return
		}
		if slices.ContainsFunc(problems, func(p translate.Problem) bool { return p.Reason == v1alpha1.ReasonInvalid }) {
			faulty++
		} else if len(problems) == 0 {
			flawless++
		}
		if slices.ContainsFunc(problems, translate.Problem.Conflict) {
			conflicts++
		}
		if slices.ContainsFunc(s.Listeners, func(l *snapshot.Listener) bool {
			return slices.ContainsFunc(l.Routes, func(r *snapshot.Route) bool { return r.Service.Namespace == "young" && len(r.Clusters) > 0 })
		}) {
			built++
		}
	}
	t.Logf("%d without a problem, %d invalid, %d with conflicts, %d with a route that forwards", flawless, faulty, conflicts, built)
	if least := objects / 20; flawless < least || faulty < least || conflicts < least || built < least {
		t.Error("the generator has become one-sided")
	}
}

// FuzzObjects is the same with objects that the fuzzer chooses.
func FuzzObjects(f *testing.F) {
	for seed := range uint64(50) {
		var data []byte
		for range 100 {
			seed = seed*6364136223846793005 + 1442695040888963407
			data = binary.LittleEndian.AppendUint64(data, seed)
		}
		f.Add(data, seed%2 == 0)
	}
	f.Fuzz(func(t *testing.T, data []byte, mad bool) {
		g := &generator{Rand: rand.New(&bytesSource{data: data}), madness: 0.02}
		if mad {
			g.madness = 0.3
		}
		addYoungest(t, g, "this input")
	})
}

// A bytesSource takes its randomness from the fuzzer, so that a byte more or less is another detail of the same object.
type bytesSource struct {
	data []byte
	more uint64
}

func (s *bytesSource) Uint64() uint64 {
	if len(s.data) >= 2 {
		n := uint64(binary.LittleEndian.Uint16(s.data)) << 48
		s.data = s.data[2:]
		return n
	}
	s.more += 0x9e3779b97f4a7c15
	return s.more * 0xbf58476d1ce4e5b9
}

// addYoungest translates good objects with and without one that is generated, and compares.
func addYoungest(t *testing.T, g *generator, name string) (*snapshot.Snapshot, []translate.Problem) {
	t.Helper()
	good := goodObjects()
	in := input(good...)
	in.World = g.world()
	before, complaints := translate.Translate(in)
	for _, p := range complaints {
		if !p.Reference() {
			t.Fatalf("the good ones are not: %+v", p)
		}
	}
	young := g.object()
	in.Services = append(input(good...).Services, &young)
	s, problems := translate.Translate(in)
	compile(t, s)
	if a, b := others(before), others(s); !reflect.DeepEqual(a, b) {
		t.Errorf("%s: the others have changed: %s", name, cmp.Diff(fmt.Sprintf("%+v", a), fmt.Sprintf("%+v", b)))
	}
	var own []translate.Problem
	for i, p := range problems {
		switch {
		case p.Service == len(good):
			own = append(own, p)
		case i >= len(complaints) || !slices.Contains(complaints, p):
			t.Errorf("%s: a problem of the others: %+v", name, p)
		}
	}
	if g.IntN(50) == 0 {
		checkKept(t, in, s)
	}
	if t.Failed() {
		text, _ := json.MarshalIndent(young.Spec, "", "  ") // plain data
		t.Logf("%s: faults %.2000s\nproblems %.2000s\n%.4000s", name, fmt.Sprint(young.Faults), fmt.Sprintf("%+v", own), text)
	}
	return s, own
}

// checkKept looks at the input as the last good file keeps it: as JSON. It means the same.
func checkKept(t *testing.T, in translate.Input, want *snapshot.Snapshot) {
	t.Helper()
	text, err := json.Marshal(in)
	var kept translate.Input
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	if err != nil {
		t.Fatal(err)
	}
	for i := range kept.Services {
		kept.Services[i].Faults = validation.Service(&kept.Services[i].Spec, field.NewPath("spec"), v1alpha1.FromCluster)
	}
	got, _ := translate.Translate(kept)
	compile(t, got)
	if len(got.Listeners) != len(want.Listeners) || len(got.Clusters) != len(want.Clusters) || got.Hash != want.Hash {
		t.Errorf("%d listeners, %d clusters, %s; from the file %d, %d, %s", len(want.Listeners), len(want.Clusters), want.Hash,
			len(got.Listeners), len(got.Clusters), got.Hash)
	}
}

// others is the part of a snapshot that is not the young object's.
func others(s *snapshot.Snapshot) []any {
	var out []any
	for _, l := range s.Listeners {
		var part []any
		for _, service := range l.Services {
			if service.Namespace != "young" {
				part = append(part, *service)
			}
		}
		for _, r := range l.Routes {
			if r.Service.Namespace != "young" {
				part = append(part, *r)
			}
		}
		if len(part) > 0 {
			out = append(append(out, l.Address, l.TLS), part...)
		}
	}
	for _, c := range s.Clusters {
		if !strings.HasPrefix(c.Service, "young/") {
			out = append(out, *c)
		}
	}
	return append(out, s.Limits, s.AccessLog)
}

var goodCertificate = sync.OnceValue(func() material.Certificate {
	var none *certificates.SelfSigned
	c := none.Of("good", []string{"a.example"})
	return material.NewCertificate("old/good", c.Chain, c.Key)
})

// goodObjects share addresses, hosts and paths with what the generator makes.
func goodObjects() []translate.Service {
	plain := spec("plain", "0.0.0.0:8080", route("api", "/api"), route("deep", "/api/v1", "/x"))
	hosts := spec("hosts", "0.0.0.0:8080", route("api", "/api"))
	hosts.Spec.Hosts = []string{"a.example", "*.b.example"}
	hosts.Spec.Routes[0].Filters = []v1alpha1.Filter{{RequestHeaders: &v1alpha1.HeaderFilter{Set: map[string]string{"X-A": "b"}}}}
	secured := securedSpec("secured", "0.0.0.0:8443", "good")
	secured.Certificates = []material.Certificate{goodCertificate()}
	other := spec("other", "10.0.0.1:9000")
	other.Spec.Upstreams = nil
	other.Spec.Backends = []v1alpha1.Backend{{Service: &v1alpha1.BackendService{Name: "web", Port: intstr.FromString("http")}}}
	all := []translate.Service{plain, hosts, secured, other}
	for i := range all {
		s := &all[i]
		s.Namespace = "old"
		defaults.Service(&s.Spec, v1alpha1.FromCluster)
		if faults := validation.Service(&s.Spec, field.NewPath("spec"), v1alpha1.FromCluster); len(faults) > 0 {
			panic(faults)
		}
	}
	return all
}
