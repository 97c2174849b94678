package breaker

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// probes is how many requests find out whether the endpoints are well again, before others may come.
const probes = 3

// A State is what a Breaker lets pass.
type State uint32

// The states. Their numbers are the values of the metric.
const (
	Closed   State = iota // everything
	HalfOpen              // a few probes
	Open                  // nothing
)

// String returns the state's name.
func (s State) String() string {
	switch s {
	case Closed:
		return "closed"
	case HalfOpen:
		return "half-open"
	}
	return "open"
}

// Settings bound a Breaker.
type Settings struct {
	MaxRunning   int           // requests that hold a place at the same time; 0: no limit
	MaxPending   int           // requests that wait for a place
	ErrorPercent int           // of requests that fails opens the circuit; 0: none does
	MinRequests  int           // within ten seconds, below which ErrorPercent is not looked at
	Open         time.Duration // until probes may come
}

// A Breaker is one cluster's. The zero value lets everything pass, until Configure.
type Breaker struct {
	settings atomic.Pointer[Settings] // nil: off
	changed  func(from, to State)

	state   atomic.Uint32
	until   atomic.Int64 // exchange.Nanos: when Open ends, or when probes of HalfOpen that said nothing are given up
	running atomic.Int64 // places taken
	waiting atomic.Int64 // len(queue)
	window  window

	mu     sync.Mutex // guards what follows, and transitions
	asked  int        // probes that were let pass
	passed int        // and went well
	round  uint32     // counts HalfOpens, so that a probe of an earlier one says nothing
	queue  []chan struct{}
}

// Configure makes s the settings; nil turns the Breaker off, and closes the circuit. changed is told of each change of
// state, from the goroutine of the request that brought it about, without a lock held.
func (b *Breaker) Configure(s *Settings, changed func(from, to State)) {
	b.mu.Lock()
	b.changed = changed
	old := b.settings.Load()
	if s == nil || old == nil || *old != *s {
		b.settings.Store(s)
	}
	tell := func() {}
	if s == nil || s.ErrorPercent == 0 {
		tell = b.enter(Closed)
		b.window.clear()
	}
	b.wake()
	b.mu.Unlock()
	tell()
}

// On reports whether there are settings.
func (b *Breaker) On() bool { return b.settings.Load() != nil }

// State returns the state, and, where that is Open, for how long still.
func (b *Breaker) State(now exchange.Nanos) (s State, left time.Duration) {
	s = State(b.state.Load())
	if s == Open {
		left = max(0, time.Duration(exchange.Nanos(b.until.Load())-now))
	}
	return s, left
}

// Counts returns how many requests hold a place, and how many wait for one.
func (b *Breaker) Counts() (running, waiting int64) { return b.running.Load(), b.waiting.Load() }

// Refuses reports whether the circuit is open at that time. It changes nothing.
func (b *Breaker) Refuses(now exchange.Nanos) bool {
	return State(b.state.Load()) == Open && now < exchange.Nanos(b.until.Load())
}

// A Pass is leave for one request. The zero value is none.
type Pass struct {
	of    *Breaker
	round uint32 // of a probe; 0: it is none
	place bool
}

// Enter asks for leave. Without it, wait says after how long it is worth while to ask again. Where all places are taken it
// waits up to patience for one, if few enough wait already.
func (b *Breaker) Enter(now exchange.Nanos, patience time.Duration) (p Pass, wait time.Duration, ok bool) {
	s := b.settings.Load()
	if s == nil {
		return Pass{}, 0, true
	}
	p.of = b
	if State(b.state.Load()) != Closed {
		if p.round, wait, ok = b.probe(now, s); !ok {
			return Pass{}, wait, false
		}
	}
	if s.MaxRunning > 0 {
		// Who waits already comes first.
		if (b.waiting.Load() > 0 || !b.take(s)) && !b.queueUp(s, patience) {
			p.forget()
			return Pass{}, time.Second, false
		}
		p.place = true
	}
	return p, 0, true
}

// probe asks for leave while the circuit is not closed. round is 0 where it was closed meanwhile.
func (b *Breaker) probe(now exchange.Nanos, s *Settings) (round uint32, wait time.Duration, ok bool) {
	if b.Refuses(now) { // most of those that come now, without a lock
		_, left := b.State(now)
		return 0, left, false
	}
	tell := func() {}
	b.mu.Lock()
	switch over := now >= exchange.Nanos(b.until.Load()); State(b.state.Load()) {
	case Closed:
		ok = true
	case Open, HalfOpen:
		if over { // in HalfOpen: the probes have said nothing for that long
			tell = b.halfOpen(now, s)
		}
		if b.asked < probes {
			b.asked++
			round, ok = b.round, true
		} else {
			wait = time.Second
		}
	}
	b.mu.Unlock()
	tell()
	return round, wait, ok
}

// halfOpen lets probes pass. The caller holds b.mu.
func (b *Breaker) halfOpen(now exchange.Nanos, s *Settings) func() {
	b.asked, b.passed = 0, 0
	if b.round++; b.round == 0 {
		b.round = 1
	}
	b.until.Store(int64(now + exchange.Nanos(s.Open)))
	return b.enter(HalfOpen)
}

// enter changes the state. The caller holds b.mu, and calls what it returns without.
func (b *Breaker) enter(to State) func() {
	from := State(b.state.Swap(uint32(to)))
	changed := b.changed
	if from == to || changed == nil {
		return func() {}
	}
	return func() { changed(from, to) }
}

// Report tells how a try ended. Each Pass is reported at most once; what says nothing about the endpoints is not reported.
func (p *Pass) Report(now exchange.Nanos, failed bool) {
	b := p.of
	if b == nil {
		return
	}
	s := b.settings.Load()
	if s == nil || s.ErrorPercent == 0 {
		return
	}
	if p.round != 0 {
		b.probed(p.round, now, s, failed)
		p.round = 0
		return
	}
	b.window.add(now, failed)
	if !failed || State(b.state.Load()) != Closed {
		return
	}
	requests, failures := b.window.sums(now)
	if requests < uint64(s.MinRequests) || failures*100 < requests*uint64(s.ErrorPercent) {
		return
	}
	tell := func() {}
	b.mu.Lock()
	if State(b.state.Load()) == Closed {
		tell = b.open(now, s)
	}
	b.mu.Unlock()
	tell()
}

// open refuses everything. The caller holds b.mu.
func (b *Breaker) open(now exchange.Nanos, s *Settings) func() {
	b.until.Store(int64(now + exchange.Nanos(s.Open)))
	b.window.clear() // what led here is known; the next time is judged by what comes
	return b.enter(Open)
}

// probed takes the result of a probe.
func (b *Breaker) probed(round uint32, now exchange.Nanos, s *Settings, failed bool) {
	tell := func() {}
	b.mu.Lock()
	if State(b.state.Load()) == HalfOpen && b.round == round {
		if failed {
			tell = b.open(now, s)
		} else if b.passed++; b.passed >= probes {
			tell = b.enter(Closed)
		}
	}
	b.mu.Unlock()
	tell()
}

// Release gives back what the Pass holds. A Pass is released once; the zero value may be.
func (p *Pass) Release() {
	if p.of == nil {
		return
	}
	p.forget()
	if p.place {
		p.of.leave()
	}
	*p = Pass{}
}

// forget lets another request probe in the place of one that will say nothing.
func (p *Pass) forget() {
	if p.round == 0 {
		return
	}
	b := p.of
	b.mu.Lock()
	if b.round == p.round && b.asked > 0 {
		b.asked--
	}
	b.mu.Unlock()
	p.round = 0
}
