package controllers_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers"
	"github.com/pingora-proxy/pingora-proxy/test/kube"
)

// backends is the spec of a ProxyService on a port with these backends.
func backends(port int, list ...string) string {
	return fmt.Sprintf("bindAddress: '${host}:%d', backends: [%s]", port, strings.Join(list, ", "))
}

func TestPorts(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.start(t)
	app := map[string]string{"app": "many"}
	s.Service(t, s.ns, "many", app, kube.Port("one", 80, "first"), kube.Port("two", 81, "9090"), kube.Port("three", 82, "first"))
	ports := []corev1.ContainerPort{{Name: "first", ContainerPort: 8081}, {Name: "second", ContainerPort: 9090}}
	pod := s.Pod(t, s.ns, "many-1", app, kube.PodOptions{Ports: ports})
	// Its port of the same name is another one.
	odd := s.Pod(t, s.ns, "many-2", app, kube.PodOptions{Ports: []corev1.ContainerPort{{Name: "first", ContainerPort: 7001}, {Name: "second", ContainerPort: 9090}}})
	s.ServiceWith(t, s.ns, "headless", corev1.ServiceSpec{
		Selector: app, ClusterIP: corev1.ClusterIPNone, Ports: []corev1.ServicePort{kube.Port("", 9090, "9090")},
	})
	// The number of a headless Service's port does not count: that of the container does.
	s.ServiceWith(t, s.ns, "headless-named", corev1.ServiceSpec{
		Selector: app, ClusterIP: corev1.ClusterIPNone, Ports: []corev1.ServicePort{kube.Port("web", 80, "second")},
	})
	for port, c := range map[int]struct {
		backend string
		first   int32
		second  int32
	}{
		80: {"{service: {name: many, port: one}}", 8081, 7001},
		81: {"{service: {name: many, port: 80}}", 8081, 7001},
		82: {"{service: {name: many, port: two}}", 9090, 9090},
		83: {"{service: {name: many, port: 81}}", 9090, 9090},
		84: {"{service: {name: many, port: three}}", 8081, 7001},
		85: {"{service: {name: headless, port: 9090}}", 9090, 9090},
		86: {"{service: {name: headless-named, port: web}}", 9090, 9090},
		87: {"{service: {name: headless-named, port: 80}}", 9090, 9090},
	} {
		name := fmt.Sprintf("shop-%d", port)
		s.apply(t, proxyService(name, backends(port, c.backend)))
		s.awaitProgrammed(t, name)
		awaitAnswers(t, s.at(uint16(port)), "a/port-of-"+name, "200 many-1", "200 many-2")
		for pod, number := range map[*kube.Pod]int32{pod: c.first, odd: c.second} {
			for _, r := range pod.Requests(t) {
				if r.Target == "/port-of-"+name && r.Address != pod.Addr(number) {
					t.Errorf("%s: %s was asked at %s, want port %d", c.backend, pod.Name, r.Address, number)
				}
			}
		}
	}
	// Two ports of one Service are two clusters; the same one by its name and its number is one.
	s.apply(t, proxyService("both", backends(88, "{service: {name: many, port: one}}", "{service: {name: many, port: two}}")))
	s.awaitProgrammed(t, "both")
	s.await(t, "both", counted(4, 4))
	s.apply(t, proxyService("same", backends(89, "{service: {name: many, port: one}}", "{service: {name: many, port: 80}}")))
	s.awaitProgrammed(t, "same")
	s.await(t, "same", counted(2, 2))
	odd.NotReady(t)
	kube.Eventually(t, kube.Patience, func() error {
		for _, c := range p.plane.Clusters() {
			if len(c.Endpoints) != 1 {
				return fmt.Errorf("cluster %s has %d endpoints, want 1", c.ID, len(c.Endpoints))
			}
		}
		return nil
	})
	awaitAnswers(t, s.at(88), "a/", "200 many-1")
}

