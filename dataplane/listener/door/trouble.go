package door

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
)

// shortageSilence is how long accepting must go well until a shortage counts as over, and how often the log is told of one
// that lasts: at the limit every connection that ends lets one in, and the next one fails.
const shortageSilence = 30 * time.Second

// Trouble is what those who accept at some Doors have when that fails. The zero value is none.
type Trouble struct {
	lasts atomic.Bool
	mu    sync.Mutex
	short shortage
}

// Notice tells the log of a failure, now and then.
func (t *Trouble) Notice(log logr.Logger, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lasts.Store(true)
	if t.short.begins(time.Now()) {
		log.Error(err, "cannot accept connections for now; clients wait")
	}
}

// Over notes that accepting went well.
func (t *Trouble) Over(log logr.Logger) {
	if !t.lasts.Load() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.short.ends(time.Now()) {
		t.lasts.Store(false)
		log.Info("connections are accepted again")
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
