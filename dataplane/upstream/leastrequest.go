package upstream

// leastRequest takes the less busy of two random endpoints ("power of two choices"): nearly as even as asking all of them,
// without every request of a moment rushing to the same one. Busy is what is in flight, divided by the weight. The
// draws are weighted too, so that equally busy ones share by weight.
func (b *balance) leastRequest(t *Tried) *Endpoint {
	if len(b.endpoints) == 1 {
		return b.firstUntried(b.endpoints[0], t)
	}
	i, j := b.draw(), b.draw()
	for range 3 {
		if i != j {
			break
		}
		j = b.draw()
	}
	if i == j {
		j = (i + 1) % len(b.endpoints)
	}
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

func (b *balance) firstUntried(e *Endpoint, t *Tried) *Endpoint {
	if t != nil && t.has(e) {
		return nil
	}
	return e
}
