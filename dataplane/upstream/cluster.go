package upstream

import (
	"math"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/balance"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/breaker"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/dial"
)

// A HealthCheck says how endpoints are asked for their health; see package health.
type HealthCheck = snapshot.HealthCheck

// The types of a HealthCheck.
const (
	CheckTCP      = snapshot.CheckTCP
	CheckHTTP     = snapshot.CheckHTTP
	CheckDisabled = snapshot.CheckDisabled
	CheckGRPC     = snapshot.CheckGRPC
)

// A Cluster is a set of endpoints and how to balance over them. It lives for as long as its ID stands in the
// configuration.
type Cluster struct {
	id       string
	owner    *Clusters
	settings atomic.Pointer[snapshot.Cluster]
	way      atomic.Pointer[dial.Way] // to the endpoints
	set      atomic.Pointer[set]

	balancing balance.State
	breaker   breaker.Breaker

	mu      sync.Mutex     // guards what follows, every store to set, and the endpoints' states
	changed func(*Cluster) // told when endpoints or check settings change; nil: nobody asks
}

func newCluster(owner *Clusters, s *snapshot.Cluster) *Cluster {
	c := &Cluster{id: s.ID, owner: owner}
	c.settings.Store(s)
	c.way.Store(dial.New(s))
	c.set.Store(c.newSet(nil, nil))
	c.setBreaker(s)
	if s.DNS == nil {
		c.SetEndpoints(s.Endpoints)
	}
	return c
}

// ID names the cluster among all.
func (c *Cluster) ID() string { return c.id }

// Settings returns the configuration that the cluster follows now. It must not be changed.
func (c *Cluster) Settings() *snapshot.Cluster { return c.settings.Load() }

// HealthCheck returns how the endpoints are to be checked now.
func (c *Cluster) HealthCheck() HealthCheck { return c.settings.Load().Health }

// OnChange makes f the one that is told when endpoints come or go, or the check's settings change. It is called with a lock
// held and must not ask the cluster for more than its Endpoints and HealthCheck. nil: nobody is told. Ask for it before
// them, and no change is missed.
func (c *Cluster) OnChange(f func(*Cluster)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changed = f
}

// Endpoints returns all endpoints, whatever their state.
func (c *Cluster) Endpoints() []*Endpoint {
	members := c.set.Load().members
	endpoints := make([]*Endpoint, len(members))
	for i, m := range members {
		endpoints[i] = m.endpoint
	}
	return endpoints
}

// Update follows changed settings. Endpoints of an equal address live on; those of a cluster with a DNS name or an origin
// stay until SetEndpoints, which may know newer ones than the snapshot.
func (c *Cluster) Update(s *snapshot.Cluster) {
	old := c.settings.Load()
	if old == s {
		return
	}
	c.settings.Store(s)
	if s.DNS == nil && s.Origin == nil {
		c.SetEndpoints(s.Endpoints)
	}
	c.setBreaker(s)
	if !dial.Same(old, s) {
		c.way.Store(dial.New(s))
		for _, m := range c.set.Load().members {
			m.endpoint.renewConns()
		}
	}
	var events []event
	c.mu.Lock()
	if old.Health != s.Health {
		for _, m := range c.set.Load().members {
			if s.Health.Type == CheckDisabled {
				events = append(events, m.endpoint.forgetChecks()...)
			}
		}
		c.announce()
	}
	if s.Passive == nil {
		for _, m := range c.set.Load().members {
			events = append(events, m.endpoint.endEjection()...)
		}
	}
	events = append(events, c.refresh()...)
	c.mu.Unlock()
	c.owner.emit(events)
}

