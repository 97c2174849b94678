package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// testDrain takes a worker out of use as an administrator does before maintenance.
func testDrain(t *testing.T, c *cluster) {
	c.site(t)
	c.spread(t)
	lost, stays := c.workers[0], c.workers[1]
	l := c.load(t, c.through(stays))
	c.clean(t, "kubectl", "uncordon", lost.name)
	c.kubectl(t, "drain", lost.name, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=5m")
	c.rolledOut(t, home, "deployment/"+release)
	c.rolledOut(t, space, "deployment/upstream")
	c.programmed(t, 4)
	l.stop(t, "a node is drained, with a replica of the proxy and half of the upstreams on it", loss{})
}

// testStop stops a worker, without a word to the cluster.
func testStop(t *testing.T, c *cluster) {
	gone := c.workers[0].name
	c.lose(t, "stopped", []string{"stop", gone}, []string{"start", gone})
}

// testPartition takes a worker's network away. Everything on it goes on running.
func testPartition(t *testing.T, c *cluster) {
	gone := c.workers[0].name
	network := c.run(t, "", "docker", "inspect", "--format", "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}", gone)
	network = strings.TrimSpace(network)
	c.lose(t, "cut off from the network", []string{"network", "disconnect", network, gone}, []string{"network", "connect", network, gone})
}

// lose takes the first worker away with a replica of the proxy and half of the upstreams, and gives it back. take and
// give are Docker's arguments for it.
func (c *cluster) lose(t *testing.T, how string, take, give []string) {
	t.Helper()
	c.site(t)
	c.spread(t)
	gone, stays := c.workers[0], c.workers[1]
	straight := c.straight(t, stays)
	taken := false
	back := func(ctx context.Context) {
		if !taken {
			return
		}
		taken = false
		if stdout, stderr, err := c.try(ctx, "", "docker", give...); err != nil {
			t.Fatalf("docker %v: %v\n%s%s", give, err, stdout, stderr)
		}
		c.route(ctx, t, gone)
	}
	t.Cleanup(func() { back(context.Background()) })

	// Requests that are at the lost endpoints when they go: each of the workers has one, and connections that were idle
	// until then may cost a POST each until the endpoints are known to be gone.
	inFlight := loss{posts: 16, why: "which had been sent to endpoints on that node: nobody can know whether they were carried out"}
	unnoticed := loss{gets: -1, posts: -1, why: "what kube-proxy sends to the lost replica until the cluster has noticed"}

	ports, one := c.load(t, c.through(stays)), c.load(t, straight)
	taken = true
	c.run(t, "", "docker", take...)
	eventually(t, patience, func() error { return c.noticed(t, gone) })
	settled(t, ports.entry.address)
	ports.stop(t, fmt.Sprintf("a node is %s, until the cluster has noticed", how), unnoticed)
	one.stop(t, fmt.Sprintf("a node is %s, until the cluster has noticed", how), inFlight)

	ports, one = c.load(t, c.through(stays)), c.load(t, straight)
	ports.await(t, 1000)
	// Seen with conntrack on that node: the entry of a connection that was never answered lives for two minutes.
	ports.stop(t, fmt.Sprintf("a node stays %s", how), loss{
		gets: 20, posts: 20, why: "whose port the connection tracking of the node where they enter still takes for that of a connection to the lost replica",
	})
	one.stop(t, fmt.Sprintf("a node stays %s", how), loss{})

	ports, one = c.load(t, c.through(stays)), c.load(t, straight)
	back(t.Context())
	c.ready(t)
	c.rolledOut(t, home, "deployment/"+release)
	c.rolledOut(t, space, "deployment/upstream")
	c.programmed(t, 4)
	ports.stop(t, fmt.Sprintf("a node that was %s comes back", how), loss{
		gets: -1, posts: -1, why: "what kube-proxy sends to the replica on that node before it serves again, and its connection tracking to the one that was lost",
	})
	one.stop(t, fmt.Sprintf("a node that was %s comes back", how), loss{})
}

// noticed complains until the node is not ready and kube-proxy on the other nodes has been told of no proxy on it.
func (c *cluster) noticed(t *testing.T, gone node) error {
	var n corev1.Node
	if err := c.client.Get(t.Context(), types.NamespacedName{Name: gone.name}, &n); err != nil {
		return err
	}
	for _, condition := range n.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
			return fmt.Errorf("node %s is still ready", gone.name)
		}
	}
	return c.endpoints(t, home, release, gone, 0)
}

// ready waits until every node is ready.
func (c *cluster) ready(t *testing.T) {
	t.Helper()
	eventually(t, patience, func() error {
		_, stderr, err := c.try(t.Context(), "", "kubectl", "wait", "--for=condition=Ready", "node", "--all", "--timeout=10s")
		if err != nil {
			return fmt.Errorf("%w: %s", err, stderr)
		}
		return nil
	})
}

// route gives a node its routes to the pods of the others again, which a network plug-in without a daemon does not.
func (c *cluster) route(ctx context.Context, t *testing.T, n node) {
	t.Helper()
	for _, other := range []node{c.control, c.workers[0], c.workers[1]} {
		if other == n {
			continue
		}
		if _, stderr, err := c.try(ctx, "", "docker", "exec", n.name, "ip", "route", "replace", other.podCIDR, "via", other.address); err != nil {
			t.Fatalf("routes of %s: %v: %s", n.name, err, stderr)
		}
	}
}

// during waits for as long as something shall last.
func during(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}
