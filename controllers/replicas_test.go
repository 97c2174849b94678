package controllers_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers"
	"github.com/pingora-proxy/pingora-proxy/controllers/replica"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/test/kube"
)

// A tap writes down what a replica asks of the API server.
type tap struct {
	mu    sync.Mutex
	calls []call
}

type call struct {
	method, path string
	code         int
}

func (p *tap) option(o *controllers.Options) {
	o.Config = rest.CopyConfig(o.Config)
	o.Config.Wrap(func(next http.RoundTripper) http.RoundTripper { return tapped{next, p} })
}

type tapped struct {
	next http.RoundTripper
	tap  *tap
}

func (t tapped) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := t.next.RoundTrip(r)
	c := call{method: r.Method, path: r.URL.Path}
	if err == nil {
		c.code = response.StatusCode
	}
	t.tap.mu.Lock()
	defer t.tap.mu.Unlock()
	t.tap.calls = append(t.tap.calls, c)
	return response, err
}

// count counts the calls that were answered and are of the kind.
func (p *tap) count(is func(call) bool) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, c := range p.calls {
		if c.code != 0 && is(c) {
			n++
		}
	}
	return n
}

// statuses counts the statuses that were written.
func (p *tap) statuses() int {
	return p.count(func(c call) bool {
		return c.method != http.MethodGet && strings.Contains(c.path, "/proxyservices/") && strings.HasSuffix(c.path, "/status")
	})
}

// awaitStands waits until a replica has stood for election twice more.
func (p *tap) awaitStands(t *testing.T, class string) {
	t.Helper()
	stands := func() int {
		return p.count(func(c call) bool { return strings.HasSuffix(c.path, "/leases/"+replica.ElectionName(class)) })
	}
	until := stands() + 2
	kube.Eventually(t, kube.Patience, func() error {
		if n := stands(); n < until {
			return fmt.Errorf("%d of %d tries to lead", n, until)
		}
		return nil
	})
}

// as names a replica and gives it an address of its own: two of one site cannot have the same.
func as(name string, host netip.Addr) func(*controllers.Options) {
	return func(o *controllers.Options) {
		o.Replica = name
		o.Plane.(*spy).host = host //nolint:forcetypeassert // the rig says so
	}
}

// shop is a ProxyService whose path /v<n> alone is served.
func shop(n int) string {
	return proxyService("shop", fmt.Sprintf(
		"bindAddress: '${host}:80', routes: [{name: v%d, matches: [{path: {value: /v%d}}], backends: [{service: {name: web, port: 80}}]}]", n, n))
}

func serves(host netip.Addr) string { return netip.AddrPortFrom(host, 80).String() }

// replicas waits until the status counts them so.
func replicas(programmed, total int32) func(*v1alpha1.ProxyService) error {
	return func(p *v1alpha1.ProxyService) error {
		want := v1alpha1.ReplicaCounts{Programmed: programmed, Total: total}
		if r := p.Status.Replicas; r == nil || *r != want || p.Status.ObservedGeneration != p.Generation {
			return fmt.Errorf("replicas %v of generation %d, want %v of %d", r, p.Status.ObservedGeneration, want, p.Generation)
		}
		return nil
	}
}

func (s *site) lease(ctx context.Context, name string) (*coordinationv1.Lease, error) {
	var l coordinationv1.Lease
	return &l, s.Client().Get(ctx, client.ObjectKey{Namespace: s.ns, Name: name}, &l)
}

// A held plane takes no configuration while its lock is held.
type held struct {
	*spy
	mu sync.Mutex
}

func (h *held) Apply(ctx context.Context, s *snapshot.Snapshot) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.spy.Apply(ctx, s)
}

// An object is programmed when each replica serves it, and not before.
func TestReplicasAcknowledge(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.web(t, "web", 1)
	s.apply(t, shop(1))
	s.start(t)
	s.awaitProgrammed(t, "shop") // the first one leads
	late, second := &held{}, s.Address(t)
	s.start(t, as("replica-b", second), func(o *controllers.Options) {
		late.spy, o.Plane = o.Plane.(*spy), late //nolint:forcetypeassert // the rig says so
	})
	s.await(t, "shop", replicas(2, 2))
	awaitAnswer(t, serves(second), "any/v1", "200 web-1")

	late.mu.Lock()
	release := sync.OnceFunc(late.mu.Unlock)
	t.Cleanup(release)
	s.apply(t, shop(2))
	pending := s.awaitStatus(t, "shop", "Accepted=True/Accepted", "Programmed=False/Pending")
	if m := message(pending, v1alpha1.ConditionProgrammed); !strings.HasPrefix(m, "1 of 2 replicas serve hash "+pending.Status.ConfigHash) {
		t.Errorf("the message is %q", m)
	}
	if err := replicas(1, 2)(pending); err != nil {
		t.Error(err)
	}
	if a, b := ask(s.at(80), "any/v2"), ask(serves(second), "any/v2"); a != "200 web-1" || b != "404 no_route" {
		t.Errorf("the replicas answer %q and %q", a, b)
	}
	release()
	s.awaitProgrammed(t, "shop")
	s.await(t, "shop", replicas(2, 2))
	if b := ask(serves(second), "any/v2"); b != "200 web-1" {
		t.Errorf("the second replica answers %q", b)
	}

	// What each serves stands on its own Lease, statuses that were written since included.
	for _, name := range []string{"replica-a", "replica-b"} {
		kube.Eventually(t, kube.Patience, func() error {
			newest, err := strconv.ParseUint(s.get(t, "shop").ResourceVersion, 10, 64)
			if err != nil {
				return err
			}
			l, err := s.lease(t.Context(), name)
			if err != nil {
				return err
			}
			said, err := strconv.ParseUint(l.Annotations["pingora-proxy.dev/resource-version"], 10, 64)
			if err != nil || said < newest {
				return fmt.Errorf("%s serves %v, the object has %d (%w)", name, l.Annotations, newest, err)
			}
			if l.Annotations["pingora-proxy.dev/ready"] != "true" || l.Labels["pingora-proxy.dev/replica-of"] != s.class ||
				l.Spec.LeaseDurationSeconds == nil || *l.Spec.LeaseDurationSeconds != 15 {
				return fmt.Errorf("Lease %s: %v %v %v", name, l.Annotations, l.Labels, l.Spec)
			}
			return nil
		})
	}
}

