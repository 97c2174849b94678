package controllers_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"go.uber.org/goleak"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/pingora-proxy/pingora-proxy/api/defaults"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/realm"
	"github.com/pingora-proxy/pingora-proxy/dataplane"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
	"github.com/pingora-proxy/pingora-proxy/test/kube"
)

func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "8") // it exists; the tests wait most of the time, for what happens every five seconds
	ctrl.SetLogger(logr.Discard())     // the first one is kept for good, and no test lasts that long
	// A watch of metadata that is stopped while something is on its way keeps a goroutine: controller-runtime passes it
	// through a watch.Filter, which goes on sending to nobody.
	//
	// A cache of several namespaces that is stopped before it has synced keeps two: they wait for that to happen.
	os.Exit(kube.Main(m,
		goleak.IgnoreAnyFunction("k8s.io/apimachinery/pkg/watch.(*filteredWatch).loop"),
		goleak.IgnoreAnyFunction("sigs.k8s.io/controller-runtime/pkg/cache.newMultiNamespaceInformer.func1"),
		goleak.IgnoreAnyFunction("sigs.k8s.io/controller-runtime/pkg/cache.newMultiNamespaceInformerHandlerRegistration.func1"),
	))
}

// account is the user that the proxies of all tests are: it may do what config/rbac says, and nothing else.
var account = sync.OnceValues(makeAccount)

func makeAccount() (*kube.User, error) {
	plane, err := controlPlane()
	if err != nil {
		return nil, err
	}
	roles, err := os.ReadFile("../config/rbac/role.yaml")
	if err != nil {
		return nil, err
	}
	if _, err := plane.TryKubectl("kind: Namespace\napiVersion: v1\nmetadata: {name: pingora-proxy-system}\n"+string(roles), "apply", "-f", "-"); err != nil {
		return nil, err
	}
	if _, err := plane.TryKubectl("", "create", "clusterrolebinding", "proxy", "--clusterrole=proxy", "--serviceaccount=pingora-proxy-system:proxy"); err != nil {
		return nil, err
	}
	return plane.AddServiceAccount("pingora-proxy-system", "proxy")
}

func controlPlane() (*kube.ControlPlane, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	return kube.Start(kube.Options{CRDs: []string{"../config/crd/bases"}, Scheme: scheme})
}

// A site is a test's part of the shared control plane: a namespace, a class and an address of its own. So tests do not see
// each other, and run side by side.
type site struct {
	*kube.ControlPlane
	ns, class string
	host      netip.Addr // where its ProxyServices may listen, on any port
}

func newSite(t testing.TB) *site {
	t.Helper()
	plane, err := controlPlane()
	if err != nil {
		t.Fatal(err)
	}
	s := &site{ControlPlane: plane, ns: plane.Namespace(t), host: plane.Address(t)}
	s.class = s.ns
	return s
}

// at is the address of a port of the proxy.
func (s *site) at(port uint16) string { return netip.AddrPortFrom(s.host, port).String() }

// A spy is a real data plane that counts what it is told.
type spy struct {
	*dataplane.DataPlane
	// host, if it is set, replaces the host part of every listener's address: two replicas in one network namespace cannot
	// have the same.
	host netip.Addr

	applied, endpoints atomic.Int64
}

// fromOutside is how many configurations a test may see that it did not cause: another one lets the kind ReferenceGrant, which is
// everybody's, come and go.
const fromOutside = 2

// Apply is that of the data plane.
func (s *spy) Apply(ctx context.Context, snap *snapshot.Snapshot) error {
	s.applied.Add(1)
	if s.host.IsValid() {
		moved := *snap
		moved.Listeners = slices.Clone(snap.Listeners)
		for i, l := range moved.Listeners {
			l := *l
			l.Address = netip.AddrPortFrom(s.host, netip.MustParseAddrPort(l.Address).Port()).String()
			moved.Listeners[i] = &l
		}
		snap = &moved
	}
	return s.DataPlane.Apply(ctx, snap)
}

// SetEndpoints is that of the data plane.
func (s *spy) SetEndpoints(cluster string, endpoints []snapshot.Endpoint) error {
	s.endpoints.Add(1)
	return s.DataPlane.SetEndpoints(cluster, endpoints)
}

