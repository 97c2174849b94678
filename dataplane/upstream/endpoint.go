package upstream

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/balance"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/dial"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/digest"
)

// An Endpoint is one address of a cluster. It lives for as long as the cluster has that address.
type Endpoint struct {
	addr    netip.AddrPort
	cluster *Cluster
	used    atomic.Pointer[traffic] // nil: no request was sent to it yet

	inFlight  balance.Load
	key       uint64 // for consistent hashing
	requests  atomic.Uint64
	errors    atomic.Int32 // failed requests in a row, for passive ejection
	lastError atomic.Pointer[lastError]

	// The rest is guarded by cluster.mu.
	gone      bool // removed from the cluster, or with it
	unhealthy bool
	checked   bool // a check has ended: its result stands
	passes    int  // checks in a row that passed
	failures  int  // checks in a row that failed
	checkedAt time.Time
	ejection  ejection
	since     exchange.Nanos // when it came to others, or was well again; 0: it was here from the start
}

type lastError struct {
	text string
	at   time.Time
}

func newEndpoint(c *Cluster, addr netip.AddrPort) *Endpoint {
	e := &Endpoint{addr: addr, cluster: c, key: balance.KeyOf(addr)}
	e.inFlight.Join(&c.balancing.Running)
	return e
}

// Addr is the endpoint's address.
func (e *Endpoint) Addr() netip.AddrPort { return e.addr }

// Cluster is what the endpoint belongs to.
func (e *Endpoint) Cluster() *Cluster { return e.cluster }

// InFlight returns how many exchanges run on the endpoint now, tunnels included.
func (e *Endpoint) InFlight() int64 { return e.inFlight.Load() }

// available reports whether the endpoint may be picked. The caller holds cluster.mu.
func (e *Endpoint) available() bool { return !e.unhealthy && e.ejection.timer == nil }

func (e *Endpoint) noteError(text string) {
	e.lastError.Store(&lastError{text: text, at: time.Now()})
}

// Checked tells how an active check ended; nil is a pass. The first check decides at once, so that an endpoint that was
// never up gets no requests; after it the thresholds of the cluster's HealthCheck count. A check that could not even be made,
// because this machine ran out of something, changes nothing.
func (e *Endpoint) Checked(err error) {
	c := e.cluster
	c.owner.options.Observer.HealthCheck(c.id, e.addr, err == nil)
	if err != nil && dial.Exhausted(err) { // it says nothing about the endpoint
		e.noteError(err.Error())
		return
	}
	var events []event
	c.mu.Lock()
	check := c.settings.Load().Health
	if check.Type == CheckDisabled || e.gone { // turned off or removed while the check ran
		c.mu.Unlock()
		return
	}
	first := !e.checked
	e.checked, e.checkedAt = true, time.Now()
	if err == nil {
		e.passes, e.failures = e.passes+1, 0
		if e.unhealthy && e.passes >= check.HealthyThreshold {
			events = e.setHealth(true, "")
		}
	} else {
		e.passes, e.failures = 0, e.failures+1
		e.noteError(err.Error())
		if !e.unhealthy && (first || e.failures >= check.UnhealthyThreshold) {
			events = e.setHealth(false, err.Error())
		}
	}
	c.mu.Unlock()
	c.owner.emit(events)
}

// setHealth changes the endpoint's health. The caller holds cluster.mu.
func (e *Endpoint) setHealth(healthy bool, reason string) []event {
	e.unhealthy = !healthy
	if healthy {
		e.since = exchange.Now()
	}
	return append(e.healthChanged(healthy, reason), e.cluster.refresh()...)
}

// remove ends the endpoint's states; its requests in flight go on. The caller holds cluster.mu and calls closeConns then.
func (e *Endpoint) remove() {
	e.gone = true
	e.stopEjection()
}

// forgetChecks makes the endpoint healthy as a new one is. The caller holds cluster.mu and refreshes the cluster.
func (e *Endpoint) forgetChecks() []event {
	was := e.unhealthy
	e.unhealthy, e.checked, e.passes, e.failures, e.checkedAt = false, false, 0, 0, time.Time{}
	if !was {
		return nil
	}
	return e.healthChanged(true, "health checks were turned off")
}

func (e *Endpoint) healthChanged(healthy bool, reason string) []event {
	kind := digest.BecameUnhealthy
	if healthy {
		kind = digest.BecameHealthy
	}
	return []event{{e, kind, func(log logr.Logger, o Observer, cluster string, addr netip.AddrPort) {
		if healthy {
			log.Info("endpoint is healthy again", "reason", reason)
		} else {
			log.Info("endpoint is unhealthy: it gets no requests", "reason", reason)
		}
		o.EndpointHealth(cluster, addr, healthy, reason)
	}}}
}