// One replica writes statuses: never two, never none for long, and serving does not depend on it.
func TestLeadership(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.web(t, "web", 1)
	s.apply(t, shop(1))
	taps := map[string]*tap{"replica-a": {}, "replica-b": {}}
	hosts := map[string]netip.Addr{"replica-a": s.host, "replica-b": s.Address(t)}
	all := map[string]*proxy{"replica-a": s.start(t, taps["replica-a"].option)}
	s.awaitProgrammed(t, "shop")
	all["replica-b"] = s.start(t, as("replica-b", hosts["replica-b"]), taps["replica-b"].option)
	s.await(t, "shop", replicas(2, 2))
	if n := taps["replica-b"].statuses(); n != 0 {
		t.Errorf("a replica that does not lead has written %d statuses", n)
	}

	// Somebody else takes the Lease. Nobody writes a status, and both replicas serve what is new.
	kube.Eventually(t, kube.Patience, func() error {
		l, err := s.lease(t.Context(), replica.ElectionName(s.class))
		if err != nil {
			return err
		}
		now := metav1.NowMicro()
		l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds, l.Spec.AcquireTime, l.Spec.RenewTime = new("intruder"), new(int32(3600)), &now, &now
		return s.Client().Update(t.Context(), l)
	})
	for name := range all {
		taps[name].awaitStands(t, s.class)
	}
	written := map[string]int{}
	for name, p := range taps {
		written[name] = p.statuses()
	}
	s.apply(t, shop(2))
	for name := range all {
		awaitAnswer(t, serves(hosts[name]), "any/v2", "200 web-1")
		taps[name].awaitStands(t, s.class)
		if n := taps[name].statuses() - written[name]; n != 0 || !all[name].plane.Ready() {
			t.Errorf("%s has written %d statuses without leading, and is ready: %v", name, n, all[name].plane.Ready())
		}
	}
	if g := s.get(t, "shop").Status.ObservedGeneration; g != 1 {
		t.Errorf("the status is about generation %d", g)
	}

	// The Lease is free: one of them leads, and writes what was missed.
	s.drop(t, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: replica.ElectionName(s.class)}})
	s.awaitProgrammed(t, "shop")
	leader, other := "replica-a", "replica-b"
	if l, err := s.lease(t.Context(), replica.ElectionName(s.class)); err != nil {
		t.Fatal(err)
	} else if strings.HasPrefix(*l.Spec.HolderIdentity, other) {
		leader, other = other, leader
	}
	if n := taps[other].statuses() - written[other]; n != 0 {
		t.Errorf("%s leads, and %s has written %d statuses", leader, other, n)
	}

	// The leader goes in good order. The other leads on, and does not count it any more.
	all[leader].stop()
	if _, err := s.lease(t.Context(), leader); !apierrors.IsNotFound(err) {
		t.Errorf("the Lease of the replica that was stopped: %v", err)
	}
	s.apply(t, shop(3))
	s.awaitProgrammed(t, "shop")
	s.await(t, "shop", replicas(1, 1))
	awaitAnswer(t, serves(hosts[other]), "any/v3", "200 web-1")
	if l, err := s.lease(t.Context(), replica.ElectionName(s.class)); err != nil || !strings.HasPrefix(*l.Spec.HolderIdentity, other) {
		t.Errorf("the leader is %v (%v)", l.Spec.HolderIdentity, err)
	}
}

// A replica that has crashed counts for as long as its Lease lasts. One that is not ready does not count at all.
func TestCrashedReplica(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.web(t, "web", 1)
	s.apply(t, shop(1))
	ghost := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.ns, Name: "ghost", Labels: map[string]string{replica.ClassLabel: s.class},
			Annotations: map[string]string{replica.VersionAnnotation: "1", replica.ReadyAnnotation: "false"},
		},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: new("ghost"), LeaseDurationSeconds: new(int32(3))},
	}
	renew := func() error {
		now := metav1.NewMicroTime(time.Now())
		ghost.Spec.RenewTime = &now
		return s.Client().Update(t.Context(), ghost)
	}
	if err := s.Client().Create(t.Context(), ghost); err != nil {
		t.Fatal(err)
	}
	s.start(t)
	kube.Eventually(t, kube.Patience, func() error { return errors.Join(renew(), replicas(1, 1)(s.get(t, "shop"))) })

	ghost.Annotations[replica.ReadyAnnotation] = "true"
	s.apply(t, shop(2))
	kube.Eventually(t, kube.Patience, func() error { return errors.Join(renew(), replicas(1, 2)(s.get(t, "shop"))) })
	if got := conditions(s.get(t, "shop")); !strings.Contains(strings.Join(got, " "), "Programmed=False/Pending") {
		t.Errorf("the conditions are %v", got)
	}
	// It is silent from now on.
	s.awaitProgrammed(t, "shop")
	s.await(t, "shop", replicas(1, 1))
	if _, err := s.lease(t.Context(), "ghost"); err != nil {
		t.Errorf("the Lease has to be the one of a Pod that Kubernetes removes: %v", err)
	}
}
