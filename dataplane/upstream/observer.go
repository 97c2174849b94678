package upstream

import (
	"net/netip"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/breaker"
)

// An Observer is told what happens to endpoints, for metrics and events. cluster is the cluster's ID. Its methods are
// called from many goroutines, never with a lock held.
type Observer interface {
	// EndpointHealth says that checks changed their mind about an endpoint; reason is the last check's error.
	EndpointHealth(cluster string, addr netip.AddrPort, healthy bool, reason string)
	// EndpointEjected says that an endpoint failed too many requests in a row and gets none for that long; reason is the
	// last failure's, or the status of the response.
	EndpointEjected(cluster string, addr netip.AddrPort, reason string, d time.Duration)
	// EndpointReturned says that an ejection is over.
	EndpointReturned(cluster string, addr netip.AddrPort)
	// HealthCheck says how one active check ended.
	HealthCheck(cluster string, addr netip.AddrPort, passed bool)
	// CircuitBreaker says that a cluster's circuit breaker changed its state.
	CircuitBreaker(cluster string, state breaker.State)
}

// unobserved is the Observer of who gave none.
type unobserved struct{}

func (unobserved) EndpointHealth(string, netip.AddrPort, bool, string)           {}
func (unobserved) EndpointEjected(string, netip.AddrPort, string, time.Duration) {}
func (unobserved) EndpointReturned(string, netip.AddrPort)                       {}
func (unobserved) HealthCheck(string, netip.AddrPort, bool)                      {}
func (unobserved) CircuitBreaker(string, breaker.State)                          {}
