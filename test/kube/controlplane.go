package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

const (
	// The addresses are fixed: the namespace is ours. The ports are not of the range from which outgoing connections take
	// theirs, so that a client which asks for a stopped API server never finds itself.
	apiServerHost, apiServerPort = "127.0.0.1", "6443"
	etcdAddress                  = "127.0.0.1:2379"

	// startLimit is how long a program of the control plane may take to start.
	startLimit = 2 * time.Minute
)

// Options of Start.
type Options struct {
	// CRDs are files, or folders of files, with CustomResourceDefinitions. One that is missing is an error.
	CRDs []string
	// Scheme is that of Client, nil for the built-in types.
	Scheme *runtime.Scheme
	// APIServer may change kube-apiserver's flags.
	APIServer func(*envtest.Arguments)
}

// A ControlPlane is a running one. Its methods that take a testing.TB fail that test.
type ControlPlane struct {
	env       *envtest.Environment
	dir       string // of everything that it writes
	logs      []*os.File
	client    client.Client
	admin     *User
	manager   *User // kube-controller-manager
	control   *exec.Cmd
	addresses atomic.Uint32 // that were taken
	spaces    atomic.Uint32 // namespaces that were made
}

// shared is the one control plane of this process.
var shared sharedPlane

type sharedPlane struct {
	once  sync.Once
	plane *ControlPlane
	err   error
}

// Start returns the control plane of this test binary, which the first call starts with its options: the others' options
// do not count. Main stops it when the last test has ended.
func Start(o Options) (*ControlPlane, error) {
	shared.once.Do(func() {
		if os.Getenv(isolatedVariable) == "" {
			shared.err = errors.New("test/kube: the package of tests needs `func TestMain(m *testing.M) { os.Exit(kube.Main(m)) }`")
			return
		}
		if shared.plane, shared.err = start(o); shared.err != nil {
			shared.err = fmt.Errorf("starting a Kubernetes control plane: %w", shared.err)
		}
	})
	return shared.plane, shared.err
}

func (s *sharedPlane) stop() error {
	if s.plane == nil {
		return nil
	}
	return s.plane.stop()
}

func start(o Options) (_ *ControlPlane, err error) {
	dir, err := os.MkdirTemp("", "control-plane-")
	if err != nil {
		return nil, err
	}
	p := &ControlPlane{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.stop())
		}
	}()
	if err := p.startEnvtest(o); err != nil {
		return nil, fmt.Errorf("%w\n%s\n%s", err, p.Log("etcd"), p.Log("kube-apiserver"))
	}
	if p.client, err = client.New(p.Config(), client.Options{Scheme: p.env.Scheme}); err != nil {
		return nil, err
	}
	if p.admin, err = p.AddUser("kube-test-admin", "system:masters"); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	for _, zone := range []string{"a", "b"} {
		labels := map[string]string{corev1.LabelTopologyZone: "zone-" + zone, corev1.LabelHostname: "node-" + zone}
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-" + zone, Labels: labels}}
		if err := p.client.Create(ctx, node); err != nil {
			return nil, err
		}
	}
	if p.manager, err = p.AddUser("kube-test-controller-manager", "system:masters"); err != nil {
		return nil, err
	}
	return p, p.startControllers(ctx)
}

// startEnvtest starts etcd and kube-apiserver and installs the CRDs.
func (p *ControlPlane) startEnvtest(o Options) error {
	if err := launchLinks(p.dir); err != nil {
		return err
	}
	scheme := o.Scheme
	if scheme == nil {
		scheme = clientscheme.Scheme
	}
	p.env = &envtest.Environment{
		Scheme:                   scheme,
		CRDDirectoryPaths:        o.CRDs,
		ErrorIfCRDPathMissing:    true,
		UseExistingCluster:       new(bool),
		ControlPlaneStartTimeout: startLimit,
	}
	plane := &p.env.ControlPlane
	plane.KubectlPath = filepath.Join(os.Getenv(assetsVariable), "kubectl")
	plane.Etcd = &envtest.Etcd{
		Path: filepath.Join(p.dir, "etcd"), DataDir: filepath.Join(p.dir, "data"), URL: &url.URL{Scheme: "http", Host: etcdAddress},
	}
	// A folder that envtest did not make survives the API server's stop, and with it the certificates.
	server := &envtest.APIServer{Path: filepath.Join(p.dir, "kube-apiserver"), CertDir: filepath.Join(p.dir, "certificates")}
	server.Address, server.Port = apiServerHost, apiServerPort
	plane.APIServer = server
	for _, d := range []string{plane.Etcd.DataDir, server.CertDir} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return err
		}
	}
	address, _, _ := strings.Cut(network, "/")
	server.Configure().
		Set("advertise-address", address). // it must not be a loopback
		Set("service-cluster-ip-range", "10.96.0.0/16,fd96::/112").
		Set("max-requests-inflight", "2000").
		Set("max-mutating-requests-inflight", "1000")
	if o.APIServer != nil {
		o.APIServer(server.Configure())
	}
	var err error
	if plane.Etcd.Out, err = p.log("etcd"); err != nil {
		return err
	}
	if server.Out, err = p.log("kube-apiserver"); err != nil {
		return err
	}
	plane.Etcd.Err, server.Err = plane.Etcd.Out, server.Out
	_, err = p.env.Start()
	return err
}

