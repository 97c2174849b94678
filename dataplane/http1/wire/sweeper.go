package wire

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// sweepInterval is how late a time-out may be noticed.
const sweepInterval = 50 * time.Millisecond

// A Sweeper ends what is overdue. A connection's deadline is a time stamp that its goroutine stores; one sweep over all
// of them wakes those that are past it. That replaces two SetDeadline calls a request, each of which takes the
// runtime's timer locks. The Sweeper also keeps the text of the Date field, which changes once a second.
type Sweeper struct {
	mu     sync.Mutex
	timers []*Timer
	date   atomic.Pointer[[]byte]
}

// A Sleeper can be woken out of a wait on its connection.
type Sleeper interface{ Wake() }

// A Timer is the deadline of one connection.
type Timer struct {
	at    atomic.Int64 // exchange.Nanos; 0: none; expired: it has passed
	place int          // in Sweeper.timers; guarded by its mutex
	Owner Sleeper
}

const expired = -1

// Set sets the deadline; 0 is none.
func (t *Timer) Set(at exchange.Nanos) { t.at.Store(int64(at)) }

// Expired reports whether the deadline has passed, and the owner was woken.
func (t *Timer) Expired() bool { return t.at.Load() == expired }

// Ease takes the deadline off, unless it has passed already: that must be seen.
func (t *Timer) Ease() {
	if at := t.at.Load(); at != expired {
		t.at.CompareAndSwap(at, 0)
	}
}

// NewSweeper returns a Sweeper that does nothing until Run.
func NewSweeper() *Sweeper {
	s := &Sweeper{}
	s.setDate(time.Now())
	return s
}

// Run sweeps until ctx ends.
func (s *Sweeper) Run(ctx context.Context) {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	second := int64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			if now.Unix() != second {
				second = now.Unix()
				s.setDate(now)
			}
			s.sweep(exchange.Now())
		}
	}
}

func (s *Sweeper) sweep(now exchange.Nanos) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.timers {
		if at := t.at.Load(); at > 0 && at <= int64(now) && t.at.CompareAndSwap(at, expired) {
			t.Owner.Wake()
		}
	}
}

// Add makes t one of the deadlines that are looked at.
func (s *Sweeper) Add(t *Timer) {
	s.mu.Lock()
	t.place = len(s.timers)
	s.timers = append(s.timers, t)
	s.mu.Unlock()
}

// Remove takes t out again. No wake-up begins after it returns.
func (s *Sweeper) Remove(t *Timer) {
	s.mu.Lock()
	last := len(s.timers) - 1
	moved := s.timers[last]
	s.timers[t.place], moved.place = moved, t.place
	s.timers[last] = nil
	s.timers = s.timers[:last]
	s.mu.Unlock()
}

func (s *Sweeper) setDate(now time.Time) {
	date := now.UTC().AppendFormat(nil, http.TimeFormat)
	s.date.Store(&date)
}

// Date returns the present time as the Date field has it (RFC 9110 §6.6.1).
func (s *Sweeper) Date() []byte { return *s.date.Load() }
