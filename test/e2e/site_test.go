package e2e

import (
	"context"
	"fmt"
	"net"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
)

// site makes sure that the chart is installed with its own values, that ProxyService `site` is programmed, and that four
// upstream pods serve it, two on each worker as far as the scheduler agrees.
func (c *cluster) site(t *testing.T) {
	t.Helper()
	c.install(t)
	c.upstreams(t)
	c.apply(t, "direct.yaml", "--namespace", home)
	c.programmed(t, 4)
}

// upstreams makes sure of the ProxyService and the upstreams, whoever serves them.
func (c *cluster) upstreams(t *testing.T) {
	t.Helper()
	c.apply(t, "site.yaml")
	c.kubectl(t, "set", "env", "--namespace", space, "deployment/upstream", "LEDGER="+c.book.Addr())
	c.rolledOut(t, space, "deployment/upstream")
	c.kubectl(t, "wait", "--for=condition=Programmed", "--timeout=60s", "--namespace", space, "proxyservice/site")
}

// scale sets the number of upstream pods and waits until they are ready.
func (c *cluster) scale(t *testing.T, n int) {
	t.Helper()
	c.kubectl(t, "scale", "--namespace", space, "deployment/upstream", fmt.Sprintf("--replicas=%d", n))
	c.rolledOut(t, space, "deployment/upstream")
	c.programmed(t, n)
}

func (c *cluster) rolledOut(t *testing.T, namespace, workload string) {
	t.Helper()
	c.kubectl(t, "rollout", "status", "--namespace", namespace, workload, "--timeout=5m")
}

// programmed waits until the site's status shows so many healthy endpoints and every replica.
func (c *cluster) programmed(t *testing.T, endpoints int) {
	t.Helper()
	want := fmt.Sprintf("%d/%d", endpoints, endpoints)
	eventually(t, patience, func() error {
		s, err := c.proxyService(t.Context(), "site")
		if err != nil {
			return err
		}
		if err := s.condition(v1alpha1.ConditionProgrammed, "True", v1alpha1.ReasonProgrammed); err != nil {
			return err
		}
		if s.Status.EndpointsSummary != want {
			return fmt.Errorf("status.endpointsSummary is %q, want %q", s.Status.EndpointsSummary, want)
		}
		return nil
	})
}

// A service is a ProxyService as the API server has it.
type service struct{ v1alpha1.ProxyService }

func (c *cluster) proxyService(ctx context.Context, name string) (*service, error) {
	s := &service{}
	return s, c.client.Get(ctx, types.NamespacedName{Namespace: space, Name: name}, &s.ProxyService)
}

// condition complains unless the condition is this, and about the present generation.
func (s *service) condition(kind, status, reason string) error {
	for _, c := range s.Status.Conditions {
		if c.Type != kind {
			continue
		}
		if string(c.Status) != status || c.Reason != reason {
			return fmt.Errorf("%s: %s is %s/%s (%s), want %s/%s", s.Name, kind, c.Status, c.Reason, c.Message, status, reason)
		}
		if c.ObservedGeneration != s.Generation || s.Status.ObservedGeneration != s.Generation {
			return fmt.Errorf("%s: %s is about generation %d, want %d", s.Name, kind, c.ObservedGeneration, s.Generation)
		}
		return nil
	}
	return fmt.Errorf("%s: no condition %s", s.Name, kind)
}

// spread makes sure that each worker has one ready replica of the proxy and half of the upstreams.
func (c *cluster) spread(t *testing.T) {
	t.Helper()
	for namespace, workload := range map[string]string{home: "deployment/" + release, space: "deployment/upstream"} {
		labels := client.MatchingLabels{"app.kubernetes.io/name": release}
		if namespace == space {
			labels = client.MatchingLabels{"app": "upstream"}
		}
		for attempt := 0; ; attempt++ {
			pods, err := c.pods(t.Context(), namespace, labels)
			if err != nil {
				t.Fatal(err)
			}
			if a, b := len(pods[c.workers[0].name]), len(pods[c.workers[1].name]); a == b && a > 0 {
				break
			}
			if attempt == 5 {
				t.Fatalf("%s is not spread over the workers: %v", workload, pods)
			}
			// New pods are spread by the constraints of their Deployment.
			c.kubectl(t, "rollout", "restart", "--namespace", namespace, workload)
			c.rolledOut(t, namespace, workload)
		}
	}
	c.programmed(t, 4)
}

// An entry is a way from outside the cluster to the proxy.
type entry struct{ name, address string }

// through is the way through a node's port 30080, behind which kube-proxy picks a replica on any node.
func (c *cluster) through(n node) entry {
	return entry{"NodePort", net.JoinHostPort(n.address, "30080")}
}

// straight is the way to the replica on a node and to no other. It answers already.
func (c *cluster) straight(t *testing.T, n node) entry {
	t.Helper()
	port, err := c.nodePort(t.Context(), home, "direct", 80)
	if err != nil {
		t.Fatal(err)
	}
	e := entry{"one replica", net.JoinHostPort(n.address, fmt.Sprint(port))}
	get(t, e.address, "straight")
	return e
}