// stop ends everything. Its data is of no use any more, so nothing is given time.
func (p *ControlPlane) stop() error {
	p.stopControllers()
	errs := []error{p.kill("kube-apiserver"), p.kill("etcd")}
	if p.env != nil {
		errs = append(errs, within(Patience, p.env.Stop)) // it may not have noticed yet that both have ended
	}
	for _, f := range p.logs {
		errs = append(errs, f.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(p.dir))...)
}

// log makes the file for the output of a program.
func (p *ControlPlane) log(program string) (*os.File, error) {
	file, err := os.OpenFile(p.logPath(program), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		p.logs = append(p.logs, file)
	}
	return file, err
}

func (p *ControlPlane) logPath(program string) string { return filepath.Join(p.dir, program+".log") }

// Log is the end of what etcd, kube-apiserver or kube-controller-manager has written, for a test that fails.
func (p *ControlPlane) Log(program string) string {
	const most = 8 << 10
	text, err := os.ReadFile(p.logPath(program))
	if err != nil {
		return err.Error()
	}
	return program + ": …" + string(text[max(0, len(text)-most):])
}

// Config is the rest.Config of an administrator.
func (p *ControlPlane) Config() *rest.Config { return rest.CopyConfig(p.env.Config) }

// Kubeconfig is the path of an administrator's kubeconfig.
func (p *ControlPlane) Kubeconfig() string { return p.admin.Kubeconfig }

// Client is an administrator's, without a cache.
func (p *ControlPlane) Client() client.Client { return p.client }

// A User is one that the API server knows, by a certificate.
type User struct {
	Config     *rest.Config
	Kubeconfig string // the path of a file
}

// AddUser makes a user who may do what RBAC allows to the name and to the groups.
func (p *ControlPlane) AddUser(name string, groups ...string) (*User, error) {
	// The tests' own speed is not what the client's limit is for.
	user, err := p.env.AddUser(envtest.User{Name: name, Groups: groups}, &rest.Config{QPS: 1000, Burst: 2000})
	if err != nil {
		return nil, err
	}
	text, err := user.KubeConfig()
	if err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(p.dir, "*.kubeconfig")
	if err != nil {
		return nil, err
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	return &User{Config: user.Config(), Kubeconfig: file.Name()}, nil
}

// AddServiceAccount makes a user with the name and the groups, and so with the rights, of a ServiceAccount.
func (p *ControlPlane) AddServiceAccount(namespace, name string) (*User, error) {
	return p.AddUser("system:serviceaccount:"+namespace+":"+name, "system:serviceaccounts", "system:serviceaccounts:"+namespace)
}

// Kubectl runs kubectl as an administrator and returns what it prints. It must succeed.
func (p *ControlPlane) Kubectl(t testing.TB, arguments ...string) string {
	t.Helper()
	out, err := p.TryKubectl("", arguments...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TryKubectl runs kubectl as an administrator, with a standard input, and returns what it prints. What it says of a
// failure is in the error. A later --kubeconfig among the arguments is another user's.
func (p *ControlPlane) TryKubectl(input string, arguments ...string) (string, error) {
	common := []string{"--kubeconfig", p.Kubeconfig(), "--cache-dir", filepath.Join(p.dir, "kubectl")}
	command := exec.Command(p.env.ControlPlane.KubectlPath, append(common, arguments...)...)
	command.SysProcAttr = dieWithTests()
	command.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(arguments, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
