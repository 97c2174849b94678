package upstream

// roundRobin takes the endpoints in turns, by their weights. position belongs to the cluster: it goes on where it was when the
// endpoints, or what is known of their health, change.
//
// Another try is no turn, but a draw. Of two endpoints, one of which fails, it would take the turn of the good one, and the
// next request would begin at the one that fails again: every request would be tried twice instead of every second.
func (b *balance) roundRobin(t *Tried) *Endpoint {
	if t == nil || t.n == 0 {
		return b.endpoints[b.turns.next(b.position)]
	}
	return b.random(t)
}
