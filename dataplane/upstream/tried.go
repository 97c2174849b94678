package upstream

// maxTries is how many endpoints a Tried remembers: as many as a route may have attempts.
const maxTries = 16

// Tried are the endpoints that one exchange was sent to already. The zero value is empty; it is made to lie on the
// caller's stack.
type Tried struct {
	endpoints [maxTries]*Endpoint
	n         int
}

func (t *Tried) has(e *Endpoint) bool {
	for _, tried := range t.endpoints[:t.n] {
		if tried == e {
			return true
		}
	}
	return false
}

// Add remembers e. What comes after 16 replaces the last one.
func (t *Tried) Add(e *Endpoint) {
	if t.n == maxTries {
		t.n--
	}
	t.endpoints[t.n] = e
	t.n++
}
