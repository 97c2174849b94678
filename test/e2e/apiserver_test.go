package e2e

import (
	"context"
	"testing"
	"time"
)

// outage is how long the API server is away.
const outage = 2 * time.Minute

// testAPIServer freezes the control plane: the API server, etcd, the scheduler and the controllers.
func testAPIServer(t *testing.T, c *cluster) {
	c.site(t)
	c.spread(t)
	killed, other := c.straight(t, c.workers[0]), c.straight(t, c.workers[1])
	ports, one := c.load(t, c.through(c.workers[1])), c.load(t, other)
	frozen := true
	t.Cleanup(func() {
		if frozen {
			_, _, _ = c.try(context.Background(), "", "docker", "unpause", c.control.name)
		}
	})
	c.run(t, "", "docker", "pause", c.control.name)
	during(t, outage)
	ports.stop(t, "the control plane is frozen for two minutes", loss{})
	one.stop(t, "the control plane is frozen for two minutes", loss{})

	// The kubelet starts the container again; the process finds no API server, and the last good configuration.
	one = c.load(t, other)
	c.run(t, "", "docker", "exec", c.workers[0].name, "pkill", "-KILL", "-x", "pingora-proxy")
	get(t, killed.address, "stale")
	again := c.load(t, killed)
	again.await(t, 500)
	again.stop(t, "a replica that was started while the control plane is frozen", loss{})
	one.stop(t, "the other replica meanwhile", loss{})

	ports = c.load(t, c.through(c.workers[1]))
	c.run(t, "", "docker", "unpause", c.control.name)
	frozen = false
	c.ready(t)
	c.scale(t, 6)
	c.endpointsAre(t, home, release, 2)
	ports.stop(t, "the control plane goes on, and upstreams grow from 4 pods to 6", loss{})
}
