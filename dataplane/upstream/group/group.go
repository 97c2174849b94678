package group

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/balance"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/budget"
)

// A Group is what a route balances over: clusters by weight, and others that stand in only when none of the first can
// serve.
type Group struct {
	clusters *upstream.Clusters
	settings snapshot.Balance
	members  []member          // with a weight
	asked    []asked           // for which a request may ask, whatever their weight
	single   *upstream.Cluster // the only cluster with a weight: nothing is to be chosen
	sticky   *stickiness       // nil: clients have no endpoint of their own
	state    *state
	entry    *entry // of Groups

	plan atomic.Pointer[plan]
	mu   sync.Mutex // one goroutine makes a new plan
}

type member struct {
	cluster *upstream.Cluster
	weight  uint32
	backup  bool
}

// A state outlives the Group: the next one of the same key goes on with it.
type state struct {
	position atomic.Uint64
	budget   budget.Budget
}

// A plan is the clusters that serve now, of one epoch of Clusters: a cluster that becomes able or unable to serve ends
// the epoch. Thus a request compares one number instead of asking every cluster.
type plan struct {
	epoch    uint64
	clusters []*upstream.Cluster
	weights  []uint32
	turns    balance.Rotation
	backups  bool // clusters are backups
}

func (g *Group) same(o *Group) bool {
	return slices.Equal(g.members, o.members) && slices.Equal(g.asked, o.asked) && sameBalance(g.settings, o.settings)
}

// Pick chooses an endpoint that w, which may be nil, has not tried: the one that the request is for, as Choose has found
// out, else clusters take turns by their weights. Where only tried endpoints are left in the cluster whose turn it is, or
// its circuit is open, the others are asked, the backups last. Without an endpoint the reason is NoEndpoints,
// NoHealthyUpstream or CircuitOpen.
func (g *Group) Pick(w *Choice) (*upstream.Endpoint, exchange.Reason) {
	var patience time.Duration
	if w != nil {
		w.Release()
		w.RetryAfter = 0
		patience = w.Patience
		if w.directed {
			if e := g.direct(w); e != nil {
				return e, ""
			}
		}
	}
	if g.single != nil {
		return g.single.Choose(w.base(), patience)
	}
	p := g.current()
	n := len(p.clusters)
	if n == 0 {
		return nil, g.reason()
	}
	var first int
	if w == nil || w.Tries() == 0 {
		first = p.turns.Next(&g.state.position)
	} else {
		first = p.turns.Draw() // another try is no turn; see package balance
	}
	refused := false
	for i := range n {
		e, reason := p.clusters[(first+i)%n].Choose(w.base(), patience)
		if e != nil {
			return e, ""
		}
		refused = refused || reason == exchange.CircuitOpen
		patience = 0 // who has waited for one cluster's place does not wait for another's
	}
	for _, m := range g.members {
		if m.backup && !p.backups {
			e, reason := m.cluster.Choose(w.base(), 0)
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
func (g *Group) direct(w *Choice) *upstream.Endpoint {
	if e := w.stuck; e != nil && !w.Tried(e) && e.Cluster().Enter(&w.Choice, w.Patience) {
		return e
	}
	if w.override != nil {
		e, _ := w.override.Choose(&w.Choice, w.Patience)
		return e
	}
	return nil
}

// current returns the plan of the present epoch.
func (g *Group) current() *plan {
	epoch := g.clusters.Epoch()
	p := g.plan.Load()
	if p != nil && p.epoch == epoch {
		return p
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	epoch = g.clusters.Epoch() // before the clusters are asked: what changes behind it begins another epoch
	old := g.plan.Load()
	if old != nil && old.epoch == epoch {
		return old
	}
	p = &plan{epoch: epoch}
	for _, p.backups = range [...]bool{false, true} {
		for _, m := range g.members {
			if m.backup == p.backups && m.cluster.CanServe() {
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
		if m.cluster.Why() == exchange.NoHealthyUpstream {
			return exchange.NoHealthyUpstream
		}
	}
	return exchange.NoEndpoints
}

// Healthy reports whether at least one endpoint can serve.
func (g *Group) Healthy() bool {
	return slices.ContainsFunc(g.members, func(m member) bool { return m.cluster.CanServe() })
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
		w.Hash = balance.HashAddr(client)
	}
}
