package publish_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/pingora-proxy/pingora-proxy/controllers/publish"
	"github.com/pingora-proxy/pingora-proxy/test/kube"
)

func TestMain(m *testing.M) { os.Exit(kube.Main(m)) }

// A bench is one Service of a test's own, with a Publisher and somebody else who works on it.
type bench struct {
	*publish.Publisher
	t      *testing.T
	client corev1client.ServiceInterface
	writes atomic.Int32 // of the Publisher
}

// newBench lets a chart make the Service with a placeholder port, unless it is told not to.
func newBench(t *testing.T, kind corev1.ServiceType, ports ...*corev1ac.ServicePortApplyConfiguration) *bench {
	t.Helper()
	plane, err := kube.Start(kube.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ns := plane.Namespace(t)
	b := &bench{t: t, client: client(t, plane.Config()).Services(ns)}
	config := plane.Config()
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method != http.MethodGet {
				b.writes.Add(1)
			}
			return next.RoundTrip(r)
		})
	})
	b.Publisher = &publish.Publisher{Client: client(t, config), Service: types.NamespacedName{Namespace: ns, Name: "proxy"}}
	if len(ports) > 0 {
		b.chart(kind, ports...)
	}
	return b
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func client(t *testing.T, config *rest.Config) corev1client.CoreV1Interface {
	t.Helper()
	set, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return set.CoreV1()
}

func port(name string, number, target int32) *corev1ac.ServicePortApplyConfiguration {
	return corev1ac.ServicePort().WithName(name).WithPort(number).WithProtocol(corev1.ProtocolTCP).WithTargetPort(intstr.FromInt32(target))
}