// A proxy is one replica: a Controller with a data plane, in this process.
type proxy struct {
	plane      *spy
	metrics    *telemetry.Metrics // the plane's
	said       func() string      // its log so far
	controller *controllers.Controller
	options    controllers.Options
	end        func()
}

// start starts a replica that serves the site's class, and watches its namespace alone. It ends with the test, if stop does
// not end it before. change may replace any of its options; Plane is a *spy.
func (s *site) start(t testing.TB, change ...func(*controllers.Options)) *proxy {
	t.Helper()
	user, err := account()
	if err != nil {
		t.Fatal(err)
	}
	log, told := quiet()
	p := &proxy{plane: &spy{}, metrics: telemetry.NewMetrics("test"), said: told}
	var controller atomic.Pointer[controllers.Controller]
	p.plane.DataPlane = dataplane.New(dataplane.Options{
		Log: log, Metrics: p.metrics,
		OnEjected: func(cluster string, endpoint netip.AddrPort) {
			if c := controller.Load(); c != nil {
				c.Ejected(cluster, endpoint)
			}
		},
	})
	o := controllers.Options{
		Config: user.Config, Log: log, Plane: p.plane, Class: s.class, Namespaces: []string{s.ns}, Namespace: s.ns, Replica: "replica-a",
		Policy: realm.Policy{ClusterDomain: "cluster.local"},
	}
	defaults.Globals(&o.Globals)
	off := v1alpha1.Off
	o.Globals.Admin.BindAddress, o.Globals.Metrics.BindAddress, o.Globals.AccessLog.Path = &off, &off, &off
	for _, f := range change {
		f(&o)
	}
	s.permit(t, o.Namespace)
	awaitRights(t, o.Config, o.Namespace)
	p.options = o
	p.controller, err = controllers.New(o)
	if err != nil {
		p.plane.Close()
		t.Fatal(err)
	}
	controller.Store(p.controller)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.controller.Run(ctx) }()
	p.end = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("replica %s: %v", o.Replica, err)
		}
		p.plane.Close()
	})
	t.Cleanup(func() {
		p.end()
		if t.Failed() {
			t.Logf("replica %s has said:\n%s", o.Replica, told())
		}
	})
	return p
}

// stop ends the replica in good order and waits for it.
func (p *proxy) stop() { p.end() }

// awaitReady waits until a replica takes traffic, whatever its configuration is.
func (s *site) awaitReady(t testing.TB, p *proxy) {
	t.Helper()
	kube.Eventually(t, kube.Patience, func() error {
		if !p.plane.Ready() {
			return fmt.Errorf("replica %s is not ready", p.options.Replica)
		}
		return nil
	})
}

// permit lets the proxies keep their Leases in a namespace.
func (s *site) permit(t testing.TB, namespace string) {
	t.Helper()
	var role rbacv1.Role
	if err := s.Client().Get(t.Context(), client.ObjectKey{Namespace: "pingora-proxy-system", Name: "proxy"}, &role); err != nil {
		t.Fatal(err)
	}
	meta := metav1.ObjectMeta{Namespace: namespace, Name: "proxy"}
	for _, object := range []client.Object{
		&rbacv1.Role{ObjectMeta: meta, Rules: role.Rules},
		&rbacv1.RoleBinding{
			ObjectMeta: meta,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "proxy"},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "pingora-proxy-system", Name: "proxy"}},
		},
	} {
		if err := s.Client().Create(t.Context(), object); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
}

// awaitRights waits until the API server, whose authorizer follows the roles with a delay, lets a user keep Leases.
func awaitRights(t testing.TB, config *rest.Config, namespace string) {
	t.Helper()
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	kube.Eventually(t, kube.Patience, func() error {
		review, err := clients.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: namespace, Verb: "patch", Group: "coordination.k8s.io", Resource: "leases",
			}},
		}, metav1.CreateOptions{})
		if err == nil && !review.Status.Allowed {
			err = errors.New("the rights are not in effect yet")
		}
		return err
	})
}

