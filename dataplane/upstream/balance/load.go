package balance

import "sync/atomic"

// A Load counts what runs at one endpoint, and adds it to the sum of its cluster. It also tells endpoints apart.
type Load struct {
	n   atomic.Int64
	sum *atomic.Int64
}

// Join makes l a part of sum. It is called once, before Add.
func (l *Load) Join(sum *atomic.Int64) { l.sum = sum }

// Add counts d more.
func (l *Load) Add(d int64) {
	l.n.Add(d)
	if l.sum != nil {
		l.sum.Add(d)
	}
}

// Load returns how much runs.
func (l *Load) Load() int64 { return l.n.Load() }

// MaxTries is how many endpoints a Tried remembers: as many as a route may have attempts.
const MaxTries = 16

// Tried are the endpoints that one exchange was sent to already. The zero value is empty; it is made to lie on the
// caller's stack.
type Tried struct {
	loads [MaxTries]*Load
	n     int
}

// Len is how many there are.
func (t *Tried) Len() int { return t.n }

// Has reports whether the endpoint of that load is among them.
func (t *Tried) Has(l *Load) bool {
	for _, tried := range t.loads[:t.n] {
		if tried == l {
			return true
		}
	}
	return false
}

// Add remembers the endpoint of a load. What comes after 16 replaces the last one.
func (t *Tried) Add(l *Load) {
	if t.n == MaxTries {
		t.n--
	}
	t.loads[t.n] = l
	t.n++
}
