package balance

import "math/rand/v2"

// leastRequest takes the less busy of two random endpoints ("power of two choices"): nearly as even as asking all of them,
// without every request of a moment rushing to the same one. Busy is what is in flight, divided by the weight. The
// draws are weighted too, so that equally busy ones share by weight.
func (b *Balance) leastRequest(t *Tried) int {
	if len(b.loads) == 1 {
		return b.random(t)
	}
	i, j := b.drawTwo()
	if t != nil && t.n > 0 {
		switch a, z := t.Has(b.loads[i]), t.Has(b.loads[j]); {
		case a && z:
			return b.random(t)
		case a:
			return j
		case z:
			return i
		}
	}
	at, other := b.loads[i].Load(), b.loads[j].Load()
	if b.slow != nil {
		if now, rising := b.slow.rising(); rising {
			a, z := float64(b.weights[i])*b.slow.share(i, now), float64(b.weights[j])*b.slow.share(j, now)
			if float64(at)*z > float64(other)*a {
				return j
			}
			return i
		}
	}
	// at/w > other/w, without dividing
	if at*int64(b.weights[j]) > other*int64(b.weights[i]) {
		return j
	}
	return i
}

// drawTwo returns two different places at random, by weight.
func (b *Balance) drawTwo() (i, j int) {
	if b.sums == nil && b.slow == nil { // one random number does for both
		r := rand.Uint64()
		n := uint64(len(b.loads))
		i, j = scale(r&^(1<<32-1), n), scale(r<<32, n-1)
		if j >= i {
			j++
		}
		return i, j
	}
	i, j = b.drawRisen(), b.drawRisen()
	for range 3 {
		if i != j {
			return i, j
		}
		j = b.drawRisen()
	}
	if i == j {
		j = (i + 1) % len(b.loads)
	}
	return i, j
}
