package dataplane

import (
	"cmp"
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/resolver"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// resolvePatience is how long Apply waits for names that it has not met before, unless Options say otherwise: a route
// that begins with endpoints loses nothing, and a name server that is away must not keep the rest from serving.
const resolvePatience = 2 * time.Second

// names follows the addresses of the clusters that are DNS names.
type names struct {
	resolver *resolver.Resolver
	patience time.Duration
	changed  func(cluster string)

	mu      sync.Mutex
	watches map[string]*watch // by cluster ID
}

// A watch is one cluster's name.
type watch struct {
	name  snapshot.DNSName
	stop  func()
	met   bool // Apply has waited for it, and does so once
	once  sync.Once
	first chan struct{} // closed when there is an answer, or an error

	endpoints []snapshot.Endpoint // guarded by names.mu; the last answer
}

// newNames returns names that follow nothing. changed is called when a cluster's addresses did; it must not block.
func newNames(o resolver.Options, patience time.Duration, changed func(cluster string)) *names {
	return &names{resolver: resolver.New(o), patience: cmp.Or(patience, resolvePatience), changed: changed, watches: make(map[string]*watch)}
}

// follow makes the names of clusters the ones that are followed.
func (n *names) follow(clusters []*snapshot.Cluster) {
	n.mu.Lock()
	old := n.watches
	n.watches = make(map[string]*watch)
	var ended []*watch
	for _, c := range clusters {
		if c.DNS == nil {
			continue
		}
		if w := old[c.ID]; w != nil && w.name == *c.DNS {
			n.watches[c.ID] = w
			delete(old, c.ID)
			continue
		}
		w := &watch{name: *c.DNS, first: make(chan struct{})}
		n.watches[c.ID] = w
		id := c.ID
		w.stop = n.resolver.Watch(c.DNS.Host, func(addrs []netip.Addr, err error) { n.answered(id, w, addrs, err) })
	}
	for _, w := range old {
		ended = append(ended, w)
	}
	n.mu.Unlock()
	for _, w := range ended {
		w.stop()
	}
}

// answered is told by the resolver that a name's addresses changed, or that it has none yet.
func (n *names) answered(cluster string, w *watch, addrs []netip.Addr, err error) {
	if err == nil {
		endpoints := make([]snapshot.Endpoint, 0, len(addrs))
		for _, addr := range addrs {
			endpoints = append(endpoints, snapshot.Endpoint{Addr: netip.AddrPortFrom(addr, w.name.Port), Weight: 1})
		}
		n.mu.Lock()
		w.endpoints = endpoints
		n.mu.Unlock()
	}
	w.once.Do(func() { close(w.first) })
	if err == nil {
		n.changed(cluster)
	}
}

// settle waits for the first answers of new names, within the patience for all together, and sets the endpoints of every
// name.
func (n *names) settle(ctx context.Context, set func(cluster string, endpoints []snapshot.Endpoint)) {
	ctx, cancel := context.WithTimeout(ctx, n.patience)
	defer cancel()
	n.mu.Lock()
	watches := make(map[string]*watch, len(n.watches))
	for id, w := range n.watches {
		watches[id] = w
	}
	n.mu.Unlock()
	for id, w := range watches {
		if !w.met {
			select {
			case <-w.first:
			case <-ctx.Done():
			}
			w.met = true
		}
		if endpoints := n.endpoints(id); endpoints != nil {
			set(id, endpoints)
		}
	}
}

// endpoints returns the last answer for a cluster, or nil.
func (n *names) endpoints(cluster string) []snapshot.Endpoint {
	n.mu.Lock()
	defer n.mu.Unlock()
	if w := n.watches[cluster]; w != nil {
		return w.endpoints
	}
	return nil
}

func (n *names) close() {
	n.follow(nil)
	n.resolver.Close()
}
