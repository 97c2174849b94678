package breaker

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// second makes times of seconds.
const second = exchange.Nanos(time.Second)

// A bench is a Breaker with what it was heard to say.
type bench struct {
	Breaker
	t     *testing.T
	heard []string
}

func newBench(t *testing.T, s Settings) *bench {
	t.Helper()
	b := &bench{t: t}
	b.Configure(&s, b.hear)
	return b
}

func (b *bench) hear(from, to State) { b.heard = append(b.heard, fmt.Sprintf("%v > %v", from, to)) }

// ask makes a request that ends at once, and reports whether it was let pass.
func (b *bench) ask(now exchange.Nanos, failed bool) bool {
	b.t.Helper()
	p, wait, ok := b.Enter(now, 0)
	if !ok {
		if wait <= 0 {
			b.t.Errorf("at %d: a refusal does not say for how long", now/second)
		}
		return false
	}
	p.Report(now, failed)
	p.Release()
	return true
}

func (b *bench) asks(now exchange.Nanos, n int, failed bool) (passed int) {
	b.t.Helper()
	for range n {
		if b.ask(now, failed) {
			passed++
		}
	}
	return passed
}

func (b *bench) state(now exchange.Nanos, want State, left time.Duration) {
	b.t.Helper()
	if s, l := b.State(now); s != want || l != left {
		b.t.Errorf("at %d it is %v for %v, want %v for %v", now/second, s, l, want, left)
	}
}

var half = Settings{ErrorPercent: 50, MinRequests: 10, Open: 5 * time.Second} //nolint:gochecknoglobals // a constant

func TestOpensAndCloses(t *testing.T) {
	b := newBench(t, half)
	now := 100 * second
	b.asks(now, 5, false)
	b.asks(now, 4, true)
	b.state(now, Closed, 0) // 9 requests are too few
	b.asks(now, 1, true)
	b.state(now, Open, 5*time.Second)
	if n := b.asks(now+4*second, 20, false); n != 0 {
		t.Errorf("%d of 20 passed while it was open", n)
	}
	b.state(now+4*second, Open, time.Second)

	// Three probes, and no more while they run.
	now += 5 * second
	var probes []Pass
	for range 3 {
		p, _, ok := b.Enter(now, 0)
		if !ok {
			t.Fatal("a probe was refused")
		}
		probes = append(probes, p)
	}
	b.state(now, HalfOpen, 0)
	if b.ask(now, false) {
		t.Error("a fourth probe passed")
	}
	for i := range probes {
		b.state(now, HalfOpen, 0)
		probes[i].Report(now, false)
		probes[i].Release()
	}
	b.state(now, Closed, 0)
	if n := b.asks(now, 9, true); n != 9 {
		t.Errorf("what failed before counts still: %d of 9 passed", n)
	}
	if want := []string{"closed > open", "open > half-open", "half-open > closed"}; !slices.Equal(b.heard, want) {
		t.Errorf("heard %q, want %q", b.heard, want)
	}
}

func TestAFailingProbeOpensItAgain(t *testing.T) {
	b := newBench(t, half)
	b.asks(100*second, 10, true)
	b.ask(105*second, false)
	b.ask(105*second, true)
	b.state(105*second, Open, 5*time.Second)
	if b.ask(109*second, false) || !b.ask(110*second, false) {
		t.Error("it is not open for its time again")
	}
}

// A probe that says nothing, because its client went away, leaves its place to another; and one that never ends does not
// keep the circuit half-open for ever.
func TestSilentProbes(t *testing.T) {
	b := newBench(t, half)
	b.asks(100*second, 10, true)
	var held []Pass
	for i := range 6 {
		p, _, ok := b.Enter(105*second, 0)
		if !ok {
			t.Fatalf("probe %d was refused", i)
		}
		if i < 3 {
			p.Release()
		} else {
			held = append(held, p)
		}
	}
	if b.ask(109*second, false) {
		t.Error("more than three probes run")
	}
	if n := b.asks(110*second, 3, false); n != 3 {
		t.Errorf("%d of 3 new probes passed", n)
	}
	b.state(110*second, Closed, 0)
	held[0].Report(110*second, true) // of a round that is over
	held[1].Release()
	b.state(110*second, Closed, 0)
}

// What was let pass before says nothing about a circuit that has opened meanwhile.
func TestOldRequestsDoNotCountWhileHalfOpen(t *testing.T) {
	b := newBench(t, half)
	old, _, _ := b.Enter(100*second, 0)
	b.asks(100*second, 10, true)
	probe, _, _ := b.Enter(105*second, 0)
	old.Report(105*second, true)
	b.state(105*second, HalfOpen, 0)
	probe.Release()
	old.Release()
}

func TestTheWindowIsTenSeconds(t *testing.T) {
	for _, c := range []struct {
		after exchange.Nanos
		want  State
	}{{9, Open}, {10, Closed}, {16, Closed}, {1000, Closed}} {
		b := newBench(t, half)
		b.asks(100*second, 9, true)
		b.ask((100+c.after)*second, true)
		b.state((100+c.after)*second, c.want, map[State]time.Duration{Open: 5 * time.Second}[c.want])
	}
}

