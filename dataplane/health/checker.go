package health

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream"
)

const (
	// maxChecks is how many checks run at once: hundreds of endpoints that are new at the same moment must not be a burst of
	// connections.
	maxChecks = 256

	// checksPerCore bounds how many checks begin in a second for each processor that Go uses. A TCP check costs some tens of µs
	// of CPU time, so checks take a sixth of the machine at most, however many endpoints there are and however short their
	// interval is. Where there are more of them, each is checked the less often.
	checksPerCore = 4000

	// spread is over how much time the first checks of endpoints that are new together are spread, for each of them; at most
	// over their interval.
	spread = 50 * time.Microsecond

	// pause is how long the schedule waits when something is due that may not begin yet.
	pause = 2 * time.Millisecond
)

// A Checker checks the endpoints of the clusters that Sync told it. What waits for its time costs a place in a queue, and
// no goroutine.
type Checker struct {
	mu      sync.Mutex
	watches map[*upstream.Cluster]*watch
	queue   queue
	checks  int            // that run
	budget  float64        // checks that may begin
	filled  exchange.Nanos // when the budget was
	ticking bool           // schedule runs
	wake    chan struct{}  // tells schedule that something is due earlier, or that nothing is any more
	closed  bool
	running sync.WaitGroup
	probes  sync.Pool
}

// A watch is one cluster.
type watch struct {
	settings upstream.HealthCheck
	checks   map[*upstream.Endpoint]*check
}

// A check is that of one endpoint, over and over.
type check struct {
	endpoint *upstream.Endpoint
	watch    *watch
	due      exchange.Nanos
	at       int                // its place in the queue; negative: it is not there
	cut      context.CancelFunc // ends the one that runs; nil: none does
	gone     bool
}

// New returns a Checker that checks nothing until Sync.
func New() *Checker {
	return &Checker{
		watches: map[*upstream.Cluster]*watch{}, wake: make(chan struct{}, 1),
		probes: sync.Pool{New: func() any { return new(probe) }},
	}
}

// Sync makes clusters the ones that are checked. Checks of a cluster that was checked already go on undisturbed; a
// cluster's own changes, of its endpoints or its check's settings, are followed without Sync.
func (k *Checker) Sync(clusters []*upstream.Cluster) {
	var come, gone []*upstream.Cluster
	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		return
	}
	keep := make(map[*upstream.Cluster]bool, len(clusters))
	for _, c := range clusters {
		keep[c] = true
		if k.watches[c] == nil {
			k.watches[c] = &watch{checks: map[*upstream.Endpoint]*check{}}
			come = append(come, c)
		}
	}
	for c := range k.watches {
		if !keep[c] {
			k.forget(c)
			gone = append(gone, c)
		}
	}
	k.nudge()
	k.mu.Unlock()
	// A cluster tells of changes with its own lock held: nobody asks for them while holding this one.
	for _, c := range gone {
		c.OnChange(nil)
	}
	for _, c := range come {
		c.OnChange(k.follow)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range come {
		k.adjust(c, len(come))
	}
	k.nudge()
}

// Close ends all checks and returns when none runs any more.
func (k *Checker) Close() {
	k.mu.Lock()
	k.closed = true
	for c := range k.watches {
		k.forget(c)
	}
	k.nudge()
	k.mu.Unlock()
	k.running.Wait()
}

// follow is told by a cluster that it has changed.
func (k *Checker) follow(c *upstream.Cluster) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.adjust(c, 1)
	k.nudge()
}

