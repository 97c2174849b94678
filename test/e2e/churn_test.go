package e2e

import (
	"fmt"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// testScale lets the upstreams grow and shrink.
func testScale(t *testing.T, c *cluster) {
	c.site(t)
	c.scale(t, 2)
	l := c.load(t, c.through(c.workers[0]))
	c.scale(t, 10)
	l.await(t, 500)
	l.stop(t, "upstreams grow from 2 pods to 10", loss{})

	l = c.load(t, c.through(c.workers[0]))
	c.scale(t, 1)
	c.endpointsAre(t, space, "upstream", 1)
	l.stop(t, "upstreams shrink from 10 pods to 1", loss{})
}

// testPods deletes the upstreams' pods, and kills their processes.
func testPods(t *testing.T, c *cluster) {
	c.site(t)
	l := c.load(t, c.through(c.workers[0]))
	pods, err := c.pods(t.Context(), space, client.MatchingLabels{"app": "upstream"})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range c.workers {
		for _, p := range pods[n.name] {
			c.kubectl(t, "delete", "pod", "--namespace", space, p.Name)
			c.rolledOut(t, space, "deployment/upstream")
		}
	}
	c.programmed(t, 4)
	l.stop(t, "each upstream pod is deleted", loss{})

	c.spread(t)
	l = c.load(t, c.through(c.workers[1]))
	c.run(t, "", "docker", "exec", c.workers[0].name, "pkill", "-KILL", "-x", "upstream")
	l.await(t, 500)
	c.rolledOut(t, space, "deployment/upstream")
	c.programmed(t, 4)
	// Each client has a request on its way.
	l.stop(t, "the processes of half of the upstreams are killed", loss{posts: 4, why: "which had been sent to the killed processes"})
}

// testRollout replaces all upstream pods, as a new version does.
func testRollout(t *testing.T, c *cluster) {
	c.site(t)
	l := c.load(t, c.through(c.workers[0]))
	c.kubectl(t, "rollout", "restart", "--namespace", space, "deployment/upstream")
	c.rolledOut(t, space, "deployment/upstream")
	c.programmed(t, 4)
	c.endpointsAre(t, space, "upstream", 4)
	l.stop(t, "a rolling update of the upstreams", loss{})
}

// testProxies replaces the replicas of the proxy itself.
func testProxies(t *testing.T, c *cluster) {
	c.site(t)
	c.spread(t)
	l := c.load(t, c.through(c.workers[0]))
	c.kubectl(t, "rollout", "restart", "--namespace", home, "deployment/"+release)
	c.rolledOut(t, home, "deployment/"+release)
	// The old pods have ended.
	c.endpointsAre(t, home, release, 2)
	c.programmed(t, 4)
	l.stop(t, "a rolling update of the proxy", loss{})

	c.spread(t)
	l = c.load(t, c.through(c.workers[1]))
	pods, err := c.proxies(t.Context(), home)
	if err != nil {
		t.Fatal(err)
	}
	c.kubectl(t, "delete", "pod", "--namespace", home, pods[c.workers[0].name][0].Name)
	c.rolledOut(t, home, "deployment/"+release)
	c.endpointsAre(t, home, release, 2)
	l.stop(t, "a replica of the proxy is deleted", loss{})

	c.spread(t)
	straight := c.straight(t, c.workers[1])
	ports, one := c.load(t, c.through(c.workers[1])), c.load(t, straight)
	c.run(t, "", "docker", "exec", c.workers[0].name, "pkill", "-KILL", "-x", "pingora-proxy")
	c.endpointsAre(t, home, release, 2)
	c.rolledOut(t, home, "deployment/"+release)
	c.programmed(t, 4)
	get(t, c.straight(t, c.workers[0]).address, "again")
	killed := loss{gets: -1, posts: -1, why: "what was in the killed process, and what kube-proxy sends to its pod until it serves again"}
	ports.stop(t, "the process of a replica of the proxy is killed", killed)
	one.stop(t, "the process of the other replica of the proxy is killed", loss{})
}

// endpointsAre waits until a Service has so many endpoints, none of them on its way out.
func (c *cluster) endpointsAre(t *testing.T, namespace, name string, n int) {
	t.Helper()
	eventually(t, patience, func() error { return c.endpoints(t, namespace, name, node{}, n) })
}

// endpoints complains unless a Service has n ready endpoints, of those on a node if one is named, and no others.
func (c *cluster) endpoints(t *testing.T, namespace, name string, on node, n int) error {
	var slices discoveryv1.EndpointSliceList
	labels := client.MatchingLabels{discoveryv1.LabelServiceName: name}
	if err := c.client.List(t.Context(), &slices, client.InNamespace(namespace), labels); err != nil {
		return err
	}
	ready, others := 0, 0
	for i := range slices.Items {
		for _, e := range slices.Items[i].Endpoints {
			switch {
			case on.name != "" && (e.NodeName == nil || *e.NodeName != on.name):
			case e.Conditions.Ready == nil || *e.Conditions.Ready:
				ready++
			case on.name == "":
				others++
			}
		}
	}
	if ready != n || others != 0 {
		return fmt.Errorf("%s/%s has %d ready endpoints and %d others; waiting for %d", namespace, name, ready, others, n)
	}
	return nil
}
