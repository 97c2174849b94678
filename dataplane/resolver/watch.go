package resolver

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// After a failure a watch asks again after minRetry, doubled each time up to maxRetry, less a random part of up to half
// so that many names, or many replicas, do not come back in step. It bounds for how long a name server that is well again goes
// unnoticed, with addresses that may have changed meanwhile (RFC 9520 §3.2 asks for a second at the least).
const (
	minRetry = time.Second
	maxRetry = 10 * time.Second
	// maxAbsent takes its place where the servers answer, and say that there is no such name or address: they are well.
	maxAbsent = 30 * time.Second
)

// Watch resolves a name now and again whenever its TTL ends, until stop is called or the Resolver is closed, and calls
// onChange in the background: with the first answer, then whenever the set of addresses is another one. While no
// address is known it is called once with an error, and again with the first answer. After that the last good answer
// stays in force whatever the servers say, NXDOMAIN included, for a fault in DNS must not take down what runs; if they
// fail for one family, that family's addresses stay.
//
// However many watch a name, it is asked for once. Calls of one onChange never overlap; it must not block. The slice is
// its own. A call under way may end after stop has returned; none begins.
func (r *Resolver) Watch(name string, onChange func([]netip.Addr, error)) (stop func()) {
	key := name
	if canonical, err := canonicalName(name); err == nil {
		key = canonical // Example.org and example.org are the same
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.watches == nil {
		return func() {}
	}
	w, ok := r.watches[key]
	if !ok {
		w = &watch{name: key, resolver: r}
		ctx, cancel := context.WithCancel(r.ctx)
		w.cancel = cancel
		r.watches[key] = w
		r.running.Go(func() { w.run(ctx) })
	}
	one := &watcher{onChange: onChange}
	w.mu.Lock()
	w.watchers = append(w.watchers, one)
	known := w.current.version > 0
	w.mu.Unlock()
	if known {
		r.running.Go(func() { one.tell(w) })
	}
	return sync.OnceFunc(func() { w.leave(one) })
}

// Watched returns how many names are followed, and how many of them could not be resolved, or not for both families, when that
// was tried last.
func (r *Resolver) Watched() (followed, failing int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.watches {
		if w.failing.Load() {
			failing++
		}
	}
	return len(r.watches), failing
}

// watch is one name that is kept fresh.
type watch struct {
	name     string
	resolver *Resolver
	cancel   context.CancelFunc

	// Only run touches these.
	known    [families][]netip.Addr
	failures int

	failing atomic.Bool // the last lookup brought nothing, or one family alone

	mu       sync.Mutex // inside Resolver.mu and watcher.telling
	watchers []*watcher
	current  state
}

// state is what watchers are told. Each change has a new version; 0 means that nothing is known, not even an error.
type state struct {
	version uint64
	addrs   []netip.Addr
	err     error
}

type watcher struct {
	onChange func([]netip.Addr, error)
	stopped  atomic.Bool

	telling sync.Mutex
	seen    uint64
}

// tell passes the newest state on, unless the watcher has it.
func (one *watcher) tell(w *watch) {
	one.telling.Lock()
	defer one.telling.Unlock()
	w.mu.Lock()
	current := w.current
	w.mu.Unlock()
	if one.stopped.Load() || current.version == one.seen || w.resolver.ctx.Err() != nil {
		return
	}
	one.seen = current.version
	one.onChange(slices.Clone(current.addrs), current.err)
}

// leave removes a watcher and ends the watch with the last one.
func (w *watch) leave(one *watcher) {
	one.stopped.Store(true)
	r := w.resolver
	r.mu.Lock()
	defer r.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watchers = slices.DeleteFunc(w.watchers, func(other *watcher) bool { return other == one })
	if len(w.watchers) == 0 {
		w.cancel()
		delete(r.watches, w.name)
	}
}

func (w *watch) run(ctx context.Context) {
	for {
		res, err := w.resolver.find(ctx, w.name)
		if ctx.Err() != nil {
			return
		}
		delay := w.take(res, err)
		w.mu.Lock()
		watchers := slices.Clone(w.watchers)
		w.mu.Unlock()
		for _, one := range watchers {
			one.tell(w)
		}
		if errors.Is(err, ErrName) {
			return // it will not become one
		}
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// take adds the outcome of a lookup to what is known and returns when to ask again.
func (w *watch) take(res result, err error) time.Duration {
	if err != nil {
		w.reportFailure(err)
		w.mu.Lock()
		if w.current.version == 0 {
			w.current = state{version: 1, err: err}
		}
		w.mu.Unlock()
		return w.retry(err)
	}
	partial := errors.Join(res.failed[:]...)
	for family, addrs := range res.addrs {
		if res.failed[family] == nil {
			w.known[family] = addrs
		}
	}
	addrs := merge(w.known)
	w.mu.Lock()
	if !slices.Equal(addrs, w.current.addrs) { // a result has an address, so an error before it is replaced
		w.current = state{version: w.current.version + 1, addrs: addrs}
	}
	w.mu.Unlock()
	if partial != nil {
		w.reportFailure(partial)
		return min(res.ttl, w.retry(partial))
	}
	w.failing.Store(false)
	if w.failures > 0 {
		w.resolver.opts.Log.Info("DNS name resolved again", "name", w.name, "failures", w.failures)
		w.failures = 0
	}
	return res.ttl
}

// reportFailure logs the first failure of a row.
func (w *watch) reportFailure(err error) {
	if w.failures > 0 {
		return
	}
	w.mu.Lock()
	kept := len(w.current.addrs)
	w.mu.Unlock()
	w.resolver.opts.Log.Info("cannot resolve a DNS name; addresses known before stay in use",
		"name", w.name, "error", strings.ReplaceAll(err.Error(), "\n", "; "), "addresses", kept)
}

// retry counts a failure and returns the pause after it.
func (w *watch) retry(err error) time.Duration {
	w.failing.Store(true)
	most := maxRetry
	if isNegative(err) {
		most = maxAbsent
	}
	pause := min(minRetry<<min(w.failures, 5), most)
	w.failures++
	return pause - rand.N(pause/2+1)
}
