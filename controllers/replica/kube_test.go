package replica

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pingora-proxy/pingora-proxy/test/kube"
)

func TestMain(m *testing.M) { os.Exit(kube.Main(m)) }

func controlPlane(t *testing.T) *kube.ControlPlane {
	t.Helper()
	plane, err := kube.Start(kube.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return plane
}

// realConfig is of a replica that talks to the API server.
func realConfig(t *testing.T, plane *kube.ControlPlane, namespace, name string) Config {
	t.Helper()
	leases, err := coordinationv1client.NewForConfig(plane.Config())
	if err != nil {
		t.Fatal(err)
	}
	return Config{Client: leases, Namespace: namespace, Class: "default", Name: name, Log: testr.New(t)}
}

// running runs run until stop, at the latest until the end of the test.
func running(t *testing.T, run func(context.Context)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

func newLease(t *testing.T, c Config) *Lease {
	t.Helper()
	l, err := NewLease(c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func newMembers(t *testing.T, c Config) *Members {
	t.Helper()
	m, err := NewMembers(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// wantMembers waits for the list, woken as its reader is.
func wantMembers(t *testing.T, m *Members, want ...Member) {
	t.Helper()
	patience := time.After(kube.Patience)
	for {
		got := m.List()
		if slices.Equal(got, want) {
			return
		}
		select {
		case <-m.Changed():
		case <-patience:
			t.Fatalf("members (-want +got):\n%s", cmp.Diff(want, got))
		}
	}
}

func TestLeaseOnAServer(t *testing.T) {
	plane := controlPlane(t)
	ns := plane.Namespace(t)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "proxy-1"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "proxy", Image: "proxy"}}},
	}
	if err := plane.Client().Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	c := realConfig(t, plane, ns, pod.Name)
	c.PodName, c.PodUID = pod.Name, string(pod.UID)
	leases := c.Client.Leases(ns)
	l := newLease(t, c)
	l.renew = 50 * time.Millisecond
	stop := running(t, l.Run)
	l.Serve(12345, true)

	var lease *coordinationv1.Lease
	published := func() (err error) {
		lease, err = leases.Get(t.Context(), c.Name, metav1.GetOptions{})
		if err == nil && (lease.Annotations[VersionAnnotation] != "12345" || lease.Annotations[ReadyAnnotation] != "true") {
			err = fmt.Errorf("annotations %v", lease.Annotations)
		}
		return err
	}
	kube.Eventually(t, kube.Patience, published)
	if got := lease.Labels[ClassLabel]; got != "default" {
		t.Errorf("the label is %q", got)
	}
	if lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity != c.Name || *lease.Spec.LeaseDurationSeconds != 15 {
		t.Errorf("spec %v", lease.Spec)
	}
	owners := []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}}
	if diff := cmp.Diff(owners, lease.OwnerReferences); diff != "" {
		t.Errorf("owners (-want +got):\n%s", diff)
	}
	first := *lease.Spec.RenewTime
	kube.Eventually(t, kube.Patience, func() error {
		if err := published(); err != nil {
			return err
		}
		if !lease.Spec.RenewTime.After(first.Time) {
			return errors.New("not renewed")
		}
		return nil
	})

	// What somebody changed is mended, and what somebody removed is made again.
	patch := fmt.Sprintf(`{"metadata":{"labels":{"%s":"other"},"annotations":{"%s":"1"}}}`, ClassLabel, VersionAnnotation)
	if _, err := leases.Patch(t.Context(), c.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	kube.Eventually(t, kube.Patience, func() error {
		if err := published(); err != nil {
			return err
		}
		if got := lease.Labels[ClassLabel]; got != "default" {
			return fmt.Errorf("the label is %q", got)
		}
		return nil
	})
	if err := leases.Delete(t.Context(), c.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	kube.Eventually(t, kube.Patience, published)

	stop()
	if _, err := leases.Get(t.Context(), c.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after the end: %v, want not found", err)
	}

	// A process that is killed removes nothing: that is left to Kubernetes, when the Pod is gone.
	if err := l.write(t.Context(), served{}); err != nil {
		t.Fatal(err)
	}
	if err := plane.Client().Delete(t.Context(), pod, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	kube.Eventually(t, kube.Patience, func() error {
		if _, err := leases.Get(t.Context(), c.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("%w: still there", err)
		}
		return nil
	})
}

func TestMembersOnAServer(t *testing.T) {
	plane := controlPlane(t)
	ns := plane.Namespace(t)
	a, b := newLease(t, realConfig(t, plane, ns, "a")), newLease(t, realConfig(t, plane, ns, "b"))
	a.renew, b.renew = 200*time.Millisecond, 200*time.Millisecond
	elsewhere := realConfig(t, plane, ns, "c")
	elsewhere.Class = "other"
	running(t, newLease(t, elsewhere).Run)
	running(t, a.Run)
	stopB := running(t, b.Run)
	m := newMembers(t, realConfig(t, plane, ns, "a"))
	running(t, m.Run)

	wantMembers(t, m, Member{Name: "a"}, Member{Name: "b"})
	a.Serve(7, true)
	b.Serve(1<<63, false)
	wantMembers(t, m, Member{Name: "a", ResourceVersion: 7, Ready: true}, Member{Name: "b", ResourceVersion: 1 << 63, Ready: false})

	plane.StopAPIServer(t)
	a.Unbound([]string{"0.0.0.0:81", "0.0.0.0:80"})
	a.Serve(8, true) // nobody hears it yet
	plane.StartAPIServer(t)
	wantMembers(t, m, Member{Name: "a", ResourceVersion: 8, Ready: true, Unbound: "0.0.0.0:80,0.0.0.0:81"}, Member{Name: "b", ResourceVersion: 1 << 63, Ready: false})
	stopB()
	wantMembers(t, m, Member{Name: "a", ResourceVersion: 8, Ready: true, Unbound: "0.0.0.0:80,0.0.0.0:81"})
}

func TestElectionOnAServer(t *testing.T) {
	plane := controlPlane(t)
	ns := plane.Namespace(t)
	quick := timing{lease: 3 * time.Second, renew: 2 * time.Second, retry: 200 * time.Millisecond}
	stand := func(name string) (*Election, chan bool) {
		t.Helper()
		changes := make(chan bool, 100)
		e, err := newElection(realConfig(t, plane, ns, name), quick, func(leading bool) { changes <- leading })
		if err != nil {
			t.Fatal(err)
		}
		return e, changes
	}
	want := func(changes chan bool, want bool) {
		t.Helper()
		select {
		case got := <-changes:
			if got != want {
				t.Fatalf("leading: %t, want %t", got, want)
			}
		case <-time.After(kube.Patience):
			t.Fatalf("nothing changed; want leading: %t", want)
		}
	}
	first, firstChanges := stand("a")
	stopFirst := running(t, first.Run)
	want(firstChanges, true)
	second, secondChanges := stand("b")
	running(t, second.Run)
	if !first.Leading() || second.Leading() {
		t.Errorf("leading: %t and %t", first.Leading(), second.Leading())
	}
	stopFirst()
	want(firstChanges, false)
	want(secondChanges, true)

	plane.StopAPIServer(t)
	want(secondChanges, false)
	plane.StartAPIServer(t)
	want(secondChanges, true)

	// Somebody else has it, without an election.
	leases := realConfig(t, plane, ns, "a").Client.Leases(ns)
	patch := `{"spec":{"holderIdentity":"somebody"}}`
	if _, err := leases.Patch(t.Context(), ElectionName("default"), types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	want(secondChanges, false)
	want(secondChanges, true) // when somebody has not renewed it
}
