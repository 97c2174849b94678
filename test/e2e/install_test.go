package e2e

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	chart = "../../charts/pingora-proxy"
	// release is the name of the Helm release, of its Deployment and of its Service.
	release = "pingora-proxy"
	// home is the namespace of the installation.
	home = "pingora-proxy"
	// space is the namespace of the site and its upstreams.
	space = "e2e"
)

// helm runs helm on the release, which must succeed.
func (c *cluster) helm(t *testing.T, verb string, arguments ...string) string {
	t.Helper()
	return c.run(t, "", "helm", append([]string{verb, release, "--namespace", home}, arguments...)...)
}

// install makes sure that the chart is installed, with further arguments.
func (c *cluster) install(t *testing.T, arguments ...string) {
	t.Helper()
	c.installFrom(t, chart, arguments...)
}

func (c *cluster) installFrom(t *testing.T, chart string, arguments ...string) {
	t.Helper()
	image := cmp.Or(os.Getenv("E2E_IMAGE"), "pingora-proxy:dev")
	repository, tag := image[:strings.LastIndex(image, ":")], image[strings.LastIndex(image, ":")+1:]
	c.run(t, "", "helm", append([]string{
		"upgrade", release, chart, "--install", "--namespace", home, "--create-namespace", "--values", "testdata/values.yaml",
		"--set", "image.repository=" + repository, "--set-string", "image.tag=" + tag, "--wait", "--timeout", "3m",
	}, arguments...)...)
}

// remove takes everything away, when the tests end, that they have made. What is called first here runs last.
func (c *cluster) remove(t *testing.T) {
	t.Helper()
	c.clean(t, "kubectl", "delete", "crd", "proxyservices.pingora-proxy.dev", "--ignore-not-found", "--timeout=1m")
	c.clean(t, "kubectl", "delete", "namespace", home, space, "--ignore-not-found", "--timeout=3m")
	c.clean(t, "helm", "uninstall", release, "--namespace", home, "--ignore-not-found", "--wait", "--timeout", "3m")
}

// testInstall is what a user does first, in the user's words.
func testInstall(t *testing.T, c *cluster) {
	c.install(t)
	c.helm(t, "test", "--timeout", "2m")
	c.site(t)
	// Port 30080 of a node, as the chart's values say.
	get(t, net.JoinHostPort(c.control.address, "30080"), "first.example.com")

	// A port that is new to the Service.
	c.apply(t, "second.yaml")
	c.clean(t, "kubectl", "delete", "--filename", "testdata/second.yaml", "--ignore-not-found")
	c.kubectl(t, "wait", "--for=condition=Programmed", "--timeout=60s", "--namespace", space, "proxyservice/second")
	var port int32
	eventually(t, time.Minute, func() (err error) {
		port, err = c.nodePort(t.Context(), home, release, 8081)
		return err
	})
	get(t, net.JoinHostPort(c.workers[0].address, fmt.Sprint(port)), "second.example.com")

	table := c.kubectl(t, "get", "pxs", "--all-namespaces", "--output", "wide")
	for _, want := range []string{"NAMESPACE", "BIND", "HOSTS", "ENDPOINTS", "ACCEPTED", "PROGRAMMED", "site", "second", "4/4"} {
		if !strings.Contains(table, want) {
			t.Errorf("`kubectl get pxs` does not show %q:\n%s", want, table)
		}
	}
	t.Log("\n" + table)
	second, err := c.proxyService(t.Context(), "second")
	if err != nil {
		t.Fatal(err)
	}
	if len(second.Status.Addresses) == 0 {
		t.Error("status.addresses does not say where `second` is reached")
	}
	t.Log(second.Status.Addresses)
	if explained := c.kubectl(t, "explain", "pxs.spec.retry.attempts"); !strings.Contains(explained, "Attempts") {
		t.Errorf("kubectl explain: %s", explained)
	}
}

// nodePort is the port of the nodes that leads to a port of a Service.
func (c *cluster) nodePort(ctx context.Context, namespace, name string, port int32) (int32, error) {
	var s corev1.Service
	if err := c.client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &s); err != nil {
		return 0, err
	}
	for _, p := range s.Spec.Ports {
		if p.Port == port && p.NodePort != 0 {
			return p.NodePort, nil
		}
	}
	return 0, fmt.Errorf("Service %s/%s has no port %d on the nodes: %v", namespace, name, port, s.Spec.Ports)
}

// proxies are the pods of the installation that are ready, by their nodes.
func (c *cluster) proxies(ctx context.Context, namespace string) (map[string][]corev1.Pod, error) {
	return c.pods(ctx, namespace, client.MatchingLabels{"app.kubernetes.io/name": "pingora-proxy"})
}

// pods are those that are ready and shall stay, by their nodes.
func (c *cluster) pods(ctx context.Context, namespace string, labels client.MatchingLabels) (map[string][]corev1.Pod, error) {
	var list corev1.PodList
	if err := c.client.List(ctx, &list, client.InNamespace(namespace), labels); err != nil {
		return nil, err
	}
	found := map[string][]corev1.Pod{}
	for _, p := range list.Items {
		for _, condition := range p.Status.Conditions {
			if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil {
				found[p.Spec.NodeName] = append(found[p.Spec.NodeName], p)
			}
		}
	}
	return found, nil
}

// get asks through the proxy until an upstream answers: a Service's new port takes a moment to reach every node.
func get(t *testing.T, address, host string) {
	t.Helper()
	eventually(t, time.Minute, func() error { return ask(t, address, host) })
}

// settled asks until kube-proxy on a node sends to no replica that is gone: it learns of them a moment after the API
// server, and picks one anew for each connection.
func settled(t *testing.T, address string) {
	t.Helper()
	eventually(t, time.Minute, func() error {
		for range 50 {
			if err := ask(t, address, "settled"); err != nil {
				return err
			}
		}
		return nil
	})
}

// ask sends a request on a connection of its own, which an upstream must answer.
func ask(t *testing.T, address, host string) error {
	transport := &http.Transport{DisableKeepAlives: true}
	asking := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		return err
	}
	request.Host = host
	response, err := asking.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK || !strings.Contains(string(body), fmt.Sprintf(`"host":%q`, host)) {
		return fmt.Errorf("http://%s/ for %s: %s: %s", address, host, response.Status, body)
	}
	return nil
}
