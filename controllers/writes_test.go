package controllers_test

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/test/kube"
)

// A history is every version of the ProxyServices of a site, as a watch tells them.
type history struct {
	mu       sync.Mutex
	versions map[string][]*v1alpha1.ProxyService // by name; the first is as it was made
}

func (s *site) follow(t *testing.T) *history {
	t.Helper()
	direct, err := client.NewWithWatch(s.Config(), client.Options{Scheme: s.Client().Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	w, err := direct.Watch(context.Background(), &v1alpha1.ProxyServiceList{}, client.InNamespace(s.ns))
	if err != nil {
		t.Fatal(err)
	}
	h := &history{versions: map[string][]*v1alpha1.ProxyService{}}
	var following sync.WaitGroup
	following.Go(func() {
		for e := range w.ResultChan() {
			if p, ok := e.Object.(*v1alpha1.ProxyService); ok && e.Type != watch.Deleted {
				h.mu.Lock()
				h.versions[p.Name] = append(h.versions[p.Name], p)
				h.mu.Unlock()
			}
		}
	})
	t.Cleanup(func() {
		w.Stop()
		following.Wait()
	})
	return h
}

// of waits until the history has come to a version of the object and returns the versions so far.
func (h *history) of(t *testing.T, p *v1alpha1.ProxyService) []*v1alpha1.ProxyService {
	t.Helper()
	var all []*v1alpha1.ProxyService
	kube.Eventually(t, kube.Patience, func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		all = h.versions[p.Name]
		if len(all) == 0 || all[len(all)-1].ResourceVersion != p.ResourceVersion {
			return fmt.Errorf("%d versions of %s, without %s", len(all), p.Name, p.ResourceVersion)
		}
		return nil
	})
	return all
}

// written checks the writes of a status between two changes of a spec: one, which says everything. Only a machine that is so
// slow that the replica had not caught up in a second may need one before, which says so.
func written(t *testing.T, versions []*v1alpha1.ProxyService) {
	t.Helper()
	for i := 1; i < len(versions); i++ {
		before, after := versions[i-1], versions[i]
		if before.Generation != after.Generation {
			continue
		}
		if reflect.DeepEqual(before.Status, after.Status) {
			t.Errorf("%s: version %s changes nothing", after.Name, after.ResourceVersion)
		}
		if i+1 < len(versions) && versions[i+1].Generation == after.Generation && conditions(after)[2] != "Programmed=False/Pending" {
			t.Errorf("%s: one write more after %v (endpoints %s): %v (endpoints %s)", after.Name,
				conditions(after), after.Status.EndpointsSummary, conditions(versions[i+1]), versions[i+1].Status.EndpointsSummary)
		}
	}
}

// A change costs one write of the status, of the changed object alone.
func TestOneWriteAChange(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.web(t, "web", 1)
	var asked tap
	s.awaitReady(t, s.start(t, asked.option))
	h := s.follow(t)
	spec := func(i, version int) string {
		return proxyService(fmt.Sprintf("shop-%d", i), fmt.Sprintf("hosts: [v%d.s%d.example], ", version, i)+backends(80, "{service: {name: web, port: 80}}"))
	}
	const objects = 20
	for i := range objects {
		s.apply(t, spec(i, 0))
	}
	for i := range objects {
		written(t, h.of(t, s.awaitProgrammed(t, fmt.Sprintf("shop-%d", i))))
	}
	before := s.versions(t)
	for version := range 3 {
		s.apply(t, spec(7, version+1))
		written(t, h.of(t, s.awaitProgrammed(t, "shop-7")))
	}
	versions := 0 // that statuses made: the others are four specs of one object, and one of each of the rest
	for i := range objects {
		versions += len(h.of(t, s.get(t, fmt.Sprintf("shop-%d", i))))
	}
	if n := asked.statuses(); n != versions-objects-3 {
		t.Errorf("%d writes have made %d versions", n, versions-objects-3)
	}
	after := s.versions(t)
	for name, version := range before {
		if changed := after[name] != version; changed != (name == "shop-7") {
			t.Errorf("%s: version %s, before %s", name, after[name], version)
		}
	}
	// The same once more is no change.
	s.apply(t, spec(7, 3))
	if again := s.versions(t); !reflect.DeepEqual(after, again) {
		t.Error("an object that is applied again as it was has changed something")
	}
}

// versions are the resourceVersions of all ProxyServices.
func (s *site) versions(t *testing.T) map[string]string {
	t.Helper()
	var list v1alpha1.ProxyServiceList
	if err := s.Client().List(t.Context(), &list, client.InNamespace(s.ns)); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, p := range list.Items {
		all[p.Name] = p.ResourceVersion
	}
	return all
}

// While nothing changes nothing is written but the Leases, and no configuration is made.
func TestSilence(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	h := s.follow(t)
	var asked tap
	p := s.start(t, asked.option)
	s.web(t, "web", 2)
	s.apply(t, proxyService("good", backends(80, "{service: {name: web, port: 80}}")))
	s.apply(t, proxyService("bad", backends(81, "{service: {name: nobody, port: 80}}")))
	s.apply(t, proxyService("loser", "tls: true, "+backends(80, "{service: {name: web, port: 80}}")))
	s.awaitStatus(t, "good", "Programmed=True/Programmed", "Conflicted=False/Holds")
	s.await(t, "good", counted(2, 2))
	s.awaitStatus(t, "bad", "Programmed=True/Programmed")
	s.awaitStatus(t, "loser", "Programmed=False/NotAccepted")
	// Counts that lag behind are written a few seconds later.
	s.await(t, "loser", func(p *v1alpha1.ProxyService) error {
		if r := p.Status.Replicas; *r != (v1alpha1.ReplicaCounts{Programmed: 1, Total: 1}) {
			return fmt.Errorf("replicas %v", r)
		}
		return nil
	})
	s.awaitEvent(t, "loser", "Warning", "ListenerConflict", "")
	s.awaitEvent(t, "bad", "Warning", "BackendNotFound", "")
	s.awaitEvent(t, "good", "Normal", "Accepted", "")
	s.awaitRenewals(t, 1) // the replica's Lease tells of the last status, too

	before, told, wrote := s.versions(t), s.eventCount(t), asked.writes()
	configurations, endpoints := p.plane.applied.Load(), p.plane.endpoints.Load()
	s.awaitRenewals(t, 2)
	if after := s.versions(t); !reflect.DeepEqual(before, after) {
		t.Errorf("versions %v, before %v", after, before)
		for name := range after {
			if list := h.of(t, s.get(t, name)); after[name] != before[name] {
				t.Errorf("%s: %+v, before %+v", name, list[len(list)-1].Status, list[len(list)-2].Status)
			}
		}
	}
	if n := s.eventCount(t); n != told {
		t.Errorf("%d Events, before %d", n, told)
	}
	if n := asked.writes(); n != wrote {
		t.Errorf("the API server was asked for %d writes, which change nothing", n-wrote)
	}
	more := p.plane.applied.Load() - configurations
	if e := p.plane.endpoints.Load() - endpoints; more > fromOutside || e > more {
		t.Errorf("%d configurations, and %d times endpoints", more, e)
	}
}

// writes counts what the API server was asked to write, but for Leases. It need not have changed anything.
func (p *tap) writes() int {
	return p.count(func(c call) bool { return c.method != http.MethodGet && !strings.Contains(c.path, "/leases") })
}

func (s *site) eventCount(t *testing.T) int {
	t.Helper()
	var list eventsv1.EventList
	if err := s.Client().List(t.Context(), &list, client.InNamespace(s.ns)); err != nil {
		t.Fatal(err)
	}
	return len(list.Items)
}

// awaitRenewals waits until the replica has written its Lease so many times more: it does every five seconds.
func (s *site) awaitRenewals(t *testing.T, n int) {
	t.Helper()
	var last *metav1.MicroTime
	for range n + 1 {
		kube.Eventually(t, kube.Patience, func() error {
			var lease coordinationv1.Lease
			if err := s.Client().Get(t.Context(), client.ObjectKey{Namespace: s.ns, Name: "replica-a"}, &lease); err != nil {
				return err
			}
			if lease.Spec.RenewTime.Equal(last) {
				return fmt.Errorf("the Lease was renewed at %v last", last)
			}
			last = lease.Spec.RenewTime
			return nil
		})
	}
}