// chart applies the Service as Helm does.
func (b *bench) chart(kind corev1.ServiceType, ports ...*corev1ac.ServicePortApplyConfiguration) {
	b.t.Helper()
	spec := corev1ac.ServiceSpec().WithType(kind).WithSelector(map[string]string{"app": "proxy"}).WithPorts(ports...)
	service := corev1ac.Service(b.Service.Name, b.Service.Namespace).WithLabels(map[string]string{"chart": "proxy"}).WithSpec(spec)
	if _, err := b.client.Apply(b.t.Context(), service, metav1.ApplyOptions{FieldManager: "helm", Force: true}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) publish(ports ...uint16) {
	b.t.Helper()
	if err := b.Publish(b.t.Context(), ports); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) live() *corev1.Service {
	b.t.Helper()
	s, err := b.client.Get(b.t.Context(), b.Service.Name, metav1.GetOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// want compares the Service's ports, "name port/protocol->target" each.
func (b *bench) want(ports ...string) {
	b.t.Helper()
	var got []string
	for _, p := range b.live().Spec.Ports {
		got = append(got, fmt.Sprintf("%s %d/%s->%s", p.Name, p.Port, p.Protocol, p.TargetPort.String()))
	}
	slices.Sort(got)
	slices.Sort(ports)
	if diff := cmp.Diff(ports, got); diff != "" {
		b.t.Errorf("ports (-want +got):\n%s", diff)
	}
}

func (b *bench) wantWrites(n int32) {
	b.t.Helper()
	if got := b.writes.Swap(0); got != n {
		b.t.Errorf("%d writes, want %d", got, n)
	}
}

func (b *bench) nodePort(number int32) int32 {
	b.t.Helper()
	for _, p := range b.live().Spec.Ports {
		if p.Port == number {
			return p.NodePort
		}
	}
	b.t.Fatalf("no port %d", number)
	return 0
}

func (b *bench) patch(kind types.PatchType, patch string) {
	b.t.Helper()
	_, err := b.client.Patch(b.t.Context(), b.Service.Name, kind, []byte(patch), metav1.PatchOptions{FieldManager: "somebody"})
	if err != nil {
		b.t.Fatal(err)
	}
}

func TestPortsFollowAndTheRestStays(t *testing.T) {
	b := newBench(t, corev1.ServiceTypeClusterIP, port("placeholder", 9, 9))
	before := b.live()
	b.publish(8080, 80, 8080, 0)
	b.want("placeholder 9/TCP->9", "p-80 80/TCP->80", "p-8080 8080/TCP->8080")
	b.wantWrites(1)
	b.publish(80, 8080)
	b.wantWrites(0)
	b.publish(80, 443)
	b.want("placeholder 9/TCP->9", "p-80 80/TCP->80", "p-443 443/TCP->443")
	b.publish()
	b.want("placeholder 9/TCP->9")
	b.wantWrites(2)
	b.publish()
	b.wantWrites(0)

	after := b.live()
	for _, s := range []*corev1.Service{before, after} {
		s.ManagedFields, s.ResourceVersion = nil, ""
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the Service is not what it was (-before +after):\n%s", diff)
	}
}

func TestAnUpgradeOfTheChartKeepsThePorts(t *testing.T) {
	b := newBench(t, corev1.ServiceTypeClusterIP, port("placeholder", 9, 9))
	b.publish(80)
	b.chart(corev1.ServiceTypeClusterIP, port("renamed", 10, 10))
	b.want("renamed 10/TCP->10", "p-80 80/TCP->80")
	b.publish(80)
	b.wantWrites(1)
}

func TestNodePortsSurvive(t *testing.T) {
	for _, kind := range []corev1.ServiceType{corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer} {
		t.Run(string(kind), func(t *testing.T) {
			b := newBench(t, kind, port("placeholder", 9, 9))
			b.publish(80, 443)
			http, https := b.nodePort(80), b.nodePort(443)
			if http == 0 || https == 0 {
				t.Fatal("the API server assigned no node ports")
			}
			b.publish(80, 443, 8080)
			b.publish(443, 8080)
			if got := b.nodePort(443); got != https {
				t.Errorf("the node port of 443 was %d and is %d", https, got)
			}

			// One that somebody chose stays as well: here that of 80, which is free again.
			b.patch(types.StrategicMergePatchType, fmt.Sprintf(`{"spec":{"ports":[{"port":443,"protocol":"TCP","nodePort":%d}]}}`, http))
			b.publish(443, 8443)
			if got := b.nodePort(443); got != http {
				t.Errorf("the node port of 443 was set to %d and is %d", http, got)
			}
			b.want("placeholder 9/TCP->9", "p-443 443/TCP->443", "p-8443 8443/TCP->8443")
		})
	}
}

func TestAPortOfSomebodyElseIsLeftToThem(t *testing.T) {
	b := newBench(t, corev1.ServiceTypeClusterIP, port("web", 80, 8000), port("dns", 443, 443).WithProtocol(corev1.ProtocolUDP))
	b.publish(80, 443)
	b.want("web 80/TCP->8000", "dns 443/UDP->443", "p-443 443/TCP->443")
	b.wantWrites(1)
	b.publish(80)
	b.want("web 80/TCP->8000", "dns 443/UDP->443")
	b.publish(80)
	b.wantWrites(1)
}

func TestAPortThatSomebodyTakesOverIsGivenUp(t *testing.T) {
	b := newBench(t, corev1.ServiceTypeClusterIP, port("placeholder", 9, 9))
	b.publish(80, 81)
	b.chart(corev1.ServiceTypeClusterIP, port("web", 80, 8000))
	b.publish(80, 81)
	b.want("web 80/TCP->8000", "p-81 81/TCP->81")
	b.wantWrites(2)
	b.publish(80, 81)
	b.wantWrites(0)
	b.chart(corev1.ServiceTypeClusterIP, port("placeholder", 9, 9))
	b.want("placeholder 9/TCP->9", "p-81 81/TCP->81")
	b.publish(80, 81)
	b.want("placeholder 9/TCP->9", "p-80 80/TCP->80", "p-81 81/TCP->81")
}

func TestWhatSomebodyChangesInOursIsChangedBack(t *testing.T) {
	b := newBench(t, corev1.ServiceTypeClusterIP, port("placeholder", 9, 9))
	b.publish(80, 81)
	b.patch(types.StrategicMergePatchType, `{"spec":{"ports":[{"port":80,"protocol":"TCP","name":"mine","targetPort":1}]}}`)
	b.want("placeholder 9/TCP->9", "mine 80/TCP->1", "p-81 81/TCP->81")
	b.publish(80, 81)
	b.want("placeholder 9/TCP->9", "p-80 80/TCP->80", "p-81 81/TCP->81")

	b.patch(types.JSONPatchType, `[{"op":"replace","path":"/spec/ports","value":[{"name":"placeholder","port":9}]}]`)
	b.publish(80, 81)
	b.want("placeholder 9/TCP->9", "p-80 80/TCP->80", "p-81 81/TCP->81")
}

func TestTheLastPortStaysWhereTheServiceHasNoOther(t *testing.T) {
	b := newBench(t, corev1.ServiceTypeClusterIP, port("placeholder", 9, 9))
	b.publish(80, 81)
	b.patch(types.StrategicMergePatchType, `{"spec":{"ports":[{"port":9,"$patch":"delete"}]}}`)
	b.want("p-80 80/TCP->80", "p-81 81/TCP->81")
	b.publish()
	b.want("p-80 80/TCP->80")
	b.wantWrites(2)
	b.publish()
	b.wantWrites(0)
	b.publish(8080)
	b.want("p-8080 8080/TCP->8080")
}

func TestErrorsSayWhatToDo(t *testing.T) {
	b := newBench(t, "")
	err := b.Publish(t.Context(), []uint16{80})
	if !apierrors.IsNotFound(err) {
		t.Errorf("%v, want one that says not found", err)
	}
	wantWords(t, err, b.Service.String(), "no such Service", "--publish-service")
	b.wantWrites(0)

	b.chart(corev1.ServiceTypeClusterIP, port("p-8080", 80, 80))
	err = b.Publish(t.Context(), []uint16{8080, 8081})
	wantWords(t, err, "port 8080", "rename")
	b.want("p-8080 80/TCP->80", "p-8081 8081/TCP->8081") // the others are published

	b = newBench(t, corev1.ServiceTypeClusterIP, corev1ac.ServicePort().WithPort(9).WithProtocol(corev1.ProtocolTCP))
	err = b.Publish(t.Context(), []uint16{80})
	wantWords(t, err, "port 9", "no name")
	b.publish()

	b = newBench(t, "")
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: b.Service.Name}}
	service.Spec.Type, service.Spec.ExternalName = corev1.ServiceTypeExternalName, "example.com"
	if _, err := b.client.Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	wantWords(t, b.Publish(t.Context(), []uint16{80}), "ExternalName", "ClusterIP")
}

func wantWords(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error; want one with %q", words)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%v; want %q in it", err, w)
		}
	}
}

