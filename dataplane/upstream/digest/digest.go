package digest

import "sync"

// A Change is what happened to an endpoint.
type Change int

// The changes.
const (
	BecameUnhealthy Change = iota
	BecameHealthy
	WasEjected
	HasReturned
	count
)

// MaxLines is how many changes are logged one by one, when few have been lately; each round allows More again.
const (
	MaxLines = 100
	More     = 10
)

// A Digest counts the changes that get no line of their own. Its zero value has counted none.
type Digest struct {
	mu    sync.Mutex
	lines int // that were written, less what the rounds have allowed
	last  int // the same of those that were about clusters without an endpoint
	kept  Counts
}

// Counts are numbers of changes.
type Counts [count]int

// Admits reports whether a change gets a line, and counts it where it does not. empty says that none of the cluster's endpoints
// can serve now: of such changes there are as many lines as of all others.
func (d *Digest) Admits(c Change, empty bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	lines := &d.lines
	if empty {
		lines = &d.last
	}
	if *lines >= MaxLines {
		d.kept[c]++
		return false
	}
	*lines++
	return true
}

// Next begins a round and returns what the one before has kept.
func (d *Digest) Next() (kept Counts) {
	d.mu.Lock()
	defer d.mu.Unlock()
	kept = d.kept
	d.lines, d.last, d.kept = max(0, d.lines-More), max(0, d.last-More), Counts{}
	return kept
}
