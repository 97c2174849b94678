package dataplane

import (
	"context"
	"net/netip"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/breaker"
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

// Health counts the endpoints of each service, by Cluster.Service. One that several clusters of a service have counts once.
func (d *DataPlane) Health() map[string]snapshot.Health {
	clusters := make(map[string][]*upstream.Cluster)
	for _, c := range d.clusters.All() {
		service := c.Settings().Service
		clusters[service] = append(clusters[service], c)
	}
	counts := make(map[string]snapshot.Health, len(clusters))
	serving := make(map[netip.AddrPort]bool) // of one service: thousands of endpoints are counted every few seconds
	for service, own := range clusters {
		clear(serving)
		for _, c := range own {
			c.EachWeighted(func(addr netip.AddrPort, ok bool) { serving[addr] = serving[addr] || ok })
		}
		h := snapshot.Health{Total: len(serving)}
		for _, ok := range serving {
			if ok {
				h.Healthy++
			}
		}
		counts[service] = h
	}
	return counts
}

// observer counts what happens to endpoints, and passes ejections on.
type observer struct {
	metrics *telemetry.Metrics
	ejected chan<- ejected // nil: nobody asks
	tripped chan<- trip    // nil: nobody asks
}

// An ejected endpoint, for Options.OnEjected.
type ejected struct {
	cluster  string
	endpoint netip.AddrPort
}

// maxEjected is how many ejections may wait for OnEjected. What comes on top is left out: the request that caused it
// must not wait.
const maxEjected = 256

func (o observer) EndpointHealth(_ string, _ netip.AddrPort, healthy bool, _ string) {
	if !healthy {
		o.metrics.Eject("health_check")
	}
}

func (o observer) EndpointEjected(cluster string, endpoint netip.AddrPort, _ string, _ time.Duration) {
	o.metrics.Eject("consecutive_errors")
	select {
	case o.ejected <- ejected{cluster, endpoint}:
	default:
	}
}

// report calls tell for each ejection until ctx is over.
func report(ctx context.Context, waiting <-chan ejected, tell func(cluster string, endpoint netip.AddrPort)) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-waiting:
			tell(e.cluster, e.endpoint)
		}
	}
}

// A trip is a circuit breaker that changed its state, for Options.OnBreaker.
type trip struct {
	cluster string
	state   breaker.State
}

// CircuitBreaker implements upstream.Observer.
func (o observer) CircuitBreaker(cluster string, state breaker.State) {
	select {
	case o.tripped <- trip{cluster, state}:
	default:
	}
}

// reportTrips calls tell for each change until ctx is over.
func reportTrips(ctx context.Context, waiting <-chan trip, tell func(cluster, state string)) {
	for {
		select {
		case <-ctx.Done():
			return
		case t := <-waiting:
			tell(t.cluster, t.state.String())
		}
	}
}

// eachBreaker lists the states of circuit breakers for the metrics.
func (d *DataPlane) eachBreaker(yield func(service, cluster string, state int)) {
	d.clusters.EachBreaker(func(service, cluster string, state breaker.State) { yield(service, cluster, int(state)) })
}

func (o observer) EndpointReturned(string, netip.AddrPort) {}

func (o observer) HealthCheck(_ string, _ netip.AddrPort, passed bool) { o.metrics.HealthCheck(passed) }
