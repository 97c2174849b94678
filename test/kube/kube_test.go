package kube_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/kube"
)

func TestMain(m *testing.M) { os.Exit(kube.Main(m)) }

func start(t *testing.T) *kube.ControlPlane {
	t.Helper()
	plane, err := kube.Start(kube.Options{CRDs: []string{"testdata"}})
	if err != nil {
		t.Fatal(err)
	}
	return plane
}

// ask sends a request on a connection of its own and returns who has answered.
func ask(address, id string) (string, error) {
	transport := &http.Transport{DisableKeepAlives: true}
	request, err := http.NewRequest(http.MethodGet, "http://"+address+"/path", http.NoBody) //nolint:noctx // the client has a time-out
	if err != nil {
		return "", err
	}
	request.Header.Set(harness.LoadID, id)
	response, err := (&http.Client{Transport: transport, Timeout: kube.Patience}).Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.Header.Get("X-Origin"), err
}

func mustAnswer(t *testing.T, address, name string) {
	t.Helper()
	if got, err := ask(address, ""); err != nil || got != name {
		t.Fatalf("%s: %q answers (%v), want %q", address, got, err, name)
	}
}

// awaitEndpoints waits until a Service has these endpoints: "address", with -ready, +serving and so on where a
// condition is not that of an endpoint which simply is ready.
func awaitEndpoints(t *testing.T, plane *kube.ControlPlane, ns, service string, want ...string) {
	t.Helper()
	kube.Eventually(t, kube.Patience, func() error {
		endpoints, err := plane.Endpoints(t.Context(), ns, service)
		if err != nil {
			return err
		}
		got := make([]string, 0, len(endpoints))
		for _, e := range endpoints {
			got = append(got, describe(e))
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			return fmt.Errorf("endpoints %v, want %v", got, want)
		}
		return nil
	})
}

func describe(e discoveryv1.Endpoint) string {
	text := strings.Join(e.Addresses, ",")
	for _, c := range []struct {
		name  string
		is    *bool
		plain bool
	}{{"ready", e.Conditions.Ready, true}, {"serving", e.Conditions.Serving, true}, {"terminating", e.Conditions.Terminating, false}} {
		switch {
		case c.is == nil:
			text += "?" + c.name
		case *c.is && !c.plain:
			text += "+" + c.name
		case !*c.is && c.plain:
			text += "-" + c.name
		}
	}
	return text
}

func TestEndpointSlicesFollowAPod(t *testing.T) {
	t.Parallel()
	plane := start(t)
	for _, light := range []bool{false, true} {
		t.Run(fmt.Sprintf("light=%v", light), func(t *testing.T) {
			t.Parallel()
			ns := plane.Namespace(t)
			plane.Service(t, ns, "web", map[string]string{"app": "web"}, kube.Port("", 80, "http"))
			pod := plane.Pod(t, ns, "web-1", map[string]string{"app": "web"}, kube.PodOptions{Light: light, NotReady: true})
			ip := pod.Addresses[0].String()
			awaitEndpoints(t, plane, ns, "web", ip+"-ready-serving")
			pod.Ready(t)
			awaitEndpoints(t, plane, ns, "web", ip)
			mustAnswer(t, pod.Addr(8080), "web-1")
			pod.NotReady(t)
			awaitEndpoints(t, plane, ns, "web", ip+"-ready-serving")
			pod.Ready(t)
			pod.Terminate(t)
			awaitEndpoints(t, plane, ns, "web", ip+"-ready+terminating")
			mustAnswer(t, pod.Addr(8080), "web-1")
			pod.NotReady(t)
			awaitEndpoints(t, plane, ns, "web", ip+"-ready-serving+terminating")
			pod.Delete(t)
			awaitEndpoints(t, plane, ns, "web")
			if _, err := ask(pod.Addr(8080), ""); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("a pod that was deleted: %v", err)
			}
		})
	}
}

