package e2e

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/test/e2e/ledger"
)

const (
	// patience bounds every wait for the cluster: nodes come back within it, on a busy machine too.
	patience = 5 * time.Minute
	// pause is the time between two looks at the cluster.
	pause = 250 * time.Millisecond
)

// A cluster is the one that the scenarios run on: nodes that are containers, and programs to command it with.
type cluster struct {
	client   client.Client
	book     *ledger.Book // what upstreams have received
	report   *report
	control  node
	workers  [2]node
	programs map[string]string // paths of kubectl, helm, …, where they are not on PATH
	targets  int               // that loads have had
}

// A node is a node of the cluster and the container of the same name.
type node struct{ name, address, podCIDR string }

func newCluster(t *testing.T) *cluster {
	t.Helper()
	kubeconfig := os.Getenv("E2E_KUBECONFIG")
	if kubeconfig == "" {
		t.Fatal("E2E_KUBECONFIG names no kubeconfig; run `make e2e`, which makes a cluster when there is none")
	}
	t.Setenv("KUBECONFIG", kubeconfig)
	c := &cluster{programs: map[string]string{
		"kubectl": filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"), "helm": os.Getenv("HELM"),
	}}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.Timeout = 10 * time.Second // some scenarios freeze the API server
	config.QPS, config.Burst = 100, 200
	http, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { utilnet.CloseIdleConnectionsFor(http.Transport) })
	scheme := runtime.NewScheme()
	if err := errors.Join(clientscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	if c.client, err = client.New(config, client.Options{HTTPClient: http, Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	c.findNodes(t)
	c.report = newReport(c.kubectl(t, "version", "--output=json"))
	if c.book, err = ledger.Open(ownAddress(t, c.control.address)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.book.Close)
	c.loadUpstream(t)
	if os.Getenv("E2E_KEEP") == "" {
		c.remove(t)
	}
	return c
}

// findNodes finds a control plane and two workers.
func (c *cluster) findNodes(t *testing.T) {
	t.Helper()
	var nodes corev1.NodeList
	if err := c.client.List(t.Context(), &nodes); err != nil {
		t.Fatal(err)
	}
	var workers []node
	for i := range nodes.Items {
		n := node{name: nodes.Items[i].Name, podCIDR: nodes.Items[i].Spec.PodCIDR}
		for _, a := range nodes.Items[i].Status.Addresses {
			if a.Type == corev1.NodeInternalIP && n.address == "" {
				n.address = a.Address
			}
		}
		if _, is := nodes.Items[i].Labels["node-role.kubernetes.io/control-plane"]; is {
			c.control = n
		} else {
			workers = append(workers, n)
		}
	}
	if len(workers) != 2 || c.control.name == "" {
		t.Fatalf("the cluster has %d nodes; the scenarios need a control plane and two workers, as `make kind-up` makes them", len(nodes.Items))
	}
	c.workers = [2]node(workers)
}

// ownAddress is this machine's address as seen from another one.
func ownAddress(t *testing.T, other string) string {
	t.Helper()
	conn, err := net.Dial("udp", net.JoinHostPort(other, "9")) // nothing is sent
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	host, _, err := net.SplitHostPort(conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	return host
}

// loadUpstream builds the upstream's image and copies it into the nodes.
func (c *cluster) loadUpstream(t *testing.T) {
	t.Helper()
	const image = "pingora-proxy-e2e-upstream:test"
	dir := t.TempDir()
	t.Setenv("CGO_ENABLED", "0")
	c.run(t, "", "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", filepath.Join(dir, "upstream"), "./upstream")
	dockerfile := "FROM scratch\nCOPY upstream /\nENTRYPOINT [\"/upstream\"]\n"
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_BUILDKIT", "0") // which not every engine has
	c.run(t, "", "docker", "build", "--quiet", "--tag", image, dir)
	archive := filepath.Join(dir, "image.tar")
	c.run(t, "", "docker", "save", "--output", archive, image)
	for _, n := range append(c.workers[:], c.control) {
		c.run(t, "", "docker", "cp", archive, n.name+":/upstream.tar")
		c.run(t, "", "docker", "exec", n.name, "ctr", "--namespace=k8s.io", "images", "import", "/upstream.tar")
	}
}

// kubectl runs kubectl, which must succeed, and returns what it prints.
func (c *cluster) kubectl(t *testing.T, arguments ...string) string {
	t.Helper()
	return c.run(t, "", "kubectl", arguments...)
}

// apply applies a manifest of testdata.
func (c *cluster) apply(t *testing.T, name string, arguments ...string) string {
	t.Helper()
	return c.kubectl(t, append([]string{"apply", "--filename", filepath.Join("testdata", name)}, arguments...)...)
}

// run runs a program, which must succeed.
func (c *cluster) run(t *testing.T, input, program string, arguments ...string) string {
	t.Helper()
	stdout, stderr, err := c.try(t.Context(), input, program, arguments...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", program, strings.Join(arguments, " "), err, stdout, stderr)
	}
	return stdout
}

// clean runs a program when the test ends, whatever became of it.
func (c *cluster) clean(t *testing.T, program string, arguments ...string) {
	t.Helper()
	t.Cleanup(func() {
		// The test's own context has ended.
		if stdout, stderr, err := c.try(context.Background(), "", program, arguments...); err != nil {
			t.Errorf("%s %s: %v\n%s%s", program, strings.Join(arguments, " "), err, stdout, stderr)
		}
	})
}

func (c *cluster) try(ctx context.Context, input, program string, arguments ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	if path := c.programs[program]; path != "" {
		program = path
	}
	command := exec.CommandContext(ctx, program, arguments...)
	command.Stdin = strings.NewReader(input)
	var out, errs bytes.Buffer
	command.Stdout, command.Stderr = &out, &errs
	err = command.Run()
	return out.String(), errs.String(), err
}

// eventually asks until the condition has no complaint, and fails the test with the last one when it still has.
func eventually(t *testing.T, limit time.Duration, condition func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not in %v: %v", limit, err)
		}
		time.Sleep(pause)
	}
}