// TestAWriteBetweenReadingAndWriting lets the chart list a port just before the Publisher writes the same one.
func TestAWriteBetweenReadingAndWriting(t *testing.T) {
	b := newBench(t, corev1.ServiceTypeClusterIP, port("placeholder", 9, 9))
	b.Client = racing{b.Client, func() { b.chart(corev1.ServiceTypeClusterIP, port("web", 80, 8000)) }}
	b.publish(80, 81)
	b.want("web 80/TCP->8000", "p-81 81/TCP->81")

	b = newBench(t, corev1.ServiceTypeClusterIP, port("placeholder", 9, 9))
	b.Client = racing{b.Client, func() { _ = b.client.Delete(t.Context(), b.Service.Name, metav1.DeleteOptions{}) }}
	wantWords(t, b.Publish(t.Context(), []uint16{80}), "no such Service")
}

// racing does something between each read and the write that follows.
type racing struct {
	corev1client.ServicesGetter
	between func()
}

func (r racing) Services(ns string) corev1client.ServiceInterface {
	return racingServices{r.ServicesGetter.Services(ns), r.between}
}

type racingServices struct {
	corev1client.ServiceInterface
	between func()
}

func (r racingServices) Apply(ctx context.Context, s *corev1ac.ServiceApplyConfiguration, o metav1.ApplyOptions) (*corev1.Service, error) {
	r.between()
	return r.ServiceInterface.Apply(ctx, s, o)
}

func TestAddresses(t *testing.T) {
	b := newBench(t, "")
	if _, err := b.Addresses(t.Context()); !apierrors.IsNotFound(err) {
		t.Errorf("%v, want one that says not found", err)
	}
	b.chart(corev1.ServiceTypeLoadBalancer, port("placeholder", 9, 9))
	want := func(want ...string) {
		t.Helper()
		got, err := b.Addresses(t.Context())
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("addresses %q, %v; want %q", got, err, want)
		}
	}
	s := b.live()
	want(s.Spec.ClusterIPs...)

	s.Spec.ExternalIPs = []string{"192.0.2.1", "2001:db8::1"}
	s, err := b.client.Update(t.Context(), s, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want("192.0.2.1", "2001:db8::1")

	s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "198.51.100.7"}, {Hostname: "lb.example.com"}}
	if _, err := b.client.UpdateStatus(t.Context(), s, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	want("198.51.100.7", "lb.example.com")

	headless := &corev1.Service{Spec: corev1.ServiceSpec{ClusterIPs: []string{corev1.ClusterIPNone}}}
	if got := publish.Addresses(headless); len(got) > 0 {
		t.Errorf("a headless Service has the addresses %q", got)
	}
}
