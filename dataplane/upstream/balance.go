package upstream

import (
	"math/rand/v2"
	"sync/atomic"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// A balance is what a cluster picks from: the endpoints that can serve now. It is made anew when an endpoint comes,
// goes, or changes its state, so that picking never meets one that must be skipped, whose share would then fall to its
// neighbour. Immutable but for the round robin's position.
type balance struct {
	algorithm snapshot.Algorithm
	endpoints []*Endpoint
	weights   []uint32
	turns     rotation       // of round robin
	position  *atomic.Uint64 // of round robin; the cluster's
	sums      []uint64       // running sums of weights, for draws; nil where those are equal
}

func newBalance(algorithm snapshot.Algorithm, members []member, position *atomic.Uint64, old *balance) *balance {
	b := &balance{algorithm: algorithm, position: position}
	for _, m := range members {
		if m.weight > 0 && m.endpoint.available() {
			b.endpoints = append(b.endpoints, m.endpoint)
			b.weights = append(b.weights, m.weight)
		}
	}
	if algorithm == snapshot.RoundRobin {
		b.turns = newRotation(b.weights)
		if old != nil {
			b.turns.live.inherit(old.turns.live, b.endpoints, old.endpoints)
		}
	}
	reduced, sum := reduce(b.weights)
	b.weights = reduced
	if sum != uint64(len(reduced)) {
		b.sums = make([]uint64, len(reduced))
		total := uint64(0)
		for i, w := range reduced {
			total += uint64(w)
			b.sums[i] = total
		}
	}
	return b
}

// pick returns an endpoint that t does not hold, or nil.
//
// The switch is no interface, because a call through one would move the caller's Tried to the heap.
func (b *balance) pick(t *Tried) *Endpoint {
	if len(b.endpoints) == 0 {
		return nil
	}
	switch b.algorithm {
	case snapshot.LeastRequest:
		return b.leastRequest(t)
	case snapshot.Random:
		return b.random(t)
	case snapshot.RoundRobin:
	}
	return b.roundRobin(t)
}

// untried searches all endpoints, from a random one on.
func (b *balance) untried(t *Tried) *Endpoint {
	from := rand.IntN(len(b.endpoints))
	for i := range b.endpoints {
		if e := b.endpoints[(from+i)%len(b.endpoints)]; !t.has(e) {
			return e
		}
	}
	return nil
}