func TestPercentage(t *testing.T) {
	for _, c := range []struct {
		good, bad, percent int
		want               State
	}{{50, 50, 50, Open}, {51, 49, 50, Closed}, {0, 100, 100, Open}, {1, 99, 100, Closed}, {99, 1, 1, Open}, {100, 100, 0, Closed}} {
		b := newBench(t, Settings{ErrorPercent: c.percent, MinRequests: 1, Open: time.Second})
		b.asks(second, c.good, false)
		b.asks(second, c.bad, true)
		if s, _ := b.State(second); s != c.want {
			t.Errorf("%d of %d fail at %d %%: %v", c.bad, c.good+c.bad, c.percent, s)
		}
	}
}

func TestPlaces(t *testing.T) {
	b := newBench(t, Settings{MaxRunning: 2, MaxPending: 1})
	first, _, ok1 := b.Enter(second, 0)
	second2, _, ok2 := b.Enter(second, 0)
	if _, _, ok := b.Enter(second, 0); !ok1 || !ok2 || ok {
		t.Fatalf("%v %v %v", ok1, ok2, ok)
	}
	type result struct {
		p  Pass
		ok bool
	}
	waited := make(chan result)
	go func() {
		p, _, ok := b.Enter(second, time.Minute)
		waited <- result{p, ok}
	}()
	for b.waiting.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	if _, wait, ok := b.Enter(second, time.Minute); ok || wait != time.Second {
		t.Error("a second one waits, or is not told for how long")
	}
	first.Release()
	first.Release() // again: nothing
	r := <-waited
	if running, waiting := b.Counts(); !r.ok || running != 2 || waiting != 0 {
		t.Errorf("%v: %d run, %d wait", r.ok, running, waiting)
	}
	r.p.Release()
	second2.Release()
	if running, _ := b.Counts(); running != 0 {
		t.Errorf("%d run in the end", running)
	}
}

func TestWaitingEnds(t *testing.T) {
	b := newBench(t, Settings{MaxRunning: 1, MaxPending: 5})
	p, _, _ := b.Enter(second, 0)
	if _, _, ok := b.Enter(second, time.Millisecond); ok {
		t.Error("two run")
	}
	if _, waiting := b.Counts(); waiting != 0 {
		t.Errorf("%d wait still", waiting)
	}
	p.Release()
	if _, _, ok := b.Enter(second, 0); !ok {
		t.Error("the place was lost")
	}
}

// Changed settings keep the state, and are followed by those that wait.
func TestSurvivesChanges(t *testing.T) {
	s := half
	s.MaxRunning, s.MaxPending = 1, 10
	b := newBench(t, s)
	p, _, _ := b.Enter(second, 0)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if p, _, ok := b.Enter(second, time.Minute); ok {
				defer p.Release()
			} else {
				t.Error("refused")
			}
		})
	}
	for b.waiting.Load() < 3 {
		time.Sleep(time.Millisecond)
	}
	s.MaxRunning = 4
	b.Configure(&s, b.hear)
	wg.Wait()
	p.Release()

	b.asks(100*second, 10, true)
	s.ErrorPercent = 60
	b.Configure(&s, b.hear)
	b.state(100*second, Open, 5*time.Second)
	b.Configure(nil, nil)
	if b.On() || !b.ask(100*second, false) {
		t.Error("it is off, and refuses")
	}
	b.state(100*second, Closed, 0)
}

func TestManyAtOnce(t *testing.T) {
	b := newBench(t, Settings{MaxRunning: 3, MaxPending: 1000, ErrorPercent: 100, MinRequests: 1 << 20, Open: time.Second})
	var mu sync.Mutex
	running, most := 0, 0
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 200 {
				p, _, ok := b.Enter(second, time.Minute)
				if !ok {
					t.Error("refused")
					return
				}
				mu.Lock()
				running++
				most = max(most, running)
				mu.Unlock()
				p.Report(second, false)
				mu.Lock()
				running--
				mu.Unlock()
				p.Release()
			}
		})
	}
	wg.Wait()
	if n, waiting := b.Counts(); most > 3 || n != 0 || waiting != 0 {
		t.Errorf("%d at once; %d run and %d wait in the end", most, n, waiting)
	}
}

func TestNothingIsAllocated(t *testing.T) {
	s := half
	s.MaxRunning = 10
	for name, b := range map[string]*bench{"on": newBench(t, s), "off": {}} {
		if n := testing.AllocsPerRun(100, func() {
			p, _, _ := b.Enter(second, time.Second)
			p.Report(second, false)
			p.Release()
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	open := newBench(t, half)
	open.asks(100*second, 10, true)
	if n := testing.AllocsPerRun(100, func() { open.Enter(100*second, time.Second) }); n != 0 {
		t.Errorf("open: %v allocations", n)
	}
}

func BenchmarkBreaker(b *testing.B) {
	s := half
	s.MaxRunning = 1000
	for name, settings := range map[string]*Settings{"off": nil, "closed": &s} {
		var br Breaker
		br.Configure(settings, nil)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p, _, _ := br.Enter(second, time.Second)
				p.Report(second, false)
				p.Release()
			}
		})
	}
}
