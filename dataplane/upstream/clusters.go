package upstream

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/codec"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/dial"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/digest"
)

const (
	defaultMaxIdle    = 1024
	defaultMaxIdleAge = 60 * time.Second
	sweepInterval     = time.Second
)

// Options are what clusters get of the process around them.
type Options struct {
	Log      logr.Logger
	Observer Observer      // nil: nobody
	Limits   codec.Limits  // of response heads
	Sweeper  *wire.Sweeper // closes what is overdue; its owner runs it
	Loops    int           // how many serve clients, each with connections of its own
	Zone     string        // where the proxy runs, for clusters that prefer endpoints of its own; empty: nobody knows

	MaxIdle    int           // idle connections per endpoint; 0: 1024
	MaxIdleAge time.Duration // after which an idle connection is closed, to the second; 0: 60 s

	// Permit and Dial are the Opener's, for health checks too.
	Permit func(addr netip.Addr) error
	Dial   func(ctx context.Context, addr netip.AddrPort) (net.Conn, error)
}

// Clusters are all that live, by ID. Apply, SetEndpoints and Close have one caller at a time.
type Clusters struct {
	options Options
	opener  dial.Opener
	epoch   atomic.Uint64 // counts how often a cluster became able or unable to serve
	version atomic.Uint64 // counts how often the endpoints of a cluster, or what they can do, changed
	round   atomic.Uint32 // of the janitor: the time, in sweepIntervals
	digest  digest.Digest // of the changes that are too many to be logged one by one

	mu    sync.Mutex
	byID  map[string]*Cluster
	order []*Cluster // as the snapshot lists them
}

// New returns Clusters without any.
func New(o Options) *Clusters {
	if o.Observer == nil {
		o.Observer = unobserved{}
	}
	if o.MaxIdle == 0 {
		o.MaxIdle = defaultMaxIdle
	}
	if o.MaxIdleAge == 0 {
		o.MaxIdleAge = defaultMaxIdleAge
	}
	return &Clusters{options: o, opener: dial.Opener{Permit: o.Permit, Dial: o.Dial}, byID: map[string]*Cluster{}}
}

// Run closes idle connections that are old, or that the endpoint has closed, and logs the digest, until ctx ends.
func (cs *Clusters) Run(ctx context.Context) {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			cs.summarise()
			return
		case <-ticker.C:
			cs.sweep()
			cs.summarise()
		}
	}
}

func (cs *Clusters) sweep() {
	round := cs.round.Add(1)
	age := uint32(max(cs.options.MaxIdleAge/sweepInterval, 1))
	for _, c := range cs.All() {
		for _, m := range c.set.Load().members {
			m.endpoint.sweep(round, age)
		}
	}
}

// Apply makes clusters the ones that live: it keeps and updates those whose ID lives already, adds new ones, and ends
// the others, whose requests in flight are finished.
func (cs *Clusters) Apply(clusters []*snapshot.Cluster) {
	if cs.Same(clusters) {
		for i, s := range clusters {
			cs.order[i].Update(s)
		}
		return
	}
	cs.mu.Lock()
	old := cs.byID
	cs.byID = make(map[string]*Cluster, len(clusters))
	cs.order = make([]*Cluster, 0, len(clusters))
	var kept []*snapshot.Cluster
	for _, s := range clusters {
		if cs.byID[s.ID] != nil {
			continue // the first of an ID counts
		}
		c := old[s.ID]
		if c != nil {
			kept = append(kept, s)
			delete(old, s.ID)
		} else {
			c = newCluster(cs, s)
		}
		cs.byID[s.ID] = c
		cs.order = append(cs.order, c)
	}
	byID := cs.byID
	cs.mu.Unlock()
	for _, s := range kept {
		byID[s.ID].Update(s)
	}
	for _, c := range old {
		c.close()
	}
}

// Same says whether the clusters that live have these IDs, in this order: then the next Apply keeps them all, and has no others.
func (cs *Clusters) Same(clusters []*snapshot.Cluster) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return slices.EqualFunc(cs.order, clusters, func(c *Cluster, s *snapshot.Cluster) bool { return c.id == s.ID })
}

// Epoch counts how often a cluster became able or unable to serve. Who compares it asks no cluster in between.
func (cs *Clusters) Epoch() uint64 { return cs.epoch.Load() }

// Version counts how often the endpoints of a cluster, or whether they can serve, changed.
func (cs *Clusters) Version() uint64 { return cs.version.Load() }

// Get returns the cluster of an ID, or nil.
func (cs *Clusters) Get(id string) *Cluster {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.byID[id]
}

// All returns the clusters in the order of the snapshot.
func (cs *Clusters) All() []*Cluster {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return slices.Clone(cs.order)
}

// SetEndpoints replaces the endpoints of a cluster and reports whether there is one of that ID.
func (cs *Clusters) SetEndpoints(id string, endpoints []snapshot.Endpoint) bool {
	c := cs.Get(id)
	if c == nil {
		return false
	}
	c.SetEndpoints(endpoints)
	return true
}

// Close closes all idle connections, and those in flight when their exchange is over.
func (cs *Clusters) Close() { cs.Apply(nil) }

// Status returns the state of every cluster, in the order of the snapshot.
func (cs *Clusters) Status() []ClusterStatus {
	var status []ClusterStatus
	for _, c := range cs.All() {
		status = append(status, c.Status())
	}
	return status
}