func TestPodCrashesAndComesBack(t *testing.T) {
	t.Parallel()
	plane := start(t)
	ns := plane.Namespace(t)
	for _, light := range []bool{false, true} {
		pod := plane.Pod(t, ns, fmt.Sprintf("pod-%v", light), nil, kube.PodOptions{Light: light})
		pid := pod.PID()
		if light != (pid == 0) {
			t.Errorf("light=%v has the process %d", light, pid)
		}
		if _, err := ask(pod.Addr(8080), "1"); err != nil {
			t.Fatal(err)
		}
		pod.Kill(t)
		if err := syscall.Kill(pid, 0); !light && !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d: %v after it was killed", pid, err)
		}
		if _, err := ask(pod.Addr(8080), "2"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a pod that has crashed: %v", err)
		}
		pod.Start(t)
		if _, err := ask(pod.Addr(8080), "3"); err != nil {
			t.Fatal(err)
		}
		want := []kube.Request{
			{Address: pod.Addr(8080), Method: "GET", Target: "/path", Host: pod.Addr(8080), ID: "1"},
			{Address: pod.Addr(8080), Method: "GET", Target: "/path", Host: pod.Addr(8080), ID: "3"},
		}
		if got := pod.Requests(t); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("requests %v, want %v", got, want)
		}
	}
}

