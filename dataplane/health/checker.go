package health

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream"
)

// maxChecks is how many checks run at once: hundreds of endpoints that are new at the same moment must not be a burst of
// connections.
const maxChecks = 256

// A Checker checks the endpoints of the clusters that Sync told it, a goroutine for each.
type Checker struct {
	slots chan struct{} // holds a value for each check that runs

	mu       sync.Mutex
	watchers map[*upstream.Cluster]*task
	closed   bool
	running  sync.WaitGroup
}

// A task is a goroutine that can be told to end.
type task struct{ cancel context.CancelFunc }

// New returns a Checker that checks nothing until Sync.
func New() *Checker {
	return &Checker{slots: make(chan struct{}, maxChecks), watchers: map[*upstream.Cluster]*task{}}
}

// Sync makes clusters the ones that are checked. Checks of a cluster that was checked already go on undisturbed; a
// cluster's own changes, of its endpoints or its check's settings, are followed without Sync.
func (k *Checker) Sync(clusters []*upstream.Cluster) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return
	}
	keep := make(map[*upstream.Cluster]bool, len(clusters))
	for _, c := range clusters {
		keep[c] = true
		if k.watchers[c] == nil {
			k.watchers[c] = k.start(context.Background(), func(ctx context.Context) { k.watch(ctx, c) })
		}
	}
	for c, t := range k.watchers {
		if !keep[c] {
			t.cancel()
			delete(k.watchers, c)
		}
	}
}

// Close ends all checks and returns when none runs any more.
func (k *Checker) Close() {
	k.mu.Lock()
	k.closed = true
	for c, t := range k.watchers {
		t.cancel()
		delete(k.watchers, c)
	}
	k.mu.Unlock()
	k.running.Wait()
}

func (k *Checker) start(parent context.Context, run func(context.Context)) *task {
	ctx, cancel := context.WithCancel(parent)
	k.running.Go(func() {
		defer cancel()
		run(ctx)
	})
	return &task{cancel}
}

// watch keeps a check running for each endpoint of a cluster.
func (k *Checker) watch(ctx context.Context, c *upstream.Cluster) {
	running := map[*upstream.Endpoint]*task{}
	var settings upstream.HealthCheck
	for {
		changed := c.Changed()
		now := c.HealthCheck()
		wanted := map[*upstream.Endpoint]bool{}
		if now.Type != upstream.CheckDisabled {
			for _, e := range c.Endpoints() {
				wanted[e] = true
			}
		}
		for e, t := range running {
			if !wanted[e] || now != settings {
				t.cancel()
				delete(running, e)
			}
		}
		settings = now
		for e := range wanted {
			if running[e] == nil {
				running[e] = k.start(ctx, func(ctx context.Context) { k.check(ctx, e, now) })
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// check checks one endpoint, at once and then after each interval.
func (k *Checker) check(ctx context.Context, e *upstream.Endpoint, settings upstream.HealthCheck) {
	p := newProbe(e, settings)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		select {
		case <-ctx.Done():
			return
		case k.slots <- struct{}{}:
		}
		err := p.ask(ctx)
		<-k.slots
		if ctx.Err() != nil {
			return // the check was cut off: it says nothing
		}
		e.Checked(err)
		timer.Reset(jitter(settings.Interval))
	}
}

// jitter spreads checks by a tenth around their interval, so that those that began together drift apart.
func jitter(interval time.Duration) time.Duration {
	spread := interval / 10
	return interval - spread + rand.N(2*spread+1)
}
