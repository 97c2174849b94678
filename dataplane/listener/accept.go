package listener

import (
	"time"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
	"github.com/pingora-proxy/pingora-proxy/dataplane/listener/door"
)

// accept takes the connections that come to one door, until the time is over that Close gives it.
func (l *Listener) accept(d *door.Door) {
	trouble := trouble{told: l.failed, log: l.log.WithValues("address", l.address)}
	take := func(a *door.Arrival) { l.take(a, &trouble) }
	for {
		over, err := d.Await(take)
		if over {
			break
		}
		if err != nil {
			// Out of descriptors, most likely. Accepting again at once would spin; those queued in the kernel wait.
			trouble.with(err)
			continue
		}
		trouble.over()
	}
	if l.isShared() {
		return // what is queued is accepted elsewhere
	}
	// On a busy machine the time may be over before this goroutine comes to accept what is queued.
	d.Rest(take)
}

// take gives a connection to its handler, or turns it away.
func (l *Listener) take(a *door.Arrival, t *trouble) {
	if !l.gate.enter() {
		l.refuse()
		if !l.silent.Load() {
			if nc, err := a.Conn(); err == nil {
				l.gate.turnAway(nc)
				return
			}
		}
		a.Reset()
		return
	}
	l.conns.Add(1)
	ended := func() {
		l.gate.leave()
		l.conns.Done()
	}
	if l.adopt != nil && l.adopt(a, ended) {
		return
	}
	nc, err := a.Conn()
	for ; err != nil && !l.closing.Load(); nc, err = a.Conn() {
		t.with(err)
	}
	if err != nil {
		a.Reset()
		ended()
		return
	}
	go func() {
		defer ended()
		l.handle(nc, a.Ends)
	}()
}

// shortageSilence is how long accepting must go well until a shortage counts as over, and how often the log is told of one
// that lasts: at the limit every connection that ends lets one in, and the next one fails.
const shortageSilence = 30 * time.Second

// trouble is what a goroutine that accepts has when that fails.
type trouble struct {
	told  func() // is told of each failure
	log   logr.Logger
	short shortage
	pause wire.Pause
}

// with notes a failure, and pauses.
func (t *trouble) with(err error) {
	t.told()
	if t.short.begins(time.Now()) {
		t.log.Error(err, "cannot accept connections for now; clients wait")
	}
	t.pause.Wait()
}

// over notes that accepting went well.
func (t *trouble) over() {
	t.pause = 0
	if !t.short.since.IsZero() && t.short.ends(time.Now()) {
		t.log.Info("connections are accepted again")
	}
}

// A shortage is a time in which connections cannot be accepted now and again.
type shortage struct {
	since, last time.Time // when the log was told, and when it was noticed last
}

// begins reports whether the log is to be told of a failure at now.
func (s *shortage) begins(now time.Time) bool {
	s.last = now
	if !s.since.IsZero() && now.Sub(s.since) < shortageSilence {
		return false
	}
	s.since = now
	return true
}

// ends reports whether the log is to be told that accepting goes well.
func (s *shortage) ends(now time.Time) bool {
	if now.Sub(s.last) < shortageSilence {
		return false
	}
	*s = shortage{}
	return true
}