// A Service without a selector has the EndpointSlices that somebody makes.
func TestServiceWithoutSelector(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.start(t)
	s.Service(t, s.ns, "own", nil, kube.Port("http", 80, "80"))
	first := s.Pod(t, s.ns, "first", nil, kube.PodOptions{Light: true})
	second := s.Pod(t, s.ns, "second", nil, kube.PodOptions{Light: true})
	s.apply(t, proxyService("shop", backends(80, "{service: {name: own, port: http}}")))
	s.awaitProgrammed(t, "shop")
	awaitAnswer(t, s.at(80), "a/", "503")

	yes, no, number, name := true, false, int32(8080), "http"
	slice := func(as string, pods ...*kube.Pod) *discoveryv1.EndpointSlice {
		out := &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: s.ns, Name: as, Labels: map[string]string{discoveryv1.LabelServiceName: "own"}},
			AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &number}},
		}
		for _, pod := range pods {
			out.Endpoints = append(out.Endpoints, discoveryv1.Endpoint{Addresses: []string{pod.Addresses[0].String()}})
		}
		return out
	}
	a, b := slice("a", first), slice("b", second, first) // one of them in both, as while it moves
	for _, o := range []*discoveryv1.EndpointSlice{a, b} {
		if err := s.Client().Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	p.awaitEndpoints(t, first, second)
	awaitAnswers(t, s.at(80), "a/", "200 first", "200 second")
	s.change(t, b, func() {
		b.Endpoints = b.Endpoints[:1]
		b.Endpoints[0].Conditions = discoveryv1.EndpointConditions{Ready: &no, Serving: &yes, Terminating: &yes}
	})
	p.awaitEndpoints(t, first)
	s.drop(t, a)
	p.awaitEndpoints(t, second)
	awaitAnswers(t, s.at(80), "a/", "200 second")
	// A slice that says which Service it belongs to no more belongs to none.
	s.change(t, b, func() { delete(b.Labels, discoveryv1.LabelServiceName) })
	awaitAnswer(t, s.at(80), "a/", "503")
}

// A pod of two address families is one endpoint.
func TestDualStack(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.start(t)
	both := corev1.IPFamilyPolicyRequireDualStack
	app := map[string]string{"app": "web"}
	pod := s.Pod(t, s.ns, "web-1", app, kube.PodOptions{DualStack: true})
	for port, families := range map[int][]corev1.IPFamily{80: {corev1.IPv4Protocol, corev1.IPv6Protocol}, 81: {corev1.IPv6Protocol, corev1.IPv4Protocol}} {
		name := fmt.Sprintf("web-%d", port)
		s.ServiceWith(t, s.ns, name, corev1.ServiceSpec{
			Selector: app, IPFamilyPolicy: &both, IPFamilies: families, Ports: []corev1.ServicePort{kube.Port("http", 80, "http")},
		})
		s.apply(t, proxyService(name, backends(port, "{service: {name: "+name+", port: 80}}")))
	}
	s.awaitProgrammed(t, "web-80")
	s.awaitProgrammed(t, "web-81")
	p.awaitAddresses(t, pod.Addr(8080), netip.AddrPortFrom(pod.Addresses[1], 8080).String())
	awaitAnswers(t, s.at(80), "a/", "200 web-1")
	awaitAnswers(t, s.at(81), "a/", "200 web-1")
	s.await(t, "web-80", counted(1, 1))
	s.await(t, "web-81", counted(1, 1))
	if got := pod.Requests(t); !strings.HasPrefix(got[0].Address, pod.Addresses[0].String()) || !strings.HasPrefix(got[len(got)-1].Address, "[") {
		t.Errorf("the addresses of the requests: %v", got)
	}
}

// An IPv6 listener, and a Service of IPv6 alone.
func TestIPv6(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start(t)
	app := map[string]string{"app": "web"}
	s.Pod(t, s.ns, "web-1", app, kube.PodOptions{DualStack: true})
	single := corev1.IPFamilyPolicySingleStack
	s.ServiceWith(t, s.ns, "web", corev1.ServiceSpec{
		Selector: app, IPFamilyPolicy: &single, IPFamilies: []corev1.IPFamily{corev1.IPv6Protocol}, Ports: []corev1.ServicePort{kube.Port("http", 80, "http")},
	})
	own := netip.AddrPortFrom(s.Address6(t), 80).String()
	s.apply(t, proxyService("shop", "bindAddress: '"+own+"', backends: [{service: {name: web, port: 80}}]"))
	s.awaitProgrammed(t, "shop")
	awaitAnswers(t, own, "a/", "200 web-1")
}

// The order in which an object and its Service come does not matter, nor that the Service goes for a while.
func TestServiceComesGoesAndComesBack(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start(t)
	s.apply(t, proxyService("shop", backends(80, "{service: {name: web, port: http}}")))
	s.awaitStatus(t, "shop", "Accepted=True/Accepted", "ResolvedRefs=False/BackendNotFound", "Programmed=True/Programmed")
	awaitAnswer(t, s.at(80), "a/", "503")
	for range 2 {
		s.Service(t, s.ns, "web", map[string]string{"app": "web"}, kube.Port("http", 80, "http"))
		pod := s.pod(t, "web", 1, kube.PodOptions{Light: true})
		s.awaitProgrammed(t, "shop")
		awaitAnswers(t, s.at(80), "a/", "200 web-1")

		// The port goes, and comes back under another number.
		service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "web"}}
		s.change(t, service, func() { service.Spec.Ports[0].Name = "web" })
		p := s.awaitStatus(t, "shop", "ResolvedRefs=False/BackendNotFound")
		if got := message(p, "ResolvedRefs"); !strings.Contains(got, "has no port http") {
			t.Error(got)
		}
		awaitAnswer(t, s.at(80), "a/", "503")
		s.change(t, service, func() { service.Spec.Ports[0].Name, service.Spec.Ports[0].Port = "http", 8888 })
		s.awaitProgrammed(t, "shop")
		awaitAnswers(t, s.at(80), "a/", "200 web-1")

		s.drop(t, service)
		s.awaitStatus(t, "shop", "ResolvedRefs=False/BackendNotFound")
		awaitAnswer(t, s.at(80), "a/", "503")
		pod.Terminate(t)
		pod.Delete(t)
	}
}

