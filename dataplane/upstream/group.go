package upstream

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/balance"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/budget"
)

// A Group is what a route balances over: clusters by weight, and others that stand in only when none of the first can
// serve.
type Group struct {
	owner    *Clusters
	settings snapshot.Balance
	members  []groupMember // with a weight
	asked    []asked       // for which a request may ask, whatever their weight
	single   *Cluster      // the only cluster with a weight: nothing is to be chosen
	sticky   *stickiness   // nil: clients have no endpoint of their own
	state    *groupState

	plan atomic.Pointer[plan]
	mu   sync.Mutex // one goroutine makes a new plan
}

type groupMember struct {
	cluster *Cluster
	weight  uint32
	backup  bool
}

// A groupState outlives the Group: the next one of the same key goes on with it.
type groupState struct {
	position atomic.Uint64
	budget   budget.Budget
}

// A plan is the clusters that serve now, of one epoch of Clusters: a cluster that becomes able or unable to serve ends
// the epoch. Thus a request compares one number instead of asking every cluster.
type plan struct {
	epoch    uint64
	clusters []*Cluster
	weights  []uint32
	turns    balance.Rotation
	backups  bool // clusters are backups
}

type groupEntry struct {
	group *Group
	asked uint64 // Clusters.applied when it was last asked for
}

// Group returns the group of a key, which names the route. It is the one that was there where the settings and the members
// are the same and their clusters live on; else its position and its budget go on. IDs that are not among the clusters
// are left out.
func (cs *Clusters) Group(key string, members []snapshot.WeightedCluster, settings snapshot.Balance) *Group {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	g := &Group{owner: cs, settings: settings}
	for _, m := range members {
		c := cs.byID[m.Cluster]
		if c == nil {
			continue
		}
		if m.Weight > 0 {
			g.members = append(g.members, groupMember{c, m.Weight, m.Backup})
			g.single = c
		}
		if m.Override != (snapshot.Override{}) {
			g.asked = append(g.asked, asked{c, m.Override})
		}
	}
	if len(g.members) > 1 {
		g.single = nil
	}
	entry := cs.groups[key]
	switch {
	case entry == nil:
		g.state = &groupState{}
		entry = &groupEntry{}
		cs.groups[key] = entry
	case entry.group.same(g):
		entry.asked = cs.applied
		return entry.group
	default:
		g.state = entry.group.state
	}
	g.sticky = newStickiness(g, cs.secret)
	entry.group, entry.asked = g, cs.applied
	return g
}

func (g *Group) same(o *Group) bool {
	return slices.Equal(g.members, o.members) && slices.Equal(g.asked, o.asked) && sameBalance(g.settings, o.settings)
}

// Pick chooses an endpoint that w, which may be nil, has not tried: the one that the request is for, as Choose has found
// out, else clusters take turns by their weights. Where only tried endpoints are left in the cluster whose turn it is, or
// its circuit is open, the others are asked, the backups last. Without an endpoint the reason is NoEndpoints,
// NoHealthyUpstream or CircuitOpen.
func (g *Group) Pick(w *Choice) (*Endpoint, exchange.Reason) {
	var patience time.Duration
	if w != nil {
		w.pass.Release()
		w.RetryAfter = 0
		patience = w.Patience
		if w.directed {
			if e := g.direct(w); e != nil {
				return e, ""
			}
		}
	}
	if g.single != nil {
		return g.single.choose(w, patience)
	}
	p := g.current()
	n := len(p.clusters)
	if n == 0 {
		return nil, g.reason()
	}
	var first int
	if w == nil || w.tried.Len() == 0 {
		first = p.turns.Next(&g.state.position)
	} else {
		first = p.turns.Draw() // another try is no turn; see package balance
	}
	refused := false
	for i := range n {
		e, reason := p.clusters[(first+i)%n].choose(w, patience)
		if e != nil {
			return e, ""
		}
		refused = refused || reason == exchange.CircuitOpen
		patience = 0 // who has waited for one cluster's place does not wait for another's
	}
	for _, m := range g.members {
		if m.backup && !p.backups {
			e, reason := m.cluster.choose(w, 0)
			if e != nil {
				return e, ""
			}
			refused = refused || reason == exchange.CircuitOpen
		}
	}
	if refused {
		return nil, exchange.CircuitOpen
	}
	return nil, g.reason()
}

// direct returns the endpoint that the request is for, or one of the cluster, or nil.
func (g *Group) direct(w *Choice) *Endpoint {
	if e := w.stuck; e != nil && !w.tried.Has(&e.inFlight) && e.cluster.enter(w, w.Patience) {
		return e
	}
	if w.override != nil {
		e, _ := w.override.choose(w, w.Patience)
		return e
	}
	return nil
}

// current returns the plan of the present epoch.
func (g *Group) current() *plan {
	epoch := g.owner.epoch.Load()
	p := g.plan.Load()
	if p != nil && p.epoch == epoch {
		return p
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	epoch = g.owner.epoch.Load() // before the clusters are asked: what changes behind it begins another epoch
	old := g.plan.Load()
	if old != nil && old.epoch == epoch {
		return old
	}
	p = &plan{epoch: epoch}
	for _, p.backups = range [...]bool{false, true} {
		for _, m := range g.members {
			if m.backup == p.backups && m.cluster.canServe() {
				p.clusters = append(p.clusters, m.cluster)
				p.weights = append(p.weights, m.weight)
			}
		}
		if len(p.clusters) > 0 {
			break
		}
	}
	if old != nil && slices.Equal(old.clusters, p.clusters) {
		p.turns = old.turns // another group's cluster changed
	} else {
		p.turns = balance.NewRotation(p.weights)
	}
	g.plan.Store(p)
	return p
}

func (g *Group) reason() exchange.Reason {
	for _, m := range g.members {
		if m.cluster.set.Load().reason() == exchange.NoHealthyUpstream {
			return exchange.NoHealthyUpstream
		}
	}
	return exchange.NoEndpoints
}

// Healthy reports whether at least one endpoint can serve.
func (g *Group) Healthy() bool {
	return slices.ContainsFunc(g.members, func(m groupMember) bool { return m.cluster.canServe() })
}

// Counts returns how many endpoints can serve now, of how many; backups are among them.
func (g *Group) Counts() (serving, total int) {
	for _, m := range g.members {
		s, t := m.cluster.Counts()
		serving, total = serving+s, total+t
	}
	return serving, total
}

// Budget is the retry budget of the route.
func (g *Group) Budget() *budget.Budget { return &g.state.budget }

// ChooseFor is Choose for connections that are no HTTP: all that is known of them is the client's address.
func (g *Group) ChooseFor(client netip.Addr, w *Choice) {
	if g.settings.HashOn == snapshot.HashClientIP {
		w.hash = balance.HashAddr(client)
	}
}
