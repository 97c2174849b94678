package upstream

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/budget"
)

// A Group is what a route balances over: clusters by weight, and others that stand in only when none of the first can
// serve.
type Group struct {
	owner   *Clusters
	members []groupMember
	single  *Cluster // the only cluster with a weight: nothing is to be chosen
	state   *groupState

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
	turns    rotation
	backups  bool // clusters are backups
}

type groupEntry struct {
	group *Group
	asked uint64 // Clusters.applied when it was last asked for
}

// Group returns the group of a key, which names the route. It is the one that was there where the members are the same
// and their clusters live on; else its position and its budget go on. IDs that are not among the clusters are left out.
func (cs *Clusters) Group(key string, members []snapshot.WeightedCluster) *Group {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	g := &Group{owner: cs}
	weighted := 0
	for _, m := range members {
		if c := cs.byID[m.Cluster]; c != nil && m.Weight > 0 {
			g.members = append(g.members, groupMember{c, m.Weight, m.Backup})
			g.single = c
			weighted++
		}
	}
	if weighted > 1 {
		g.single = nil
	}
	entry := cs.groups[key]
	switch {
	case entry == nil:
		g.state = &groupState{}
		entry = &groupEntry{group: g}
		cs.groups[key] = entry
	case slices.Equal(entry.group.members, g.members):
	default:
		g.state = entry.group.state
		entry.group = g
	}
	entry.asked = cs.applied
	return entry.group
}

// Pick chooses an endpoint that tried, which may be nil, does not hold. Clusters take turns by their weights. Where only tried endpoints are left in the cluster whose turn it is, the others are asked, the backups
// last. Without an endpoint the reason is NoEndpoints or NoHealthyUpstream.
func (g *Group) Pick(tried *Tried) (*Endpoint, exchange.Reason) {
	if g.single != nil {
		return g.single.Pick(tried)
	}
	p := g.current()
	n := len(p.clusters)
	if n == 0 {
		return nil, g.reason()
	}
	var first int
	if tried == nil || tried.n == 0 {
		first = p.turns.next(&g.state.position)
	} else {
		first = p.turns.draw() // another try is no turn; see roundRobin
	}
	for i := range n {
		if e, _ := p.clusters[(first+i)%n].Pick(tried); e != nil {
			return e, ""
		}
	}
	for _, m := range g.members {
		if m.backup && !p.backups {
			if e, _ := m.cluster.Pick(tried); e != nil {
				return e, ""
			}
		}
	}
	return nil, g.reason()
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
		p.turns = newRotation(p.weights)
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
