package upstream

import (
	"net/netip"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/breaker"
)

// A ClusterStatus is the state of a cluster at one moment, for people.
type ClusterStatus struct {
	ID        string
	Service   string // its owner
	DNS       *snapshot.DNSName
	Algorithm snapshot.Algorithm
	Check     snapshot.CheckType
	Serving   int            // endpoints that can serve now
	Total     int            // endpoints that have a weight
	Breaker   *BreakerStatus // nil: there is none
	Endpoints []EndpointStatus
}

// A BreakerStatus is the state of a circuit breaker at one moment.
type BreakerStatus struct {
	State   breaker.State
	OpenFor time.Duration // until probes may come; 0: it is not open
	Running int64         // requests that hold a place
	Waiting int64         // for one
}

// An EndpointStatus is the state of an endpoint at one moment.
type EndpointStatus struct {
	Addr         netip.AddrPort
	Weight       uint32
	Serving      bool // healthy, not ejected, and has a weight
	Healthy      bool // by its checks
	Failures     int  // checks in a row that failed
	LastCheck    time.Time
	LastError    string // of a check or of a request
	LastErrorAt  time.Time
	Errors       int       // requests in a row that failed
	Ejections    int       // recent ones
	EjectedUntil time.Time // zero: it is not ejected
	InFlight     int64
	Idle         int // connections
	Requests     uint64
	Latency      telemetry.Latency // of the response's head, where there was one
}

// Took counts how long the endpoint took from the request to the response's head.
func (e *Endpoint) Took(n exchange.Nanos) { e.traffic().took.Observe(n) }

// Status returns the state of the cluster. Whether it is a backup is a matter of each route: see snapshot.WeightedCluster.
func (c *Cluster) Status() ClusterStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, settings := c.set.Load(), c.settings.Load()
	status := ClusterStatus{
		ID: c.id, Service: settings.Service, DNS: settings.DNS, Algorithm: settings.Algorithm,
		Check: settings.Health.Type, Serving: s.serving(),
		Endpoints: make([]EndpointStatus, 0, len(s.members)),
	}
	if c.breaker.On() {
		b := &BreakerStatus{}
		b.State, b.OpenFor = c.breaker.State(exchange.Now())
		b.Running, b.Waiting = c.breaker.Counts()
		status.Breaker = b
	}
	for _, m := range s.members {
		e := m.endpoint
		if m.weight > 0 {
			status.Total++
		}
		es := EndpointStatus{
			Addr: e.addr, Weight: m.weight, Serving: m.weight > 0 && e.available(), Healthy: !e.unhealthy,
			Failures: e.failures, LastCheck: e.checkedAt, Errors: int(e.errors.Load()),
			Ejections: e.ejection.count, EjectedUntil: e.ejection.until,
			InFlight: e.inFlight.Load(), Idle: e.idleConns(), Requests: e.requests.Load(),
		}
		if t := e.used.Load(); t != nil {
			es.Latency = t.took.Latency()
		}
		if last := e.lastError.Load(); last != nil {
			es.LastError, es.LastErrorAt = last.text, last.at
		}
		status.Endpoints = append(status.Endpoints, es)
	}
	return status
}

// EachWeighted calls yield with every endpoint that has a weight, and whether it can serve now. yield must not call the cluster.
func (c *Cluster) EachWeighted(yield func(addr netip.AddrPort, serving bool)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.set.Load().members {
		if m.weight > 0 {
			yield(m.endpoint.addr, m.endpoint.available())
		}
	}
}

// EachBreaker calls yield with every cluster that has a circuit breaker, and its state.
func (cs *Clusters) EachBreaker(yield func(service, cluster string, state breaker.State)) {
	for _, c := range cs.All() {
		if c.breaker.On() {
			state, _ := c.breaker.State(exchange.Now())
			yield(c.Settings().Service, c.id, state)
		}
	}
}
