package upstream

import "math/rand/v2"

// leastRequest takes the less busy of two random endpoints ("power of two choices"): nearly as even as asking all of them,
// without every request of a moment rushing to the same one. Busy is what is in flight, divided by the weight. The
// draws are weighted too, so that equally busy ones share by weight.
func (b *balance) leastRequest(t *Tried) *Endpoint {
	if len(b.endpoints) == 1 {
		return b.random(t)
	}
	i, j := b.drawTwo()
	e, other := b.endpoints[i], b.endpoints[j]
	if t != nil && t.n > 0 {
		switch a, z := t.has(e), t.has(other); {
		case a && z:
			return b.random(t)
		case a:
			return other
		case z:
			return e
		}
	}
	// a/wa > z/wz, without dividing
	if e.inFlight.Load()*int64(b.weights[j]) > other.inFlight.Load()*int64(b.weights[i]) {
		return other
	}
	return e
}

// drawTwo returns two different places at random, by weight.
func (b *balance) drawTwo() (i, j int) {
	if b.sums == nil { // one random number does for both
		r := rand.Uint64()
		n := uint64(len(b.endpoints))
		i, j = scale(r&^(1<<32-1), n), scale(r<<32, n-1)
		if j >= i {
			j++
		}
		return i, j
	}
	i, j = b.draw(), b.draw()
	for range 3 {
		if i != j {
			return i, j
		}
		j = b.draw()
	}
	if i == j {
		j = (i + 1) % len(b.endpoints)
	}
	return i, j
}
