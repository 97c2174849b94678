package scale

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/test/kube"
)

func TestScale(t *testing.T) {
	program := binary(t)
	k, err := theCluster()
	if err != nil {
		t.Fatal(err)
	}
	f := populate(t, k.ControlPlane, wanted())
	r := &result{size: f.size, how: f.how, began: time.Now(), load: load(t)}
	s := f.watch(t, k.scheme)
	writes := k.writes
	_, position := writes.since(t, 0)

	c := startController(t, program, k.user.Kubeconfig, f.spaces[0])
	r.ready = c.awaitReady(t)
	s.await(t, "all are Programmed", func() bool { return s.programmed == f.services })
	r.programmed = time.Since(c.began)
	r.startCPU = c.cpu(t)
	_, r.startPeak = c.memory(t)
	r.startWrites, _ = writes.since(t, position)

	requests := &http.Transport{}
	defer requests.CloseIdleConnections()
	r.endpoints, r.endpointsAfter = f.measureEndpoints(t, requests)
	r.changes, r.changesAfter = f.measureChanges(t, requests)
	r.perChange = f.countWrites(t, s, writes)
	r.resident, r.peak = c.memory(t)
	r.cpu, r.took = c.cpu(t), time.Since(c.began)
	t.Log("\n" + r.markdown(t))
	if full() {
		r.save(t)
	}
}

// states follows the status of all ProxyServices. It belongs to one goroutine.
type states struct {
	events     <-chan watch.Event
	spaces     []string // of the fleet
	objects    map[client.ObjectKey]state
	programmed int // objects that are, in their newest generation
}

type state struct {
	programmed int64 // the generation that is; 0: none
	version    string
}

