package dataplane

import (
	"maps"
	"net/netip"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// The endpoints of a service are counted once, whatever clusters have them, and those without a weight not at all.
func TestHealthCountsEndpointsOnce(t *testing.T) {
	d := newPlane(t)
	s := configuration("127.0.0.1:0", "127.0.0.1:1")
	cluster := func(id, service string, endpoints ...snapshot.Endpoint) *snapshot.Cluster {
		return &snapshot.Cluster{
			ID: id, Service: service, Endpoints: endpoints, Health: snapshot.HealthCheck{Type: snapshot.CheckDisabled},
		}
	}
	at := func(port uint16, weight uint32) snapshot.Endpoint {
		return snapshot.Endpoint{Addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), Weight: weight}
	}
	s.Clusters = []*snapshot.Cluster{
		cluster("a1", "a", at(1, 1), at(2, 1), at(4, 0)), cluster("b1", "b", at(1, 1)), cluster("a2", "a", at(2, 1), at(3, 1)),
		cluster("c1", "c"),
	}
	apply(t, d, s)
	want := map[string]snapshot.Health{"a": {Healthy: 3, Total: 3}, "b": {Healthy: 1, Total: 1}, "c": {}}
	if got := d.Health(); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
