package dataplane

import (
	"net/netip"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
)

// resolved is told that a cluster's name has new addresses. It must not wait for Apply, which may be waiting for this
// very answer.
func (d *DataPlane) resolved(cluster string) {
	d.running.Go(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		// The answer is read under the lock: however these goroutines are ordered, the last one sets the newest.
		if endpoints := d.names.endpoints(cluster); endpoints != nil {
			d.clusters.SetEndpoints(cluster, endpoints)
		}
	})
}

// eachUpstream lists the health of every endpoint for the metrics.
func (d *DataPlane) eachUpstream(yield func(upstream string, healthy bool)) {
	for _, cluster := range d.clusters.Status() {
		for _, e := range cluster.Endpoints {
			yield(e.Addr.String(), e.Serving)
		}
	}
}

// observer counts what happens to endpoints.
type observer struct{ metrics *telemetry.Metrics }

func (o observer) EndpointHealth(_ string, _ netip.AddrPort, healthy bool, _ string) {
	if !healthy {
		o.metrics.Eject("health_check")
	}
}

func (o observer) EndpointEjected(_ string, _ netip.AddrPort, _ string, _ time.Duration) {
	o.metrics.Eject("consecutive_errors")
}

func (o observer) EndpointReturned(string, netip.AddrPort) {}

func (o observer) HealthCheck(_ string, _ netip.AddrPort, passed bool) { o.metrics.HealthCheck(passed) }
