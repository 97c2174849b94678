package upstream

import (
	"math/rand/v2"
	"slices"
)

// random takes any endpoint, each as likely as its weight says.
func (b *balance) random(t *Tried) *Endpoint {
	e := b.endpoints[b.draw()]
	if t == nil || !t.has(e) {
		return e
	}
	for range maxTries {
		if e = b.endpoints[b.draw()]; !t.has(e) {
			return e
		}
	}
	return b.untried(t)
}

// draw returns a place at random, by weight.
func (b *balance) draw() int {
	if b.sums == nil {
		return rand.IntN(len(b.endpoints)) //nolint:gosec // balancing keeps no secret
	}
	ticket := rand.Uint64N(b.sums[len(b.sums)-1]) //nolint:gosec // see above
	place, found := slices.BinarySearch(b.sums, ticket)
	if found { // place i has the tickets from sums[i-1] up to sums[i], without it
		place++
	}
	return place
}
