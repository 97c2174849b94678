package group

import (
	"crypto/rand"
	"sync"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream"
)

// Groups are all that live, by their keys.
type Groups struct {
	clusters *upstream.Clusters
	secret   []byte // the key of cookies for which none is configured; another one in each process

	mu    sync.Mutex
	byKey map[string]*entry
}

// An entry is what lives under a key for as long as somebody needs a group of it.
type entry struct {
	key   string
	group *Group
	users int
}

// New returns Groups of clusters, without any.
func New(clusters *upstream.Clusters) *Groups {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // it never fails
	return &Groups{clusters: clusters, secret: secret, byKey: map[string]*entry{}}
}

// Get returns the group of a key, which names the route. It is the one that was there where the settings and the members
// are the same and their clusters live on; else its position and its budget go on. IDs that are not among the clusters
// are left out. Who gets a group releases it in the end.
func (gs *Groups) Get(key string, members []snapshot.WeightedCluster, settings snapshot.Balance) *Group {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g := &Group{clusters: gs.clusters, settings: settings}
	for _, m := range members {
		c := gs.clusters.Get(m.Cluster)
		if c == nil {
			continue
		}
		if m.Weight > 0 {
			g.members = append(g.members, member{c, m.Weight, m.Backup})
			g.single = c
		}
		if m.Override != (snapshot.Override{}) {
			g.asked = append(g.asked, asked{c, m.Override})
		}
	}
	if len(g.members) > 1 {
		g.single = nil
	}
	at := gs.byKey[key]
	switch {
	case at == nil:
		g.state = &state{}
		at = &entry{key: key}
		gs.byKey[key] = at
	case at.group.same(g):
		at.users++
		return at.group
	default:
		g.state = at.group.state
	}
	g.sticky = newStickiness(g, gs.secret)
	at.group, g.entry = g, at
	at.users++
	return g
}

// Holds says whether g is the group of its key, and all of its clusters live.
func (gs *Groups) Holds(g *Group) bool {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if g.entry.group != g {
		return false
	}
	for i := range g.members {
		if c := g.members[i].cluster; gs.clusters.Get(c.ID()) != c {
			return false
		}
	}
	for i := range g.asked {
		if c := g.asked[i].cluster; gs.clusters.Get(c.ID()) != c {
			return false
		}
	}
	return true
}

// Release says that one of those who have got the group does not need it any more. What nobody needs is forgotten.
func (gs *Groups) Release(g *Group) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if g.entry.users--; g.entry.users == 0 {
		delete(gs.byKey, g.entry.key)
	}
}
