package scale

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/test/kube"
)

const (
	patience = 10 * time.Minute // for thousands of objects
	clients  = 16               // that make objects side by side
)

// A fleet is the objects of the cluster.
type fleet struct {
	*kube.ControlPlane
	size
	spaces []string   // namespaces, of which nobody else has any; the first is the class, too
	how    string     // the pods became ready
	kwok   chan error // gives how it ended; nil: it does not run
	probe  probe
}

// A probe is a ProxyService whose pods are real.
type probe struct {
	namespace, name string
	pods            [2]*kube.Pod
	slice           *discoveryv1.EndpointSlice
}

// key is the namespace and the name of a ProxyService, of its Service and of its pods' label.
func (f *fleet) key(i int) client.ObjectKey {
	return client.ObjectKey{Namespace: f.spaces[i%len(f.spaces)], Name: fmt.Sprintf("shop-%d", i)}
}

func host(i int) string { return fmt.Sprintf("shop-%d.example.com", i) }

// port is where a ProxyService listens: most of them share one, as they do behind one load balancer.
func port(i int) int {
	if i%20 == 19 {
		return 20000 + i
	}
	return 80
}

// populate makes everything but the controller.
func populate(t *testing.T, plane *kube.ControlPlane, s size) *fleet {
	t.Helper()
	f := &fleet{ControlPlane: plane, size: s}
	for range s.namespaces {
		f.spaces = append(f.spaces, f.Namespace(t))
	}
	f.runPods(t)
	f.each(t, s.services-1, func(i int) error { return f.Client().Create(t.Context(), f.service(i)) })
	f.awaitEndpoints(t)
	f.each(t, s.services-1, func(i int) error { return f.Client().Create(t.Context(), f.proxyService(i)) })
	f.makeProbe(t)
	return f
}

func (f *fleet) create(t *testing.T, object client.Object) {
	t.Helper()
	if err := f.Client().Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
}

// each calls do with the numbers below n, some of them side by side.
func (f *fleet) each(t *testing.T, n int, do func(i int) error) {
	t.Helper()
	var group sync.WaitGroup
	failed := make([]error, clients)
	for c := range clients {
		group.Go(func() {
			for i := c; i < n && failed[c] == nil; i += clients {
				failed[c] = do(i)
			}
		})
	}
	group.Wait()
	if err := errors.Join(failed...); err != nil {
		t.Fatal(err)
	}
}

func (f *fleet) service(i int) *corev1.Service {
	key := f.key(i)
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": key.Name}, Ports: []corev1.ServicePort{kube.Port("http", 80, "http")}},
	}
}

// proxyService has what a common one has: a host, a route with backends and headers of its own, and a redirect. Nobody
// checks the pods, whose addresses lead nowhere.
func (f *fleet) proxyService(i int) *v1alpha1.ProxyService {
	key := f.key(i)
	backends := []v1alpha1.Backend{{Service: &v1alpha1.BackendService{Name: key.Name, Port: intstr.FromString("http")}}}
	return &v1alpha1.ProxyService{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name},
		Spec: v1alpha1.ProxyServiceSpec{
			ClassName:   ptr.To(f.spaces[0]),
			BindAddress: fmt.Sprintf("0.0.0.0:%d", port(i)),
			Hosts:       []string{host(i)},
			Backends:    backends,
			HealthCheck: &v1alpha1.HealthCheck{Type: ptr.To(v1alpha1.HealthCheckDisabled)},
			Routes: []v1alpha1.Route{
				{
					Name:    "moved",
					Matches: []v1alpha1.Match{{Path: &v1alpha1.PathMatch{Value: ptr.To("/moved")}}},
					Filters: []v1alpha1.Filter{{Redirect: &v1alpha1.RedirectFilter{Path: ptr.To("/new")}}},
				},
				{
					Name:     "api",
					Matches:  []v1alpha1.Match{{Path: &v1alpha1.PathMatch{Value: ptr.To("/api")}}},
					Filters:  []v1alpha1.Filter{{RequestHeaders: &v1alpha1.HeaderFilter{Set: map[string]string{"X-Part": "api"}}}},
					Backends: backends,
				},
			},
		},
	}
}

// makeProbe makes a ProxyService like the others whose EndpointSlice the test itself writes, and two pods that answer.
func (f *fleet) makeProbe(t *testing.T) {
	t.Helper()
	i := f.services - 1
	key := f.key(i)
	f.probe = probe{namespace: key.Namespace, name: key.Name}
	for n := range f.probe.pods {
		f.probe.pods[n] = f.Pod(t, key.Namespace, fmt.Sprintf("probe-%d", n), nil, kube.PodOptions{Light: true})
	}
	f.Service(t, key.Namespace, key.Name, nil, kube.Port("http", 80, "8080"))
	f.probe.slice = &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: key.Namespace, Name: key.Name, Labels: map[string]string{discoveryv1.LabelServiceName: key.Name},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{f.probe.pods[0].Addresses[0].String()}}},
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To[int32](8080)}},
	}
	f.create(t, f.probe.slice)
	f.create(t, f.proxyService(i))
}