// SetEndpoints replaces the endpoints. What is known of an equal address stays: its health, requests in flight, idle
// connections, ejection. A removed one gets no new requests; those on it are finished. An address that is listed twice
// has both weights.
func (c *Cluster) SetEndpoints(endpoints []snapshot.Endpoint) {
	c.mu.Lock()
	old := c.set.Load().members
	wanted := make(map[netip.AddrPort]member, len(endpoints)) // without their endpoints
	for _, e := range endpoints {
		addr := netip.AddrPortFrom(e.Addr.Addr().Unmap(), e.Addr.Port())
		sum := uint64(wanted[addr].weight) + uint64(e.Weight)
		wanted[addr] = member{weight: uint32(min(sum, math.MaxUint32)), zones: e.Zones}
	}
	members := make([]member, 0, len(wanted))
	var removed []*Endpoint
	// Those that stay keep their order: a resolver that shuffles its answers must not disturb the round robin.
	for _, m := range old {
		next, stays := wanted[m.endpoint.addr]
		if !stays {
			removed = append(removed, m.endpoint)
			continue
		}
		next.endpoint = m.endpoint
		members = append(members, next)
		delete(wanted, m.endpoint.addr)
	}
	added := false
	var since exchange.Nanos
	if len(old) > 0 { // else all are new: none of them is to be spared
		since = exchange.Now()
	}
	for _, e := range endpoints {
		addr := netip.AddrPortFrom(e.Addr.Addr().Unmap(), e.Addr.Port())
		if next, isNew := wanted[addr]; isNew {
			next.endpoint = newEndpoint(c, addr)
			next.endpoint.since = since
			members = append(members, next)
			delete(wanted, addr)
			added = true
		}
	}
	for _, e := range removed {
		e.remove()
	}
	var events []event
	if added || len(removed) > 0 || !slices.Equal(members, old) {
		events = c.store(members)
	}
	if added || len(removed) > 0 {
		c.announce()
	}
	c.mu.Unlock()
	for _, e := range removed {
		e.closeConns()
	}
	c.owner.emit(events)
}

// streamsPerConnection is how many requests to an endpoint that speaks HTTP/2 count as one connection.
const streamsPerConnection = 100

// setBreaker makes the circuit breaker follow s.
func (c *Cluster) setBreaker(s *snapshot.Cluster) {
	var settings *breaker.Settings
	if b := s.Breaker; b != nil {
		settings = &breaker.Settings{
			MaxRunning: b.MaxConnections, MaxPending: b.MaxPending, ErrorPercent: b.ErrorPercent, MinRequests: b.MinRequests, Open: b.Open,
		}
		if s.Protocol == snapshot.HTTP2 {
			settings.MaxRunning *= streamsPerConnection
		}
	}
	c.breaker.Configure(settings, func(from, to breaker.State) {
		c.owner.options.Log.Info("circuit breaker changed", "service", s.Service, "cluster", c.id, "from", from.String(), "to", to.String())
		c.owner.options.Observer.CircuitBreaker(c.id, to)
	})
}

// announce tells who has asked with OnChange. The caller holds c.mu.
func (c *Cluster) announce() {
	if c.changed != nil {
		c.changed(c)
	}
}

// refresh makes the balance anew, after an endpoint's state or the algorithm changed. The caller holds c.mu.
func (c *Cluster) refresh() []event { return c.store(c.set.Load().members) }

// store publishes members. The caller holds c.mu.
func (c *Cluster) store(members []member) []event {
	events := c.pardon(members)
	old := c.set.Load()
	next := c.newSet(members, old)
	c.set.Store(next)
	if (old.serving() == 0) != (next.serving() == 0) {
		c.owner.epoch.Add(1) // after the store: who sees the new number sees the new set
	}
	c.owner.version.Add(1)
	return events
}

// Pick chooses an endpoint that w, which may be nil, has not tried, whatever the circuit breaker says. Where there is none
// it says why: NoEndpoints, or NoHealthyUpstream.
func (c *Cluster) Pick(w *Choice) (*Endpoint, exchange.Reason) {
	s := c.set.Load()
	e := s.pick(w)
	if e == nil {
		return nil, s.reason()
	}
	return e, ""
}

// Counts returns how many endpoints can serve now, of how many that have a weight.
func (c *Cluster) Counts() (serving, total int) {
	s := c.set.Load()
	for _, m := range s.members {
		if m.weight > 0 {
			total++
		}
	}
	return s.serving(), total
}

// Why says why a cluster that cannot serve cannot.
func (c *Cluster) Why() exchange.Reason { return c.set.Load().reason() }

// EachServing calls yield with every endpoint that can serve.
func (c *Cluster) EachServing(yield func(*Endpoint)) {
	s := c.set.Load()
	for _, e := range s.choices {
		yield(e)
	}
	for _, e := range s.others {
		yield(e)
	}
}

// CanServe reports whether Pick finds an endpoint.
func (c *Cluster) CanServe() bool { return c.set.Load().serving() > 0 }

// close ends a cluster that left the configuration. What is in flight is finished, and a request that found the cluster
// just before still gets through.
func (c *Cluster) close() {
	c.mu.Lock()
	members := c.set.Load().members
	for _, m := range members {
		m.endpoint.remove()
	}
	c.mu.Unlock()
	for _, m := range members {
		m.endpoint.closeConns()
	}
}
