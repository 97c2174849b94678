package kube

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// PodOptions of Pod. The zero value is a ready pod with one port, http, 8080, on node-a.
type PodOptions struct {
	// Ports are the container's, and its process listens on all.
	Ports []corev1.ContainerPort
	// Node is node-a in zone-a, which is the default, or node-b in zone-b.
	Node string
	// DualStack gives it an IPv6 address, too.
	DualStack bool
	// NotReady lets it start as one that is not ready.
	NotReady bool
	// Light serves from a goroutine of the tests instead of a process.
	Light bool
}

// A Pod is an object with a server that stands for its containers. Its methods must not run side by side.
type Pod struct {
	Namespace, Name string
	// Addresses are its IPs, IPv4 first.
	Addresses []netip.Addr

	plane  *ControlPlane
	job    originJob
	light  bool
	server origin // nil while there is none

	mu       sync.Mutex
	requests []Request // of a light pod
}

// Pod starts a server on an address of its own and makes the pod whose containers it stands for; see PodOptions for when
// it is ready. Everything ends with the test.
func (p *ControlPlane) Pod(t testing.TB, ns, name string, labels map[string]string, o PodOptions) *Pod {
	t.Helper()
	if o.Ports == nil {
		o.Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}
	}
	if o.Node == "" {
		o.Node = "node-a"
	}
	pod := &Pod{
		Namespace: ns, Name: name, Addresses: p.takeAddresses(t, o.DualStack), plane: p, light: o.Light, job: originJob{Name: name},
	}
	for _, address := range pod.Addresses {
		for _, port := range o.Ports {
			pod.job.Addresses = append(pod.job.Addresses, netip.AddrPortFrom(address, uint16(port.ContainerPort)).String())
		}
	}
	if !o.Light {
		pod.job.Ledger = filepath.Join(t.TempDir(), "ledger")
	}
	t.Cleanup(func() { pod.cleanup(t) })
	pod.Start(t)

	object := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, Labels: labels},
		Spec: corev1.PodSpec{
			NodeName:   o.Node,
			Containers: []corev1.Container{{Name: "origin", Image: "origin", Ports: o.Ports}},
		},
	}
	if err := p.client.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	object.Status.Phase = corev1.PodRunning
	object.Status.PodIP = pod.Addresses[0].String()
	for _, address := range pod.Addresses {
		object.Status.PodIPs = append(object.Status.PodIPs, corev1.PodIP{IP: address.String()})
	}
	setReady(object, !o.NotReady)
	if err := p.client.Status().Update(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	return pod
}

// setReady writes the conditions that a kubelet writes.
func setReady(object *corev1.Pod, ready bool) {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	object.Status.Conditions = []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
		{Type: corev1.PodInitialized, Status: corev1.ConditionTrue},
		{Type: corev1.ContainersReady, Status: status},
		{Type: corev1.PodReady, Status: status},
	}
}

// Ready lets the pod be ready.
func (p *Pod) Ready(t testing.TB) { p.patchReady(t, true) }

// NotReady lets the pod be not ready, as when its readiness probe fails. Its server goes on.
func (p *Pod) NotReady(t testing.TB) { p.patchReady(t, false) }

func (p *Pod) patchReady(t testing.TB, ready bool) {
	t.Helper()
	var object corev1.Pod
	if err := p.plane.client.Get(t.Context(), p.key(), &object); err != nil {
		t.Fatal(err)
	}
	before := object.DeepCopy()
	setReady(&object, ready)
	if err := p.plane.client.Status().Patch(t.Context(), &object, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

// Terminate deletes the pod as users and Deployments do: it is terminating, and its server goes on, as during the grace
// period. Delete ends that.
func (p *Pod) Terminate(t testing.TB) {
	t.Helper()
	if err := p.plane.client.Delete(t.Context(), p.object()); err != nil {
		t.Fatal(err)
	}
}

// Delete lets the server end in good order and then removes the object, as a kubelet does at the end of a termination.
func (p *Pod) Delete(t testing.TB) {
	t.Helper()
	if p.server != nil {
		server := p.server
		p.server = nil
		if err := server.shutdown(); err != nil {
			t.Fatalf("the pod %s does not end in good order: %v", p.Name, err)
		}
	}
	if err := p.remove(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Kill ends the server at once, as when the program crashes. The object stays as it is.
func (p *Pod) Kill(t testing.TB) {
	t.Helper()
	if p.server == nil {
		t.Fatalf("the server of pod %s does not run", p.Name)
	}
	server := p.server
	p.server = nil
	if err := server.kill(); err != nil {
		t.Fatal(err)
	}
}

// Start starts the server again, on the same addresses, after Kill.
func (p *Pod) Start(t testing.TB) {
	t.Helper()
	if p.server != nil {
		t.Fatalf("the server of pod %s runs already", p.Name)
	}
	if p.light {
		server, err := p.job.serve(p.remember)
		if err != nil {
			t.Fatal(err)
		}
		p.server = server
		return
	}
	server, err := p.job.start()
	if err != nil {
		t.Fatal(err)
	}
	p.server = server
}

// PID is the id of the server's process, 0 if it has none. SIGSTOP makes a pod that hangs.
func (p *Pod) PID() int {
	if p.server == nil {
		return 0
	}
	return p.server.pid()
}

// Addr is the pod's IPv4 address with a port.
func (p *Pod) Addr(port int32) string {
	return netip.AddrPortFrom(p.Addresses[0], uint16(port)).String()
}

// Requests are those that the pod has received so far, in their order.
func (p *Pod) Requests(t testing.TB) []Request {
	t.Helper()
	if !p.light {
		return readLedger(t, p.job.Ledger)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.requests)
}

func (p *Pod) remember(r Request) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = append(p.requests, r)
	return nil
}

func (p *Pod) key() client.ObjectKey { return client.ObjectKey{Namespace: p.Namespace, Name: p.Name} }

func (p *Pod) object() *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name}}
}

func (p *Pod) remove(ctx context.Context) error {
	return client.IgnoreNotFound(p.plane.client.Delete(ctx, p.object(), client.GracePeriodSeconds(0)))
}

func (p *Pod) cleanup(t testing.TB) {
	if p.server != nil {
		if err := p.server.kill(); err != nil {
			t.Errorf("pod %s: %v", p.Name, err)
		}
		p.server = nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	if err := p.remove(ctx); err != nil {
		t.Errorf("removing pod %s: %v", p.Name, err)
	}
	if t.Failed() && !p.light {
		if text, err := os.ReadFile(p.job.Ledger); err == nil {
			t.Logf("pod %s has received:\n%s", p.Name, text[max(0, len(text)-4<<10):])
		}
	}
}