func TestPortsNodesAndBothFamilies(t *testing.T) {
	t.Parallel()
	plane := start(t)
	ns := plane.Namespace(t)
	both := corev1.IPFamilyPolicyRequireDualStack
	plane.ServiceWith(t, ns, "web", corev1.ServiceSpec{
		Selector: map[string]string{"app": "web"}, IPFamilyPolicy: &both,
		Ports: []corev1.ServicePort{kube.Port("a", 80, "first"), kube.Port("b", 81, "9090")},
	})
	pod := plane.Pod(t, ns, "web-1", map[string]string{"app": "web"}, kube.PodOptions{
		DualStack: true, Node: "node-b",
		Ports: []corev1.ContainerPort{{Name: "first", ContainerPort: 8081}, {Name: "second", ContainerPort: 9090}},
	})
	awaitEndpoints(t, plane, ns, "web", pod.Addresses[0].String(), pod.Addresses[1].String())
	endpoints, err := plane.Endpoints(t.Context(), ns, "web")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range endpoints {
		if e.NodeName == nil || *e.NodeName != "node-b" || e.Zone == nil || *e.Zone != "zone-b" {
			t.Errorf("node and zone of %+v", e)
		}
	}
	var list discoveryv1.EndpointSliceList
	if err := plane.Client().List(t.Context(), &list, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 2 {
		t.Fatalf("%d EndpointSlices, want one a family", len(list.Items))
	}
	for _, slice := range list.Items {
		ports := map[string]int32{}
		for _, port := range slice.Ports {
			ports[*port.Name] = *port.Port
		}
		if len(ports) != 2 || ports["a"] != 8081 || ports["b"] != 9090 {
			t.Errorf("ports %v", ports)
		}
		for _, port := range ports {
			ip, err := netip.ParseAddr(slice.Endpoints[0].Addresses[0])
			if err != nil {
				t.Fatal(err)
			}
			mustAnswer(t, netip.AddrPortFrom(ip, uint16(port)).String(), "web-1")
		}
	}
}

func TestNamespaceIsDeleted(t *testing.T) {
	t.Parallel()
	plane := start(t)
	var ns string
	t.Run("owner", func(t *testing.T) {
		ns = plane.Namespace(t)
		plane.Pod(t, ns, "pod", nil, kube.PodOptions{Light: true})
	})
	kube.Eventually(t, kube.Patience, func() error {
		err := plane.Client().Get(t.Context(), client.ObjectKey{Name: ns}, &corev1.Namespace{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("the namespace of a test that has ended: %w", err)
	})
}

func TestUsersMayDoWhatRBACAllows(t *testing.T) {
	t.Parallel()
	plane := start(t)
	ns := plane.Namespace(t)
	account, err := plane.AddServiceAccount(ns, "reader")
	if err != nil {
		t.Fatal(err)
	}
	set := kubernetes.NewForConfigOrDie(account.Config)
	if _, err := set.CoreV1().Secrets(ns).List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("without a right: %v", err)
	}
	plane.Kubectl(t, "-n", ns, "create", "role", "reader", "--verb=list", "--resource=secrets")
	plane.Kubectl(t, "-n", ns, "create", "rolebinding", "reader", "--role=reader", "--serviceaccount="+ns+":reader")
	kube.Eventually(t, kube.Patience, func() error {
		_, err := set.CoreV1().Secrets(ns).List(t.Context(), metav1.ListOptions{})
		return err
	})
	if out, err := plane.TryKubectl("", "--kubeconfig", account.Kubeconfig, "-n", ns, "get", "pods"); err == nil ||
		!strings.Contains(err.Error(), "system:serviceaccount:"+ns+":reader") {
		t.Errorf("kubectl as the ServiceAccount: %q %v", out, err)
	}
}

func TestCustomResources(t *testing.T) {
	t.Parallel()
	plane := start(t)
	ns := plane.Namespace(t)
	widget := "{apiVersion: kube.test/v1, kind: Widget, metadata: {name: w}, size: %d}"
	if _, err := plane.TryKubectl(fmt.Sprintf(widget, 3), "-n", ns, "apply", "-f", "-"); err != nil {
		t.Error(err)
	}
	if _, err := plane.TryKubectl(fmt.Sprintf(widget, 4), "-n", ns, "apply", "-f", "-"); err == nil || !strings.Contains(err.Error(), "size") {
		t.Errorf("a size that is too large: %v", err)
	}
}

// Not parallel: the API server is everybody's.
func TestAPIServerGoesAndComesBack(t *testing.T) {
	plane := start(t)
	ns := plane.Namespace(t)
	service := plane.Service(t, ns, "web", map[string]string{"app": "web"}, kube.Port("http", 80, "http"))
	pod := plane.Pod(t, ns, "web-1", map[string]string{"app": "web"}, kube.PodOptions{})
	awaitEndpoints(t, plane, ns, "web", pod.Addresses[0].String())
	get := func(limit time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		var got corev1.Service
		err := plane.Client().Get(ctx, client.ObjectKeyFromObject(service), &got)
		if err == nil && got.UID != service.UID {
			return fmt.Errorf("another Service: %s, was %s", got.UID, service.UID)
		}
		return err
	}

	plane.PauseAPIServer(t)
	if err := get(100 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a paused API server: %v", err)
	}
	plane.ResumeAPIServer(t)
	if err := get(kube.Patience); err != nil {
		t.Error(err)
	}

	plane.StopAPIServer(t)
	if err := get(kube.Patience); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a stopped API server: %v", err)
	}
	mustAnswer(t, pod.Addr(8080), "web-1")
	plane.StartAPIServer(t)
	if err := get(kube.Patience); err != nil {
		t.Error(err)
	}
	pod.NotReady(t)
	awaitEndpoints(t, plane, ns, "web", pod.Addresses[0].String()+"-ready-serving")
}

// Not parallel: the API server is everybody's.
func TestAPIServerIsGivenBack(t *testing.T) {
	plane := start(t)
	for name, take := range map[string]func(testing.TB){"stopped": plane.StopAPIServer, "paused": plane.PauseAPIServer} {
		var ns string
		t.Run(name, func(t *testing.T) {
			ns = plane.Namespace(t)
			take(t)
		})
		var got corev1.Namespace
		if err := plane.Client().Get(t.Context(), client.ObjectKey{Name: ns}, &got); err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("after a test in which it was %s: %v", name, err)
		} else if err == nil && got.DeletionTimestamp.IsZero() {
			t.Errorf("the namespace %s was not deleted", ns)
		}
	}
}

func TestNetworkIsOurOwn(t *testing.T) {
	t.Parallel()
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	if len(links) != 1 || links[0].Name != "lo" {
		t.Errorf("interfaces %v, want lo alone", links)
	}
	plane := start(t)
	if a, b := plane.Address(t), plane.Address(t); a == b {
		t.Errorf("the same address twice: %v", a)
	}
	listener, err := net.Listen("tcp6", netip.AddrPortFrom(plane.Address6(t), 0).String()) //nolint:noctx // local
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
}
