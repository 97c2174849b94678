package upstream

import (
	"net/netip"
	"sync/atomic"
	"time"
)

// An Endpoint is one address of a cluster. It lives for as long as the cluster has that address.
type Endpoint struct {
	addr    netip.AddrPort
	cluster *Cluster
	idle    pool

	inFlight  atomic.Int64
	requests  atomic.Uint64
	errors    atomic.Int32 // failed requests in a row, for passive ejection
	lastError atomic.Pointer[lastError]

	// The rest is guarded by cluster.mu.
	unhealthy bool
	checked   bool // a check has ended: its result stands
	passes    int  // checks in a row that passed
	failures  int  // checks in a row that failed
	checkedAt time.Time
	ejection  ejection
}

type lastError struct {
	text string
	at   time.Time
}

func newEndpoint(c *Cluster, addr netip.AddrPort) *Endpoint {
	e := &Endpoint{addr: addr, cluster: c}
	e.idle.owner, e.idle.most = e, c.owner.options.MaxIdle
	e.idle.done = e.done
	return e
}

// Addr is the endpoint's address.
func (e *Endpoint) Addr() netip.AddrPort { return e.addr }

// InFlight returns how many exchanges run on the endpoint now, tunnels included.
func (e *Endpoint) InFlight() int64 { return e.inFlight.Load() }

// available reports whether the endpoint may be picked. The caller holds cluster.mu.
func (e *Endpoint) available() bool { return !e.unhealthy && e.ejection.timer == nil }

func (e *Endpoint) noteError(text string) {
	e.lastError.Store(&lastError{text: text, at: time.Now()})
}

// Checked tells how an active check ended; nil is a pass. The first check decides at once, so that an endpoint that was
// never up gets no requests; after it the thresholds of the cluster's HealthCheck count.
func (e *Endpoint) Checked(err error) {
	c := e.cluster
	c.owner.options.Observer.HealthCheck(c.id, e.addr, err == nil)
	var events []event
	c.mu.Lock()
	check := c.settings.Load().Health
	if check.Type == CheckDisabled { // turned off while the check ran
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
	events := []event{{kind: healthChanged, endpoint: e, healthy: healthy, reason: reason}}
	return append(events, e.cluster.refresh()...)
}

// forgetChecks makes the endpoint healthy as a new one is. The caller holds cluster.mu and refreshes the cluster.
func (e *Endpoint) forgetChecks() []event {
	was := e.unhealthy
	e.unhealthy, e.checked, e.passes, e.failures, e.checkedAt = false, false, 0, 0, time.Time{}
	if !was {
		return nil
	}
	return []event{{kind: healthChanged, endpoint: e, healthy: true, reason: "health checks were turned off"}}
}

// An event is a change that is logged and told to the Observer when no lock is held any more.
type event struct {
	kind     eventKind
	endpoint *Endpoint
	healthy  bool
	reason   string
	duration time.Duration
	count    int
}

type eventKind uint8

const (
	healthChanged eventKind = iota
	ejected
	returned
)

// emit logs events and tells the Observer.
func (cs *Clusters) emit(events []event) {
	for _, v := range events {
		c, addr := v.endpoint.cluster, v.endpoint.addr
		serving, total := c.Counts()
		log := cs.options.Log.WithValues("cluster", c.id, "endpoint", addr.String(), "serving", serving, "endpoints", total)
		switch v.kind {
		case healthChanged:
			if v.healthy {
				log.Info("endpoint is healthy again", "reason", v.reason)
			} else {
				log.Info("endpoint is unhealthy: it gets no requests", "reason", v.reason)
			}
			cs.options.Observer.EndpointHealth(c.id, addr, v.healthy, v.reason)
		case ejected:
			log.Info("endpoint is ejected: it failed too many requests in a row", "reason", v.reason,
				"seconds", v.duration.Seconds(), "ejections", v.count)
			cs.options.Observer.EndpointEjected(c.id, addr, v.reason, v.duration)
		case returned:
			log.Info("ejection is over: endpoint gets requests again")
			cs.options.Observer.EndpointReturned(c.id, addr)
		}
	}
}
