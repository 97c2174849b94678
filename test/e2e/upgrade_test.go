package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// testUpgrade upgrades the release from a chart with another CRD and other values, and rolls it back.
func testUpgrade(t *testing.T, c *cluster) {
	c.site(t)
	older := filepath.Join(t.TempDir(), "pingora-proxy")
	if err := os.CopyFS(older, os.DirFS(chart)); err != nil {
		t.Fatal(err)
	}
	crd := filepath.Join(older, "files", "proxyservices.yaml")
	text, err := os.ReadFile(crd)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(crd, bytes.Replace(text, []byte("\n    - pxs\n"), []byte("\n    - older\n"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	c.installFrom(t, older)
	if names := c.shortNames(t); names != `["older"]` {
		t.Fatalf("the older chart's CRD has the short names %s", names)
	}

	l := c.load(t, c.through(c.workers[0]))
	c.install(t, "--set", "logLevel=debug", "--set", "replicas=3")
	c.endpointsAre(t, home, release, 3)
	c.programmed(t, 4)
	l.stop(t, "`helm upgrade` that changes the CRD and the pods, and adds a replica", loss{})
	if names := c.shortNames(t); names != `["pxs"]` {
		t.Errorf("the upgraded CRD has the short names %s", names)
	}

	l = c.load(t, c.through(c.workers[0]))
	c.helm(t, "rollback", "--wait", "--timeout", "3m")
	c.endpointsAre(t, home, release, 2)
	c.programmed(t, 4)
	l.stop(t, "`helm rollback`", loss{})
}

// shortNames are those of the CRD.
func (c *cluster) shortNames(t *testing.T) string {
	t.Helper()
	return c.kubectl(t, "get", "crd", "proxyservices.pingora-proxy.dev", "--output=jsonpath={.spec.names.shortNames}")
}

// testUninstall removes the release. ProxyServices stay, and a later installation serves them.
func testUninstall(t *testing.T, c *cluster) {
	c.site(t)
	c.helm(t, "uninstall", "--wait", "--timeout", "3m")
	if _, err := c.proxyService(t.Context(), "site"); err != nil {
		t.Errorf("ProxyService site is gone with the release: %v", err)
	}
	for _, kind := range []string{"deployments", "services", "configmaps", "serviceaccounts", "clusterroles", "clusterrolebindings", "roles", "rolebindings"} {
		left := c.kubectl(t, "get", kind, "--all-namespaces", "--selector", "app.kubernetes.io/instance="+release, "--output", "name")
		if left != "" {
			t.Errorf("helm uninstall leaves %s", left)
		}
	}
	c.site(t)
	get(t, c.through(c.workers[0]).address, "again.example.com")
}

// testKustomize installs config/default instead of the chart.
func testKustomize(t *testing.T, c *cluster) {
	const namespace = "pingora-proxy-system"
	c.install(t) // which brings the CRD for what comes before the other installation
	c.upstreams(t)
	c.helm(t, "uninstall", "--wait", "--timeout", "3m")
	c.clean(t, "kubectl", "delete", "--kustomize", "../../config/default", "--ignore-not-found", "--timeout=3m")
	c.kubectl(t, "apply", "--kustomize", "../../config/default")
	c.rolledOut(t, namespace, "deployment/pingora-proxy")
	c.upstreams(t)
	c.programmed(t, 4)
	c.apply(t, "direct.yaml", "--namespace", namespace)
	pods, err := c.proxies(t.Context(), namespace)
	if err != nil {
		t.Fatal(err)
	}
	port, err := c.nodePort(t.Context(), namespace, "direct", 80)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range c.workers {
		if len(pods[n.name]) > 0 {
			get(t, net.JoinHostPort(n.address, fmt.Sprint(port)), "kustomize.example.com")
		}
	}
	// The Service of config/default follows the ProxyServices, too.
	eventually(t, time.Minute, func() error {
		var s corev1.Service
		if err := c.client.Get(t.Context(), types.NamespacedName{Namespace: namespace, Name: "pingora-proxy"}, &s); err != nil {
			return err
		}
		for _, p := range s.Spec.Ports {
			if p.Port == 80 {
				return nil
			}
		}
		return fmt.Errorf("the Service has no port 80: %v", s.Spec.Ports)
	})
}
