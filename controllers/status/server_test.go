package status

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
	"github.com/pingora-proxy/pingora-proxy/test/kube"
)

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard()) // of the caches, which complain of an API server that is gone
	os.Exit(kube.Main(m))
}

// A server is the API server, and a namespace of the test's own.
type server struct {
	*kube.ControlPlane
	ns      string
	scheme  *runtime.Scheme
	tries   atomic.Int32 // requests of the Writers
	writes  atomic.Int32 // those that succeeded
	changes changes
}

func newServer(t *testing.T) *server {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	plane, err := kube.Start(kube.Options{CRDs: []string{"../../config/crd/bases"}, Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	s := &server{ControlPlane: plane, ns: plane.Namespace(t), scheme: scheme}
	s.changes.follow(t, s)
	return s
}

// changes are the versions of the objects in a namespace, as a watch tells them.
type changes struct {
	mu       sync.Mutex
	modified map[string]int // by name
	latest   map[string]*v1alpha1.ProxyService
}

func (c *changes) follow(t *testing.T, s *server) {
	t.Helper()
	c.modified, c.latest = map[string]int{}, map[string]*v1alpha1.ProxyService{}
	direct, err := client.NewWithWatch(s.Config(), client.Options{Scheme: s.scheme})
	if err != nil {
		t.Fatal(err)
	}
	w, err := direct.Watch(context.Background(), &v1alpha1.ProxyServiceList{}, client.InNamespace(s.ns))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range w.ResultChan() {
			object, ok := e.Object.(*v1alpha1.ProxyService)
			if !ok {
				continue
			}
			c.mu.Lock()
			if e.Type == watch.Modified {
				c.modified[object.Name]++
			}
			c.latest[object.Name] = object
			c.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		w.Stop()
		<-done
	})
}

func (c *changes) of(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.modified[name]
}

// writer is one that runs to the end of the test, with a client that reads from a cache.
func (s *server) writer(t *testing.T, r events.EventRecorder) *Writer {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		group.Wait()
	})
	reader, err := cache.New(s.Config(), cache.Options{Scheme: s.scheme, DefaultNamespaces: map[string]cache.Config{s.ns: {}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reader.GetInformer(ctx, &v1alpha1.ProxyService{}, cache.BlockUntilSynced(false)); err != nil {
		t.Fatal(err)
	}
	group.Go(func() {
		if err := reader.Start(ctx); err != nil {
			t.Error(err)
		}
	})
	if !reader.WaitForCacheSync(ctx) {
		t.Fatal("the cache is not in step")
	}
	c, err := client.NewWithWatch(s.Config(), client.Options{Scheme: s.scheme, Cache: &client.CacheOptions{Reader: reader}})
	if err != nil {
		t.Fatal(err)
	}
	counting := interceptor.NewClient(c, interceptor.Funcs{SubResourcePatch: func(ctx context.Context, c client.Client, sub string,
		object client.Object, patch client.Patch, o ...client.SubResourcePatchOption,
	) error {
		s.tries.Add(1)
		err := c.SubResource(sub).Patch(ctx, object, patch, o...)
		if err == nil {
			s.writes.Add(1)
		}
		return err
	}})
	w := NewWriter(Options{Client: counting, Recorder: r, Log: testr.New(t)})
	group.Go(func() {
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	return w
}

// create makes an object with these routes and returns the facts about it.
func (s *server) create(t *testing.T, name string, routes ...string) Object {
	t.Helper()
	p := &v1alpha1.ProxyService{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: name},
		Spec:       v1alpha1.ProxyServiceSpec{BindAddress: "0.0.0.0:8080", Upstreams: []string{"192.0.2.1:80"}},
	}
	for _, r := range routes {
		path := "/" + r
		p.Spec.Routes = append(p.Spec.Routes, v1alpha1.Route{Name: r, Matches: []v1alpha1.Match{{Path: &v1alpha1.PathMatch{Value: &path}}}})
	}
	return s.createObject(t, p)
}

func (s *server) createObject(t *testing.T, p *v1alpha1.ProxyService) Object {
	t.Helper()
	if err := s.Client().Create(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	o := Object{
		Key: client.ObjectKeyFromObject(p), UID: p.UID, Generation: p.Generation, Version: 1, Hash: "9f3c", Listening: true,
		Healthy: 1, Total: 1,
	}
	for _, r := range p.Spec.Routes {
		o.Routes = append(o.Routes, r.Name)
	}
	return o
}

// await waits until the status of an object is as wanted.
func (s *server) await(t *testing.T, name string, good func(v1alpha1.ProxyServiceStatus) bool) *v1alpha1.ProxyService {
	t.Helper()
	var p v1alpha1.ProxyService
	kube.Eventually(t, kube.Patience, func() error {
		if err := s.Client().Get(t.Context(), types.NamespacedName{Namespace: s.ns, Name: name}, &p); err != nil {
			return err
		}
		if !good(p.Status) {
			return fmt.Errorf("status of %s: %+v", name, p.Status)
		}
		return nil
	})
	return &p
}

func hashed(hash string) func(v1alpha1.ProxyServiceStatus) bool {
	return func(s v1alpha1.ProxyServiceStatus) bool { return s.ConfigHash == hash }
}

func names(list []v1alpha1.RouteStatus) []string {
	var out []string
	for _, r := range list {
		out = append(out, r.Name)
	}
	return out
}

func TestOneWriteAChangeOnAServer(t *testing.T) {
	s := newServer(t)
	r := &recorder{}
	w := s.writer(t, r)
	o := s.create(t, "web", "api", "site", "old")
	w.Lead(true)
	w.Set([]Object{o}, replicas(1, 1))
	p := s.await(t, "web", hashed("9f3c"))
	want := Of(o, replicas(1, 1), v1alpha1.ProxyServiceStatus{}, p.Status.Conditions[0].LastTransitionTime)
	if diff := cmp.Diff(want, p.Status); diff != "" {
		t.Error(diff)
	}

	// Somebody else has a condition in it, which stays theirs while it changes.
	foreign := func(status metav1.ConditionStatus) {
		t.Helper()
		audited := metav1.Condition{Type: "acme.example/Audited", Status: status, Reason: "Done", LastTransitionTime: at(0)}
		p := s.await(t, "web", func(v1alpha1.ProxyServiceStatus) bool { return true })
		p.Status.Conditions = append(slices.DeleteFunc(p.Status.Conditions, func(c metav1.Condition) bool { return c.Type == audited.Type }), audited)
		if err := s.Client().Status().Update(t.Context(), p, client.FieldOwner("auditor")); err != nil {
			t.Fatal(err)
		}
	}
	foreign(metav1.ConditionTrue)

	o.Hash, o.Routes, o.Addresses = "b", []string{"site", "api"}, []string{"192.0.2.1:80"}
	o.Problems = []translate.Problem{{Route: "site", Field: "routes[0]", Reason: v1alpha1.ReasonBackendNotFound, Message: "gone"}}
	w.Set([]Object{o}, replicas(1, 1))
	s.await(t, "web", hashed("b"))
	foreign(metav1.ConditionFalse)
	o.Hash, o.Addresses = "c", nil
	w.Set([]Object{o}, replicas(1, 1))
	p = s.await(t, "web", hashed("c"))
	if diff := cmp.Diff(o.Routes, names(p.Status.Routes)); diff != "" {
		t.Errorf("routes: %s", diff)
	}
	if c := find(p.Status.Conditions, "acme.example/Audited"); c == nil || c.Status != metav1.ConditionFalse || len(p.Status.Conditions) != 5 {
		t.Errorf("conditions %+v", p.Status.Conditions)
	}
	if len(p.Status.Addresses) != 0 {
		t.Errorf("addresses %v", p.Status.Addresses)
	}

	// Three writes of ours and two of the other's.
	w.Set([]Object{o}, replicas(1, 1))
	kube.Eventually(t, kube.Patience, func() error { // the answer comes after what await sees
		if got := s.writes.Load(); got != 3 {
			return fmt.Errorf("%d writes, want 3", got)
		}
		return nil
	})
	kube.Eventually(t, kube.Patience, func() error {
		if got := s.changes.of("web"); got != 5 {
			return fmt.Errorf("%d changes, want 5", got)
		}
		return nil
	})
	if diff := cmp.Diff([]string{
		"web Normal Accepted: it can be served as it stands", "web Warning BackendNotFound: routes[0]: gone",
	}, r.take()); diff != "" {
		t.Error(diff)
	}

	// A leader that comes after finds nothing to do, and one whose facts differ writes once.
	w.Lead(false)
	next := s.writer(t, r)
	next.Lead(true)
	next.Set([]Object{o}, replicas(1, 1))
	probe := s.create(t, "probe")
	next.Set([]Object{o, probe}, replicas(1, 1))
	s.await(t, "probe", hashed("9f3c"))
	if got := s.changes.of("web"); got != 5 {
		t.Errorf("a new leader: %d changes, want 5", got)
	}
}

func TestAnObjectThatIsMadeAnewGetsNoOldStatus(t *testing.T) {
	s := newServer(t)
	w := s.writer(t, &recorder{})
	old := s.create(t, "web")
	was := s.await(t, "web", func(v1alpha1.ProxyServiceStatus) bool { return true })
	if err := s.Client().Delete(t.Context(), was.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	anew := s.create(t, "web")

	// Whatever a cache says, the API server knows better.
	status := Of(old, nil, v1alpha1.ProxyServiceStatus{}, at(0))
	if _, err := w.apply(t.Context(), was, status); !apierrors.IsConflict(err) {
		t.Errorf("a status for another object: %v", err)
	}
	was.Name = "gone"
	if _, err := w.apply(t.Context(), was, status); !apierrors.IsNotFound(err) {
		t.Errorf("a status for no object: %v", err)
	}
	gone := old
	gone.Key.Name = "gone"

	w.Lead(true)
	w.Set([]Object{old, gone}, replicas(1))
	anew.Hash = "anew"
	w.Set([]Object{anew}, replicas(1))
	s.await(t, "web", hashed("anew"))
	kube.Eventually(t, kube.Patience, func() error {
		if got := s.changes.of("web"); got != 1 {
			return fmt.Errorf("%d changes", got)
		}
		return nil
	})
}

func TestTwoVersionsDoNotFightOnAServer(t *testing.T) {
	s := newServer(t)
	o := s.create(t, "web")
	probe := s.create(t, "probe")
	told := func(m string) []Object {
		o := o
		o.Problems = []translate.Problem{{Reason: v1alpha1.ReasonInvalid, Message: m}}
		return []Object{o, probe}
	}
	w1, w2 := s.writer(t, &recorder{}), s.writer(t, &recorder{})
	w1.Lead(true)
	w2.Lead(true)
	for i := range 20 {
		probe.Hash = fmt.Sprint(i)
		w1.Set(told("in these words"), replicas(1))
		w2.Set(told("in other words"), replicas(1))
		s.await(t, "probe", hashed(probe.Hash)) // both see what the other wrote
	}
	s.await(t, "web", func(s v1alpha1.ProxyServiceStatus) bool { return len(s.Conditions) > 0 })
	kube.Eventually(t, kube.Patience, func() error {
		if got := s.changes.of("web"); got < 1 || got > 2 {
			return fmt.Errorf("%d writes", got)
		}
		return nil
	})
}

func TestAThousandStatusesAtOnce(t *testing.T) {
	s := newServer(t)
	const n = 1000
	objects := make([]Object, n)
	var group sync.WaitGroup
	for i := range 10 {
		group.Go(func() {
			for j := i; j < n; j += 10 {
				objects[j] = s.create(t, fmt.Sprintf("web-%d", j))
			}
		})
	}
	group.Wait()
	if t.Failed() {
		t.FailNow()
	}
	w := s.writer(t, &recorder{})
	w.Lead(true)
	began := time.Now()
	w.Set(objects, replicas(1, 1))
	kube.Eventually(t, kube.Patience, func() error {
		s.changes.mu.Lock()
		defer s.changes.mu.Unlock()
		for _, o := range objects {
			p := s.changes.latest[o.Key.Name]
			if p == nil || p.Status.ConfigHash != o.Hash {
				return fmt.Errorf("%s has no status", o.Key.Name)
			}
		}
		return nil
	})
	t.Logf("%d statuses in %v", n, time.Since(began))
	if got := s.tries.Load(); got != n {
		t.Errorf("%d requests", got)
	}
}

// All of a status may be more than an object can hold beside a large spec.
func TestAnObjectThatIsTooLargeForItsStatus(t *testing.T) {
	s := newServer(t)
	w := s.writer(t, &recorder{})
	p := &v1alpha1.ProxyService{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "large"},
		Spec:       v1alpha1.ProxyServiceSpec{BindAddress: "0.0.0.0:8080", Upstreams: []string{"192.0.2.1:80"}},
	}
	for i := range 150 {
		path := fmt.Sprintf("/%d", i)
		route := v1alpha1.Route{Name: fmt.Sprintf("route-%d-%s", i, strings.Repeat("x", 50))}
		route.Matches = []v1alpha1.Match{{Path: &v1alpha1.PathMatch{Value: &path}}}
		for j := range 16 {
			value := strings.Repeat("v", 560)
			route.Matches[0].Headers = append(route.Matches[0].Headers, v1alpha1.ValueMatch{Name: fmt.Sprintf("h%d", j), Value: &value})
		}
		p.Spec.Routes = append(p.Spec.Routes, route)
	}
	o := s.createObject(t, p)
	for _, r := range o.Routes {
		o.Problems = append(o.Problems, translate.Problem{Route: r, Reason: v1alpha1.ReasonInvalid, Message: strings.Repeat(r, 3)})
	}
	small := s.create(t, "small")
	w.Lead(true)
	w.Set([]Object{o, small}, replicas(1))
	s.await(t, "small", hashed("9f3c"))
	got := s.await(t, "large", hashed("9f3c")).Status
	if len(got.Routes) != 0 || !strings.HasPrefix(condition(got, "Accepted"), "Accepted=False Invalid ") {
		t.Errorf("%d routes, %s", len(got.Routes), condition(got, "Accepted"))
	}
	if n := s.tries.Load(); n != 3 {
		t.Errorf("%d requests, want 3: one was refused", n)
	}
}

func TestTheAPIServerGoesAndComesBack(t *testing.T) {
	s := newServer(t)
	w := s.writer(t, &recorder{})
	o := s.create(t, "web")
	w.Lead(true)
	w.Set([]Object{o}, replicas(1))
	s.await(t, "web", hashed("9f3c"))

	s.StopAPIServer(t)
	before := s.tries.Load()
	for i := range 100 {
		o.Hash = fmt.Sprint(i)
		w.Set([]Object{o}, replicas(1))
		kube.Eventually(t, kube.Patience, func() error { // it is tried in vain
			if s.tries.Load() == before {
				return errors.New("nothing was tried")
			}
			return nil
		})
	}
	s.StartAPIServer(t)
	s.await(t, "web", hashed("99"))
}

func TestEventsOnAServer(t *testing.T) {
	s := newServer(t)
	clients, err := kubernetes.NewForConfig(s.Config())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: clients.EventsV1()})
	defer broadcaster.Shutdown()
	if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		t.Fatal(err)
	}
	w := s.writer(t, broadcaster.NewRecorder(s.scheme, "pingora-proxy.dev/controller"))
	o := s.create(t, "web")
	w.Set([]Object{o}, replicas(1))
	w.Lead(true)
	w.Event(o.Key, o.UID, "Warning", "EndpointEjected", strings.Repeat("100 % ö", 1000))
	kube.Eventually(t, kube.Patience, func() error {
		var list eventsv1.EventList
		if err := s.Client().List(t.Context(), &list, client.InNamespace(s.ns)); err != nil {
			return err
		}
		var got []string
		for _, e := range list.Items {
			got = append(got, strings.Join([]string{e.Regarding.Kind, e.Regarding.Name, string(e.Regarding.UID), e.Type, e.Reason}, " "))
		}
		slices.Sort(got)
		about := "ProxyService web " + string(o.UID)
		if diff := cmp.Diff([]string{about + " Normal Accepted", about + " Warning EndpointEjected"}, got); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
}
