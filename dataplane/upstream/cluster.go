package upstream

import (
	"math"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
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
	position atomic.Uint64 // of the round robin

	mu      sync.Mutex    // guards what follows, every store to set, and the endpoints' states
	changed chan struct{} // closed and replaced when endpoints or check settings change
}

// A set is the endpoints of a cluster. It is immutable.
type set struct {
	members []member
	balance *balance
}

type member struct {
	endpoint *Endpoint
	weight   uint32
}

func newCluster(owner *Clusters, s *snapshot.Cluster) *Cluster {
	c := &Cluster{id: s.ID, owner: owner, changed: make(chan struct{})}
	c.settings.Store(s)
	c.way.Store(dial.New(s))
	c.set.Store(&set{balance: newBalance(s.Algorithm, nil, &c.position, nil)})
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

// Changed returns a channel that is closed when endpoints come or go, or the check's settings change. Ask for it before
// Endpoints and HealthCheck, and no change is missed.
func (c *Cluster) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
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
	old := c.settings.Swap(s)
	if old == s {
		return
	}
	if s.DNS == nil && s.Origin == nil {
		c.SetEndpoints(s.Endpoints)
	}
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
	weights := make(map[netip.AddrPort]uint32, len(endpoints))
	for _, e := range endpoints {
		addr := netip.AddrPortFrom(e.Addr.Addr().Unmap(), e.Addr.Port())
		sum := uint64(weights[addr]) + uint64(e.Weight)
		weights[addr] = uint32(min(sum, math.MaxUint32))
	}
	members := make([]member, 0, len(weights))
	var removed []*Endpoint
	// Those that stay keep their order: a resolver that shuffles its answers must not disturb the round robin.
	for _, m := range old {
		weight, stays := weights[m.endpoint.addr]
		if !stays {
			removed = append(removed, m.endpoint)
			continue
		}
		members = append(members, member{m.endpoint, weight})
		delete(weights, m.endpoint.addr)
	}
	added := false
	for _, e := range endpoints {
		addr := netip.AddrPortFrom(e.Addr.Addr().Unmap(), e.Addr.Port())
		if weight, isNew := weights[addr]; isNew {
			members = append(members, member{newEndpoint(c, addr), weight})
			delete(weights, addr)
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

// announce tells those who wait for Changed. The caller holds c.mu.
func (c *Cluster) announce() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// refresh makes the balance anew, after an endpoint's state or the algorithm changed. The caller holds c.mu.
func (c *Cluster) refresh() []event { return c.store(c.set.Load().members) }

// store publishes members. The caller holds c.mu.
func (c *Cluster) store(members []member) []event {
	events := c.pardon(members)
	old := c.set.Load()
	next := &set{members: members}
	next.balance = newBalance(c.settings.Load().Algorithm, members, &c.position, old.balance)
	c.set.Store(next)
	if (len(old.balance.endpoints) == 0) != (len(next.balance.endpoints) == 0) {
		c.owner.epoch.Add(1) // after the store: a group that sees the new number sees the new set
	}
	return events
}

// Pick chooses an endpoint that tried, which may be nil, does not hold. Where there is none it says why: NoEndpoints, or
// NoHealthyUpstream.
func (c *Cluster) Pick(tried *Tried) (*Endpoint, exchange.Reason) {
	s := c.set.Load()
	e := s.balance.pick(tried)
	if e == nil {
		return nil, s.reason()
	}
	return e, ""
}

func (s *set) reason() exchange.Reason {
	for _, m := range s.members {
		if m.weight > 0 {
			return exchange.NoHealthyUpstream
		}
	}
	return exchange.NoEndpoints
}

// Counts returns how many endpoints can serve now, of how many that have a weight.
func (c *Cluster) Counts() (serving, total int) {
	s := c.set.Load()
	for _, m := range s.members {
		if m.weight > 0 {
			total++
		}
	}
	return len(s.balance.endpoints), total
}

// canServe reports whether Pick finds an endpoint.
func (c *Cluster) canServe() bool { return len(c.set.Load().balance.endpoints) > 0 }

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