func (f *fleet) watch(t *testing.T, scheme *runtime.Scheme) *states {
	t.Helper()
	watcher, err := client.NewWithWatch(f.Config(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	w, err := watcher.Watch(t.Context(), &v1alpha1.ProxyServiceList{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	return &states{events: w.ResultChan(), spaces: f.spaces, objects: map[client.ObjectKey]state{}}
}

// await takes events until the condition holds.
func (s *states) await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for !condition() {
		select {
		case e, ok := <-s.events:
			p, is := e.Object.(*v1alpha1.ProxyService)
			if !ok || !is {
				t.Fatalf("the watch has ended: %v", e)
			}
			if slices.Contains(s.spaces, p.Namespace) {
				s.see(p)
			}
		case <-late.C:
			t.Fatalf("not in %v: %s; %d of %d objects are Programmed", patience, what, s.programmed, len(s.objects))
		}
	}
}

func (s *states) see(p *v1alpha1.ProxyService) {
	key := client.ObjectKeyFromObject(p)
	if s.objects[key].programmed != 0 {
		s.programmed--
	}
	next := state{version: p.ResourceVersion}
	c := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionProgrammed)
	if c != nil && c.Status == "True" && c.ObservedGeneration == p.Generation && p.Status.ObservedGeneration == p.Generation {
		next.programmed = p.Generation
		s.programmed++
	}
	s.objects[key] = next
}

// measureEndpoints moves the one endpoint of the probe from pod to pod, and measures from the moment when the change is
// sent to the API server until a request arrives at the other pod; after leaves out the time in which the API server took it.
func (f *fleet) measureEndpoints(t *testing.T, requests *http.Transport) (served, after []time.Duration) {
	t.Helper()
	i := f.services - 1
	ask := func() string { return f.ask(t, requests, i, "/").Header.Get("X-Origin") }
	kube.Eventually(t, kube.Patience, func() error {
		if got := ask(); got != f.probe.pods[0].Name {
			return fmt.Errorf("the probe answers as %q", got)
		}
		return nil
	})
	for n := range f.endpoints {
		pod := f.probe.pods[(n+1)%2]
		f.probe.slice.Endpoints[0].Addresses[0] = pod.Addresses[0].String()
		s, a := measure(t, func() error { return f.Client().Update(t.Context(), f.probe.slice) }, func() bool { return ask() == pod.Name })
		served, after = append(served, s), append(after, a)
	}
	return served, after
}

// measureChanges changes ProxyServices, one at a time, and measures from the moment when the change is sent to the API
// server until an answer is of the new configuration.
func (f *fleet) measureChanges(t *testing.T, requests *http.Transport) (served, after []time.Duration) {
	t.Helper()
	for n := range f.changes {
		i, path := rand.IntN(f.services), fmt.Sprintf("/new-%d", n)
		s, a := measure(t, func() error { return f.change(t.Context(), i, path) },
			func() bool { return strings.HasSuffix(f.ask(t, requests, i, "/moved").Header.Get("Location"), path) })
		served, after = append(served, s), append(after, a)
	}
	return served, after
}

// change makes a ProxyService redirect to another path.
func (f *fleet) change(ctx context.Context, i int, path string) error {
	p := &v1alpha1.ProxyService{}
	p.Namespace, p.Name = f.key(i).Namespace, f.key(i).Name
	patch := fmt.Sprintf(`[{"op": "replace", "path": "/spec/routes/0/filters/0/redirect/path", "value": %q}]`, path)
	return f.Client().Patch(ctx, p, client.RawPatch(types.JSONPatchType, []byte(patch)))
}

// measure does something and asks until its effect is there. The second time is the part of it after doing.
func measure(t *testing.T, do func() error, there func() bool) (total, after time.Duration) {
	t.Helper()
	began := time.Now()
	if err := do(); err != nil {
		t.Fatal(err)
	}
	done := time.Now()
	for !there() {
		if time.Since(began) > kube.Patience {
			t.Fatalf("a change has no effect in %v", kube.Patience)
		}
		time.Sleep(time.Millisecond) // between two looks: a proxy that is asked without end has no time for anything else
	}
	return time.Since(began), time.Since(done)
}

// ask sends a request through the proxy.
func (f *fleet) ask(t *testing.T, requests *http.Transport, i int, path string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", port(i), path), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = host(i)
	response, err := requests.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return response
}

// perChange is what the controller writes for each change of one object.
type perChange struct {
	changed float64            // statuses of the object that was changed
	others  float64            // statuses of other objects
	rest    map[string]float64 // everything else, by resource
}

// countWrites changes ProxyServices, each when the one before is Programmed, and counts what is written meanwhile and in the
// quiet after it.
func (f *fleet) countWrites(t *testing.T, s *states, writes audit) perChange {
	t.Helper()
	position := f.settled(t, writes, 0)
	changed := map[client.ObjectKey]bool{}
	for n, i := range rand.Perm(f.services)[:f.writes] {
		key := f.key(i)
		changed[key] = true
		before := s.objects[key].version
		if err := f.change(t.Context(), i, fmt.Sprintf("/counted-%d", n)); err != nil {
			t.Fatal(err)
		}
		s.await(t, key.String()+" is Programmed", func() bool { return s.objects[key].version != before && s.objects[key].programmed > 0 })
	}
	f.settled(t, writes, position)
	all, _ := writes.since(t, position)
	total := perChange{rest: map[string]float64{}}
	one := 1 / float64(f.writes)
	for _, w := range all {
		switch {
		case w.what() != "proxyservices/status":
			total.rest[w.what()] += one
		case changed[w.key()]:
			total.changed += one
		default:
			total.others += one
		}
	}
	return total
}

// settled waits until the controller has written nothing but Leases for a while, and returns the position in the log.
func (f *fleet) settled(t *testing.T, writes audit, position int) int {
	t.Helper()
	since := time.Now()
	kube.Eventually(t, patience, func() error {
		all, next := writes.since(t, position)
		position = next
		if slices.ContainsFunc(all, func(w write) bool { return w.what() != "leases" }) {
			since = time.Now()
		}
		if left := f.quiet - time.Since(since); left > 0 {
			time.Sleep(left / 4)
			return errors.New("the controller writes")
		}
		return nil
	})
	return position
}