// A Service may become one of type ExternalName, and serves no more; where the installation allows those, it does.
func TestExternalName(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start(t)
	allowed := newSite(t)
	allowed.start(t, func(o *controllers.Options) { o.Policy.AllowExternalNames = true })
	for _, s := range []*site{s, allowed} {
		s.web(t, "web", 1)
		s.apply(t, proxyService("shop", backends(80, "{service: {name: web, port: 80}}")))
		s.awaitProgrammed(t, "shop")
		awaitAnswers(t, s.at(80), "a/", "200 web-1")
		service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "web"}}
		s.change(t, service, func() {
			service.Spec.Type, service.Spec.ExternalName, service.Spec.Selector = corev1.ServiceTypeExternalName, "web.invalid", nil
			service.Spec.ClusterIP, service.Spec.ClusterIPs = "", nil
		})
	}
	s.awaitStatus(t, "shop", "ResolvedRefs=False/RefNotPermitted")
	awaitAnswer(t, s.at(80), "a/", "503")
	p := allowed.await(t, "shop", func(p *v1alpha1.ProxyService) error {
		if p.Status.EndpointsSummary != "0/0" {
			return errors.New("endpoints " + p.Status.EndpointsSummary)
		}
		return nil
	})
	if got := conditions(p)[1]; got != "ResolvedRefs=True/ResolvedRefs" {
		t.Error(got)
	}
}

// Of several Services each gets its share, however many pods it has, and a backup serves when no other can.
func TestWeightsAndBackup(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start(t)
	s.web(t, "small", 1)
	big := s.web(t, "big", 3)
	s.web(t, "spare", 1)
	s.apply(t, proxyService("shop", backends(80,
		"{service: {name: small, port: 80}, weight: 3}", "{service: {name: big, port: 80}, weight: 1}", "{service: {name: spare, port: 80}, role: Backup}")))
	s.awaitProgrammed(t, "shop")
	awaitAnswers(t, s.at(80), "a/", "200 small-1", "200 big-1", "200 big-2", "200 big-3")
	got := answers(s.at(80), "a/", 40)
	if got["200 small-1"] != 30 || got["200 spare-1"] != 0 {
		t.Errorf("of 40 requests %v", got)
	}
	s.drop(t, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "small"}})
	for _, pod := range big {
		pod.NotReady(t)
	}
	awaitAnswers(t, s.at(80), "a/", "200 spare-1")
}

// However many ports objects bind, the proxy's own Service gets no more than the cluster can bear, the oldest first: each
// costs a node port of all, where it has the type LoadBalancer.
func TestPublishedPortsAreBounded(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.ServiceWith(t, s.ns, "pingora-proxy", corev1.ServiceSpec{Ports: []corev1.ServicePort{kube.Port("placeholder", 9, "9")}})
	const bound, objects = 128, 131
	name := func(i int) string { return fmt.Sprintf("p-%03d", i) }
	for i := range objects {
		s.apply(t, proxyService(name(i), fmt.Sprintf("bindAddress: '${host}:%d', upstreams: ['10.99.0.9:1'], healthCheck: {type: Disabled}", 1000+i)))
	}
	s.start(t, func(o *controllers.Options) { o.Publish = types.NamespacedName{Namespace: s.ns, Name: "pingora-proxy"} })
	kube.Eventually(t, kube.Patience, func() error {
		var service corev1.Service
		if err := s.Client().Get(t.Context(), client.ObjectKey{Namespace: s.ns, Name: "pingora-proxy"}, &service); err != nil {
			return err
		}
		if n := len(service.Spec.Ports); n != bound+1 || service.Spec.Ports[n-1].Port != 1000+bound-1 {
			return fmt.Errorf("%d ports, the last one is %v", n, service.Spec.Ports[n-1])
		}
		return nil
	})
	s.awaitProgrammed(t, name(objects-1))
	s.await(t, name(0), func(p *v1alpha1.ProxyService) error {
		if len(p.Status.Addresses) == 0 {
			return errors.New("no address")
		}
		return nil
	})
	if p := s.get(t, name(objects-1)); len(p.Status.Addresses) > 0 {
		t.Errorf("nobody reaches %v", p.Status.Addresses)
	}
}
