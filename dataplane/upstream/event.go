package upstream

import (
	"net/netip"
	"sync"

	"github.com/go-logr/logr"
)

// A change is what happened to an endpoint.
type change int

const (
	becameUnhealthy change = iota
	becameHealthy
	wasEjected
	hasReturned
	changeCount
)

// An event is a change, to be logged and told to the Observer when no lock is held any more.
type event struct {
	endpoint *Endpoint
	change   change
	tell     func(log logr.Logger, o Observer, cluster string, addr netip.AddrPort)
}

// emit tells events: each one to the Observer, and to the log what the digest does not keep.
func (cs *Clusters) emit(events []event) {
	for _, v := range events {
		c, addr := v.endpoint.cluster, v.endpoint.addr
		serving, total := c.Counts()
		log := logr.Discard()
		if cs.digest.admits(v.change, serving == 0) {
			log = cs.options.Log.WithValues("service", c.Settings().Service, "cluster", c.id, "endpoint", addr.String(),
				"serving", serving, "endpoints", total)
		}
		v.tell(log, cs.options.Observer, c.id, addr)
	}
}

// maxLines is how many changes of endpoints are logged one by one, when few have been lately; each round of the janitor, a
// second, allows some more. A network that is cut changes thousands at once: a line for each tells nobody more, and hides
// everything else.
const (
	maxLines = 100
	more     = 10
)

// A digest counts the changes that get no line of their own.
type digest struct {
	mu    sync.Mutex
	lines int // that were written, less what the rounds have allowed
	last  int // the same of those that were about clusters without an endpoint
	kept  [changeCount]int
}

// admits reports whether a change gets a line, and counts it where it does not. empty says that none of the cluster's endpoints
// can serve now: of such changes there are as many lines as of all others.
func (d *digest) admits(c change, empty bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	lines := &d.lines
	if empty {
		lines = &d.last
	}
	if *lines >= maxLines {
		d.kept[c]++
		return false
	}
	*lines++
	return true
}

// next begins a round and returns what the one before has kept.
func (d *digest) next() (kept [changeCount]int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	kept = d.kept
	d.lines, d.last, d.kept = max(0, d.lines-more), max(0, d.last-more), [changeCount]int{}
	return kept
}

// summarise logs what had no lines in the last round, in one.
func (cs *Clusters) summarise() {
	kept := cs.digest.next()
	if kept == [changeCount]int{} {
		return
	}
	empty, all := 0, cs.All()
	for _, c := range all {
		if !c.CanServe() {
			empty++
		}
	}
	cs.options.Log.Info("more endpoints changed than are logged one by one; the admin API has the state of each",
		"unhealthy", kept[becameUnhealthy], "healthy_again", kept[becameHealthy], "ejected", kept[wasEjected], "returned", kept[hasReturned],
		"clusters", len(all), "clusters_that_cannot_serve", empty)
}