// quiet keeps what is logged for a test that fails.
func quiet() (log logr.Logger, told func() string) {
	var mu sync.Mutex
	var b strings.Builder
	log = funcr.New(func(prefix, args string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(&b, prefix, args)
	}, funcr.Options{LogTimestamp: true, TimestampFormat: "15:04:05.000"})
	return log, func() string {
		mu.Lock()
		defer mu.Unlock()
		return b.String()
	}
}

// apply applies the documents of a YAML text, as kubectl apply --server-side does. ${host} and ${ns} are the site's; an object
// without a namespace is of the site's, and a ProxyService without a class likewise.
func (s *site) apply(t testing.TB, text string) {
	t.Helper()
	if err := s.tryApply(t.Context(), text); err != nil {
		t.Fatal(err)
	}
}

// tryApply is apply for what may be refused.
func (s *site) tryApply(ctx context.Context, text string) error {
	text = strings.NewReplacer("${host}", s.host.String(), "${ns}", s.ns).Replace(text)
	for document := range strings.SplitSeq(text, "\n---\n") {
		u := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict([]byte(document), &u.Object); err != nil {
			return err
		}
		if u.GetNamespace() == "" {
			u.SetNamespace(s.ns)
		}
		if spec, ok := u.Object["spec"].(map[string]any); ok && u.GetKind() == "ProxyService" && spec["className"] == nil {
			spec["className"] = s.class
		}
		err := s.Client().Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner("test"), client.ForceOwnership)
		if err != nil {
			return fmt.Errorf("%s %s: %w", u.GetKind(), u.GetName(), err)
		}
	}
	return nil
}

// proxyService is the YAML of a ProxyService whose spec is given in flow style, without the braces.
func proxyService(name, spec string) string {
	return fmt.Sprintf("apiVersion: pingora-proxy.dev/v1alpha1\nkind: ProxyService\nmetadata: {name: %s}\nspec: {%s}\n", name, spec)
}

// remove deletes a ProxyService.
func (s *site) remove(t testing.TB, name string) {
	t.Helper()
	s.drop(t, &v1alpha1.ProxyService{ObjectMeta: metav1.ObjectMeta{Name: name}})
}

// drop deletes an object of the site.
func (s *site) drop(t testing.TB, object client.Object) {
	t.Helper()
	if object.GetNamespace() == "" {
		object.SetNamespace(s.ns)
	}
	if err := s.Client().Delete(t.Context(), object); err != nil {
		t.Fatal(err)
	}
}

// web makes a Service with port 80, named http, and as many pods as said, named after it: web-1, web-2 …
func (s *site) web(t testing.TB, name string, pods int) []*kube.Pod {
	t.Helper()
	s.Service(t, s.ns, name, map[string]string{"app": name}, kube.Port("http", 80, "http"))
	var all []*kube.Pod
	for i := range pods {
		all = append(all, s.pod(t, name, i+1, kube.PodOptions{}))
	}
	return all
}

// pod adds a pod to a Service that web made.
func (s *site) pod(t testing.TB, service string, number int, o kube.PodOptions) *kube.Pod {
	t.Helper()
	return s.Pod(t, s.ns, fmt.Sprintf("%s-%d", service, number), map[string]string{"app": service}, o)
}

// get reads a ProxyService.
func (s *site) get(t testing.TB, name string) *v1alpha1.ProxyService {
	t.Helper()
	var p v1alpha1.ProxyService
	if err := s.Client().Get(t.Context(), client.ObjectKey{Namespace: s.ns, Name: name}, &p); err != nil {
		t.Fatal(err)
	}
	return &p
}

// awaitStatus waits until the status of a ProxyService is about its generation and has these conditions, written
// Type=Status/Reason, or route:Type=Status/Reason for those of a route.
func (s *site) awaitStatus(t testing.TB, name string, want ...string) *v1alpha1.ProxyService {
	t.Helper()
	return s.await(t, name, func(p *v1alpha1.ProxyService) error {
		if p.Status.ObservedGeneration != p.Generation {
			return fmt.Errorf("the status is about generation %d, the spec is %d", p.Status.ObservedGeneration, p.Generation)
		}
		got := conditions(p)
		for _, c := range want {
			if !slices.Contains(got, c) {
				return fmt.Errorf("no %s among %v", c, got)
			}
		}
		return nil
	})
}