// runPods makes the pods and waits until they are ready: by kwok where it is, else by a status that the test writes.
func (f *fleet) runPods(t *testing.T) {
	t.Helper()
	for i := range f.nodes {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("kwok-%d", i), Annotations: map[string]string{"kwok.x-k8s.io/node": "fake"},
		}}
		if err := f.Client().Create(t.Context(), node); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	program := os.Getenv("KWOK")
	f.how = "the test wrote the pods' status"
	if program != "" {
		f.how = "kwok ran the pods"
		f.startKwok(t, program)
	}
	first := netip.MustParseAddr("10.98.0.1").As4()
	f.each(t, f.pods, func(i int) error {
		service := f.key(i % (f.services - 1))
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: service.Namespace, Name: fmt.Sprintf("%s-%d", service.Name, i/(f.services-1)),
				Labels: map[string]string{"app": service.Name},
			},
			Spec: corev1.PodSpec{
				NodeName: fmt.Sprintf("kwok-%d", i%f.nodes),
				Containers: []corev1.Container{{
					Name: "shop", Image: "shop", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
				}},
			},
		}
		if err := f.Client().Create(t.Context(), pod); err != nil || program != "" {
			return err
		}
		address := netip.AddrFrom4([4]byte{first[0], first[1], byte(i / 250), byte(i%250 + 1)}).String()
		pod.Status = corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: address, PodIPs: []corev1.PodIP{{IP: address}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		}
		return f.Client().Status().Update(t.Context(), pod)
	})
	kube.Eventually(t, patience, func() error {
		f.kwokRuns(t)
		var running metav1.PartialObjectMetadataList
		running.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("PodList"))
		if err := f.Client().List(t.Context(), &running, client.MatchingFields{"status.phase": string(corev1.PodRunning)}); err != nil {
			return err
		}
		n := 0
		for _, p := range running.Items {
			if slices.Contains(f.spaces, p.Namespace) {
				n++
			}
		}
		if n < f.pods {
			time.Sleep(time.Second) // the answers are large
			return fmt.Errorf("%d of %d pods run", n, f.pods)
		}
		return nil
	})
}

// startKwok lets kwok stand for the kubelets of the nodes. It ends with the test.
func (f *fleet) startKwok(t *testing.T, program string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	command := exec.CommandContext(ctx, program, "--kubeconfig="+f.Kubeconfig(), "--cidr=10.98.0.1/16", "--config=testdata/kwok.yaml",
		"--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake", "--node-lease-duration-seconds=0", "--v=ERROR")
	command.Env = append(os.Environ(), "HOME="+t.TempDir())
	var said bytes.Buffer // which tells of every pod that it meets twice
	command.Stdout, command.Stderr = &said, &said
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	f.kwok = make(chan error, 1)
	go func() { f.kwok <- command.Wait() }()
	t.Cleanup(func() {
		cancel()
		<-f.kwok //nolint:errcheck // it was killed: that is the error
		if t.Failed() {
			t.Logf("kwok has said:\n%s", said.Bytes()[max(0, said.Len()-4<<10):])
		}
	})
}

// kwokRuns fails the test when kwok has ended: nothing would become of the pods.
func (f *fleet) kwokRuns(t *testing.T) {
	t.Helper()
	select {
	case err := <-f.kwok:
		f.kwok <- err // for the cleanup
		t.Fatalf("kwok has ended: %v", err)
	default:
	}
}

// awaitEndpoints waits until the EndpointSlices hold all pods.
func (f *fleet) awaitEndpoints(t *testing.T) {
	t.Helper()
	kube.Eventually(t, patience, func() error {
		var list discoveryv1.EndpointSliceList
		if err := f.Client().List(t.Context(), &list); err != nil {
			return err
		}
		n := 0
		for _, s := range list.Items {
			for _, e := range s.Endpoints {
				if ptr.Deref(e.Conditions.Ready, false) && slices.Contains(f.spaces, s.Namespace) {
					n++
				}
			}
		}
		if n != f.pods {
			time.Sleep(time.Second) // the answers are large
			return fmt.Errorf("%d of %d pods are in EndpointSlices", n, f.pods)
		}
		return nil
	})
}
