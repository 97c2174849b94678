package upstream

// roundRobin takes the endpoints in turns, by their weights. position belongs to the cluster: it goes on where it was when the
// endpoints, or what is known of their health, change.
func (b *balance) roundRobin(t *Tried) *Endpoint {
	e := b.endpoints[b.turns.next(b.position)]
	if t == nil || !t.has(e) {
		return e
	}
	// A few more turns, so that what a tried endpoint gives up is spread like everything else and does not all fall to
	// its neighbour.
	for range min(len(b.endpoints), maxTries) {
		if e = b.endpoints[b.turns.next(b.position)]; !t.has(e) {
			return e
		}
	}
	return b.untried(t)
}
