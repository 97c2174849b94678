package kube

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// dieWithTests are the attributes of a process that must not outlive this one.
func dieWithTests() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// kill ends a program that envtest has started, at once, and returns when it has ended.
func (p *ControlPlane) kill(program string) error {
	pid, err := launchedPID(p.dir, program)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it never started
	}
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("killing %s: %w", program, err)
	}
	return within(Patience, func() error { return gone(pid) })
}

// StopAPIServer kills kube-apiserver, as a lost machine does: connections end, and new ones are refused. What etcd has
// stays. kube-controller-manager is stopped, too. The end of the test starts them again if the test does not.
func (p *ControlPlane) StopAPIServer(t testing.TB) {
	t.Helper()
	t.Cleanup(func() {
		if p.control == nil {
			p.StartAPIServer(t)
		}
	})
	p.stopControllers()
	if err := p.kill("kube-apiserver"); err != nil {
		t.Fatal(err)
	}
	// envtest may not have noticed yet; it then tells of a process that is not there.
	Eventually(t, Patience, p.env.ControlPlane.APIServer.Stop)
}

// StartAPIServer starts kube-apiserver again, with the same address, data and certificates, and kube-controller-manager,
// and returns when both work.
func (p *ControlPlane) StartAPIServer(t testing.TB) {
	t.Helper()
	if err := p.env.ControlPlane.APIServer.Start(); err != nil {
		t.Fatalf("%v\n%s", err, p.Log("kube-apiserver"))
	}
	if err := p.startControllers(context.Background()); err != nil { // not the test's context: it may be over
		t.Fatal(err)
	}
}

// PauseAPIServer lets kube-apiserver hang: its connections stay, and nothing answers. kube-controller-manager is paused
// with it. The end of the test lets them go on if the test does not.
func (p *ControlPlane) PauseAPIServer(t testing.TB) {
	t.Helper()
	t.Cleanup(func() {
		if p.control != nil {
			p.signalAPIServer(t, syscall.SIGCONT)
		}
	})
	p.signalAPIServer(t, syscall.SIGSTOP)
	pid, err := launchedPID(p.dir, "kube-apiserver")
	if err != nil {
		t.Fatal(err)
	}
	Eventually(t, Patience, func() error { // on a busy machine the signal takes its time to reach every thread
		return stopped(pid)
	})
}

// stopped says why a process cannot be taken for stopped.
func stopped(pid int) error {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(threads) == 0 {
		return fmt.Errorf("process %d has no threads: %w", pid, err)
	}
	for _, thread := range threads {
		text, err := os.ReadFile(thread)
		if err != nil {
			return err
		}
		if _, state, _ := strings.Cut(string(text), ") "); !strings.HasPrefix(state, "T") {
			return fmt.Errorf("thread %s runs", thread)
		}
	}
	return nil
}

// ResumeAPIServer lets a paused kube-apiserver go on.
func (p *ControlPlane) ResumeAPIServer(t testing.TB) {
	t.Helper()
	p.signalAPIServer(t, syscall.SIGCONT)
}

func (p *ControlPlane) signalAPIServer(t testing.TB, s syscall.Signal) {
	t.Helper()
	pid, err := launchedPID(p.dir, "kube-apiserver")
	if err == nil {
		err = errors.Join(syscall.Kill(pid, s), p.control.Process.Signal(s))
	}
	if err != nil {
		t.Fatalf("%v to kube-apiserver: %v", s, err)
	}
}

// startControllers starts kube-controller-manager and returns when its controllers work.
//
// It is started anew with the API server, because it would wait longer and longer between its tries. What judges nodes is
// off: ours have no kubelet that tells of them, and their pods would be evicted.
func (p *ControlPlane) startControllers(ctx context.Context) error {
	certificates := p.env.ControlPlane.APIServer.CertDir
	command := exec.Command(filepath.Join(os.Getenv(assetsVariable), "kube-controller-manager"),
		"--kubeconfig="+p.manager.Kubeconfig, "--leader-elect=false", "--secure-port=0",
		"--service-account-private-key-file="+filepath.Join(certificates, "sa-signer.key"),
		"--root-ca-file="+filepath.Join(certificates, "apiserver.crt"), "--use-service-account-credentials=false",
		"--kube-api-qps=1000", "--kube-api-burst=2000", "--concurrent-namespace-syncs=20",
		"--controllers=*,-node-lifecycle-controller,-taint-eviction-controller,-pod-garbage-collector-controller")
	out, err := p.log("kube-controller-manager")
	if err != nil {
		return err
	}
	command.Stdout, command.Stderr, command.SysProcAttr = out, out, dieWithTests()
	if err := command.Start(); err != nil {
		return err
	}
	p.control = command
	if err := p.awaitControllers(ctx); err != nil {
		return fmt.Errorf("kube-controller-manager does not work: %w\n%s", err, p.Log("kube-controller-manager"))
	}
	return nil
}

func (p *ControlPlane) stopControllers() {
	if p.control == nil {
		return
	}
	_ = p.control.Process.Kill()
	_ = p.control.Wait() // it was killed: that is the error
	p.control = nil
}

// awaitControllers gives the controllers something to do: a Service gets an EndpointSlice.
func (p *ControlPlane) awaitControllers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "kube-test-"}}
	if err := p.client.Create(ctx, space); err != nil {
		return err
	}
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: space.Name, Name: "probe"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "probe"}, Ports: []corev1.ServicePort{{Port: 80}}},
	}
	if err := p.client.Create(ctx, service); err != nil {
		return err
	}
	err := within(startLimit, func() error {
		var slices discoveryv1.EndpointSliceList
		if err := p.client.List(ctx, &slices, client.InNamespace(space.Name)); err != nil {
			return err
		}
		if len(slices.Items) == 0 {
			return errors.New("a Service gets no EndpointSlice")
		}
		return nil
	})
	return errors.Join(err, p.client.Delete(ctx, space))
}
