package wire

import (
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// A sleeper notes that it was woken.
type sleeper struct {
	name  int
	woken *[]int
}

func (s sleeper) Wake() { *s.woken = append(*s.woken, s.name) }

func TestSweepWakesWhatIsOverdueOnce(t *testing.T) {
	s := NewSweeper()
	var woken []int
	timers := make([]Timer, 5)
	for i, at := range []exchange.Nanos{100, 101, 0, 99, 1000} {
		timers[i].Owner = sleeper{i, &woken}
		timers[i].Set(at)
		s.Add(&timers[i])
	}
	s.sweep(100)
	if want := []int{0, 3}; !slices.Equal(woken, want) {
		t.Errorf("the sweep at 100 woke %v, want %v", woken, want)
	}
	s.sweep(101)
	s.sweep(101)
	if want := []int{0, 3, 1}; !slices.Equal(woken, want) {
		t.Errorf("the sweeps at 101 woke %v, want %v", woken, want)
	}
	for i, want := range []bool{true, true, false, true, false} {
		if got := timers[i].Expired(); got != want {
			t.Errorf("timer %d: Expired is %t, want %t", i, got, want)
		}
	}
	timers[0].Set(150) // a deadline that has passed is replaced by the next
	if timers[0].Expired() {
		t.Error("a timer that was set anew has expired")
	}
	s.sweep(150)
	if want := []int{0, 3, 1, 0}; !slices.Equal(woken, want) {
		t.Errorf("the sweep at 150 woke %v, want %v", woken, want)
	}
}

func TestEase(t *testing.T) {
	s := NewSweeper()
	var woken []int
	timer := Timer{Owner: sleeper{0, &woken}}
	s.Add(&timer)
	timer.Set(10)
	timer.Ease()
	s.sweep(20)
	if len(woken) != 0 || timer.Expired() {
		t.Error("a deadline that was taken off has passed")
	}
	timer.Set(30)
	s.sweep(30)
	timer.Ease()
	if !timer.Expired() {
		t.Error("Ease hid that the deadline had passed")
	}
}

// TestRemove takes timers out in a random order: each leaves the others where they are.
func TestRemove(t *testing.T) {
	s := NewSweeper()
	var woken []int
	timers := make([]*Timer, 20)
	for i := range timers {
		timers[i] = &Timer{Owner: sleeper{i, &woken}}
		s.Add(timers[i])
	}
	left := rand.Perm(len(timers))
	for len(left) > 0 {
		s.Remove(timers[left[0]])
		left = left[1:]
		woken = woken[:0]
		for _, timer := range timers {
			timer.Set(1)
		}
		s.sweep(1)
		want := slices.Sorted(slices.Values(left))
		if got := slices.Sorted(slices.Values(woken)); !slices.Equal(got, want) {
			t.Fatalf("with %v in the sweeper, it woke %v", want, got)
		}
	}
}

// A late is a Sleeper that must not be woken once it is gone.
type late struct {
	mu   sync.Mutex
	gone bool
	bad  bool
}

func (l *late) Wake() {
	l.mu.Lock()
	l.bad = l.bad || l.gone
	l.mu.Unlock()
}

func TestNoWakeUpBeginsBehindRemove(t *testing.T) {
	s := NewSweeper()
	stop := make(chan struct{})
	var sweeping sync.WaitGroup
	sweeping.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				s.sweep(1)
			}
		}
	})
	var owners sync.WaitGroup
	for range 4 {
		owners.Go(func() {
			for range 500 {
				owner := &late{}
				timer := &Timer{Owner: owner}
				timer.Set(1)
				s.Add(timer)
				s.Remove(timer)
				owner.mu.Lock()
				owner.gone = true
				owner.mu.Unlock()
				timer.Set(1)
				owner.mu.Lock()
				if owner.bad {
					t.Error("a removed timer's owner was woken")
				}
				owner.mu.Unlock()
			}
		})
	}
	owners.Wait()
	close(stop)
	sweeping.Wait()
}

func TestRun(t *testing.T) {
	s := NewSweeper()
	none := []byte("none yet")
	s.date.Store(&none)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	woken := make(chan exchange.Nanos, 2)
	timer := Timer{Owner: wakeFunc(func() { woken <- exchange.Now() })}
	due := exchange.Now() + exchange.Nanos(2*sweepInterval)
	timer.Set(due)
	s.Add(&timer)
	select {
	case at := <-woken:
		if at < due {
			t.Errorf("woken %v before the deadline", time.Duration(due-at))
		}
	case <-time.After(patience):
		t.Fatal("not woken")
	}
	date, err := time.Parse(http.TimeFormat, string(s.Date()))
	if err != nil {
		t.Fatal(err)
	}
	if age := time.Since(date); age < 0 || age > patience {
		t.Errorf("the date is %v old", age)
	}
	cancel()
	<-done
}

type wakeFunc func()

func (f wakeFunc) Wake() { f() }

func TestDateIsThereBeforeRun(t *testing.T) {
	if _, err := time.Parse(http.TimeFormat, string(NewSweeper().Date())); err != nil {
		t.Error(err)
	}
}

// BenchmarkSweep looks at the deadlines of 10,000 connections.
func BenchmarkSweep(b *testing.B) {
	s := NewSweeper()
	timers := make([]Timer, 10000)
	for i := range timers {
		timers[i].Set(1 << 62)
		s.Add(&timers[i])
	}
	b.ReportAllocs()
	for b.Loop() {
		s.sweep(1)
	}
}
