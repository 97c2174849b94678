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
	since  time.Time            // of the first event
	whole  time.Time            // when what was put into its place has settled
	steps  map[string]time.Time // when what is being written has, by name
	latest time.Time            // of steps
}

// Wait returns for how long the files must be quiet from now on, when an event has come. What was written under a name that it
// does not have any more was put into its place as a whole.
func (l *Lull) Wait(now time.Time, e fsnotify.Event) time.Duration {
	if l.since.IsZero() {
		l.since, l.steps = now, map[string]time.Time{}
	}
	switch {
	case e.Has(fsnotify.Write):
		l.latest = now.Add(Settle)
		l.steps[e.Name] = l.latest
	case e.Has(fsnotify.Rename) || e.Has(fsnotify.Remove):
		l.forget(e.Name)
		fallthrough
	default:
		l.whole = now.Add(settleWhole)
	}
	until, last := l.whole, l.since.Add(patience)
	if l.latest.After(until) {
		until = l.latest
	}
	if until.After(last) {
		until = last
	}
	return until.Sub(now)
}

func (l *Lull) forget(name string) {
	until, written := l.steps[name]
	delete(l.steps, name)
	if !written || until.Before(l.latest) {
		return
	}
	l.latest = time.Time{}
	for _, other := range l.steps {
		if other.After(l.latest) {
			l.latest = other
		}
	}
}
