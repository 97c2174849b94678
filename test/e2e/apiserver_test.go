package e2e

import (
	"context"
	"testing"
	"time"
)

// outage is how long the API server is away.
const outage = 2 * time.Minute

// testAPIServer freezes the API server: connections to it stay, and nothing answers.
func testAPIServer(t *testing.T, c *cluster) {
	c.site(t)
	c.spread(t)
	killed, other := c.straight(t, c.workers[0]), c.straight(t, c.workers[1])
	ports, one := c.load(t, c.through(c.workers[1])), c.load(t, other)
	frozen := true
	t.Cleanup(func() {
		if frozen {
			c.thaw(context.Background(), t)
		}
	})
	// Only this process: a frozen controller manager would believe, when it goes on, that all nodes are lost. The
	// kubelet would start an API server anew that does not answer its probes.
	c.run(t, "", "docker", "exec", c.control.name, "systemctl", "stop", "kubelet")
	c.run(t, "", "docker", "exec", c.control.name, "pkill", "-STOP", "-x", "kube-apiserver")
	during(t, outage)
	ports.stop(t, "the API server is frozen for two minutes", loss{})
	one.stop(t, "the API server is frozen for two minutes", loss{})

	// The kubelet starts the container again; the process finds no API server, and the last good configuration.
	one = c.load(t, other)
	c.run(t, "", "docker", "exec", c.workers[0].name, "pkill", "-KILL", "-x", "pingora-proxy")
	get(t, killed.address, "stale")
	again := c.load(t, killed)
	again.await(t, 500)
	again.stop(t, "a replica that was killed and started while the API server is frozen", loss{})
	one.stop(t, "the other replica meanwhile", loss{})

	ports = c.load(t, c.through(c.workers[1]))
	c.thaw(t.Context(), t)
	frozen = false
	c.ready(t)
	c.scale(t, 6)
	c.endpointsAre(t, home, release, 2)
	ports.stop(t, "the API server goes on, and upstreams grow from 4 pods to 6", loss{})
}

func (c *cluster) thaw(ctx context.Context, t *testing.T) {
	t.Helper()
	for _, command := range [][]string{{"pkill", "-CONT", "-x", "kube-apiserver"}, {"systemctl", "start", "kubelet"}} {
		if _, stderr, err := c.try(ctx, "", "docker", append([]string{"exec", c.control.name}, command...)...); err != nil {
			t.Errorf("%v: %v: %s", command, err, stderr)
		}
	}
}
