package files

import (
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// Settle is how long files must be quiet before they are read: editors and copies write in steps.
	Settle = 50 * time.Millisecond
	// settleWhole is the same after a file was put into its place as a whole, as careful writers and Kubernetes do, or was
	// taken away: nothing follows of that file, but others may.
	settleWhole = 10 * time.Millisecond
	// patience is how long files that are never quiet may put that off.
	patience = time.Second
)

// A Lull is the silence that is waited for after events. Its zero value has heard none.
type Lull struct {
	since, until time.Time // of the first event, and when all are looked at
}

// Wait returns for how long the files must be quiet from now on, when an event has come. What is written into a draft is part of
// putting a file into its place as a whole.
func (l *Lull) Wait(now time.Time, e fsnotify.Event, draft bool) time.Duration {
	if l.since.IsZero() {
		l.since = now
	}
	wait := settleWhole
	if e.Has(fsnotify.Write) && !draft {
		wait = Settle
	}
	if next := now.Add(wait); next.After(l.until) {
		l.until = next
	}
	if last := l.since.Add(patience); l.until.After(last) {
		l.until = last
	}
	return l.until.Sub(now)
}