// adjust makes the checks of a cluster those of its endpoints now. together is how many clusters are new with it. The caller
// holds k.mu.
func (k *Checker) adjust(c *upstream.Cluster, together int) {
	w := k.watches[c]
	if w == nil {
		return
	}
	settings, endpoints := c.HealthCheck(), c.Endpoints()
	if settings.Type == upstream.CheckDisabled {
		endpoints = nil
	}
	wanted := make(map[*upstream.Endpoint]bool, len(endpoints))
	for _, e := range endpoints {
		wanted[e] = true
	}
	for e, one := range w.checks {
		if !wanted[e] || settings != w.settings {
			k.drop(one)
			delete(w.checks, e)
		}
	}
	w.settings = settings
	now := exchange.Now()
	over := min(settings.Interval, time.Duration(together*len(endpoints))*spread)
	for _, e := range endpoints {
		if w.checks[e] == nil {
			one := &check{endpoint: e, watch: w, at: -1, due: now + exchange.Nanos(rand.N(over+1))}
			w.checks[e] = one
			k.queue.push(one)
		}
	}
}

// forget drops all checks of a cluster. The caller holds k.mu.
func (k *Checker) forget(c *upstream.Cluster) {
	for _, one := range k.watches[c].checks {
		k.drop(one)
	}
	delete(k.watches, c)
}

// drop ends a check. The caller holds k.mu.
func (k *Checker) drop(one *check) {
	one.gone = true
	if one.cut != nil {
		one.cut()
	}
	if one.at >= 0 {
		k.queue.remove(one)
	}
}

// nudge lets schedule look at the queue again, and starts it where there is something to schedule. The caller holds k.mu.
func (k *Checker) nudge() {
	if !k.ticking && len(k.queue) > 0 {
		k.ticking = true
		k.running.Go(k.schedule)
		return
	}
	select {
	case k.wake <- struct{}{}:
	default: // it will look
	}
}

// schedule begins checks when they are due, until there are none.
func (k *Checker) schedule() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-k.wake:
		}
		k.mu.Lock()
		for one := k.next(); one != nil; one = k.next() {
			k.checks++
			k.running.Go(func() { k.run(one) })
		}
		if len(k.queue) == 0 {
			k.ticking = false
			k.mu.Unlock()
			return
		}
		wait := max(time.Duration(k.queue[0].due-exchange.Now()), pause)
		k.mu.Unlock()
		timer.Reset(wait)
	}
}

// next takes a check out of the queue that is due and may begin, or returns nil. The caller holds k.mu.
func (k *Checker) next() *check {
	if len(k.queue) == 0 || k.checks >= maxChecks || k.closed {
		return nil
	}
	now := exchange.Now()
	if k.queue[0].due > now {
		return nil
	}
	if rate := float64(checksPerCore * runtime.GOMAXPROCS(0)); k.budget < 1 {
		k.budget = min(maxChecks, k.budget+time.Duration(now-k.filled).Seconds()*rate)
		k.filled = now
	}
	if k.budget < 1 {
		return nil
	}
	k.budget--
	one := k.queue.pop()
	return one
}

// run makes one check, and those that are due by then.
func (k *Checker) run(one *check) {
	p := k.probes.Get().(*probe)
	for one != nil {
		k.ask(p, one)
		k.mu.Lock()
		one.cut = nil
		if !one.gone {
			one.due = exchange.Now() + exchange.Nanos(jitter(p.settings.Interval))
			k.queue.push(one)
		}
		if !k.ticking || one.at == 0 {
			k.nudge()
		}
		if one = k.next(); one == nil {
			k.checks--
		}
		k.mu.Unlock()
	}
	p.endpoint = nil
	k.probes.Put(p)
}

// ask makes one check, unless its endpoint is gone by now.
func (k *Checker) ask(p *probe, one *check) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	k.mu.Lock()
	gone := one.gone
	one.cut = cancel
	p.endpoint, p.settings = one.endpoint, one.watch.settings
	k.mu.Unlock()
	if gone {
		return
	}
	if err := p.ask(ctx); ctx.Err() == nil { // else the check was cut off: it says nothing
		one.endpoint.Checked(err)
	}
}

// jitter spreads checks by a tenth around their interval, so that those that began together drift apart.
func jitter(interval time.Duration) time.Duration {
	spread := interval / 10
	return interval - spread + rand.N(2*spread+1)
}