// awaitProgrammed waits until a ProxyService is served without any complaint.
func (s *site) awaitProgrammed(t testing.TB, name string) *v1alpha1.ProxyService {
	t.Helper()
	return s.awaitStatus(t, name, "Accepted=True/Accepted", "ResolvedRefs=True/ResolvedRefs", "Programmed=True/Programmed",
		"Conflicted=False/NoConflict")
}

// await waits until there is no complaint about a ProxyService.
func (s *site) await(t testing.TB, name string, complaint func(p *v1alpha1.ProxyService) error) *v1alpha1.ProxyService {
	t.Helper()
	var p v1alpha1.ProxyService
	kube.Eventually(t, kube.Patience, func() error {
		p = v1alpha1.ProxyService{}
		if err := s.Client().Get(t.Context(), client.ObjectKey{Namespace: s.ns, Name: name}, &p); err != nil {
			return err
		}
		if err := complaint(&p); err != nil {
			return fmt.Errorf("ProxyService %s: %w", name, err)
		}
		return nil
	})
	return &p
}

func conditions(p *v1alpha1.ProxyService) []string {
	var all []string
	add := func(prefix string, list []metav1.Condition) {
		for _, c := range list {
			all = append(all, fmt.Sprintf("%s%s=%s/%s", prefix, c.Type, c.Status, c.Reason))
		}
	}
	add("", p.Status.Conditions)
	for _, r := range p.Status.Routes {
		add(r.Name+":", r.Conditions)
	}
	return all
}

// message is that of a condition.
func message(p *v1alpha1.ProxyService, kind string) string {
	for _, c := range p.Status.Conditions {
		if c.Type == kind {
			return c.Message
		}
	}
	return ""
}

// ask sends a GET for host/path to an address, on a connection of its own, and says in a word or two what came back: "200
// web-1" for an answer of a pod, "503 no_healthy_upstream" for the proxy's own, or the error.
func ask(address, url string) string {
	host, path, _ := strings.Cut(url, "/")
	request, err := http.NewRequest(http.MethodGet, "http://"+address+"/"+path, http.NoBody) //nolint:noctx // the client has a time-out
	if err != nil {
		return err.Error()
	}
	request.Host = host
	return send(&http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{}).DialContext}, request)
}

func send(transport *http.Transport, request *http.Request) string {
	c := &http.Client{
		Transport: transport, Timeout: kube.Patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := c.Do(request)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err.Error()
	}
	who := response.Header.Get("X-Origin")
	if who == "" {
		var problem struct{ Reason string }
		if yaml.Unmarshal(body, &problem) == nil {
			who = problem.Reason
		}
	}
	return strings.TrimSpace(fmt.Sprint(response.StatusCode, " ", who))
}

// awaitAnswer asks until the answer is as wanted.
func awaitAnswer(t testing.TB, address, url, want string) {
	t.Helper()
	kube.Eventually(t, kube.Patience, func() error {
		if got := ask(address, url); !strings.Contains(got, want) {
			return fmt.Errorf("%s %s: %q, want %q", address, url, got, want)
		}
		return nil
	})
}

// answers asks n times and counts the answers.
func answers(address, url string, n int) map[string]int {
	all := map[string]int{}
	for range n {
		all[ask(address, url)]++
	}
	return all
}

// awaitAnswers asks in rounds until every answer of a round is one of those that are wanted, and each of them came.
func awaitAnswers(t testing.TB, address, url string, want ...string) {
	t.Helper()
	kube.Eventually(t, kube.Patience, func() error {
		got := answers(address, url, 4*len(want))
		for _, w := range want {
			if got[w] == 0 {
				return fmt.Errorf("%s %s: %v, want %v", address, url, got, want)
			}
		}
		if len(got) != len(want) {
			return fmt.Errorf("%s %s: %v, want %v", address, url, got, want)
		}
		return nil
	})
}

// secret is a Secret of the site.
func (s *site) secret(name string, data map[string][]byte) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: name}, Type: corev1.SecretTypeTLS, Data: data}
}
