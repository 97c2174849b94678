package balance

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// A Member is an endpoint that can serve.
type Member struct {
	Load   *Load
	Weight uint32         // not 0
	Key    uint64         // that names the endpoint in every replica alike; see Hash
	Since  exchange.Nanos // when it began to serve, or to serve again; 0: it has its whole share
}

// A State is what a cluster keeps while its balances come and go.
type State struct {
	Running  atomic.Int64  // the sum of all loads
	position atomic.Uint64 // of round robin
}

// A Balance is what a cluster picks from: the endpoints that can serve now. It is made anew when an endpoint comes,
// goes, or changes its state, so that picking never meets one that must be skipped, whose share would then fall to its
// neighbour. Immutable but for the position of round robin.
type Balance struct {
	algorithm snapshot.Algorithm
	state     *State
	loads     []*Load
	weights   []uint32
	turns     Rotation // of round robin
	sums      []uint64 // running sums of weights, for draws; nil where those are equal
	table     *table   // of consistent hashing
	slow      *slow    // nil: every endpoint has its share
}

// New returns a Balance of members. What has to survive is taken over from old, which may be nil.
func New(algorithm snapshot.Algorithm, slowStart time.Duration, members []Member, state *State, old *Balance) *Balance {
	b := &Balance{algorithm: algorithm, state: state, loads: make([]*Load, len(members))}
	weights := make([]uint32, len(members))
	for i, m := range members {
		b.loads[i], weights[i] = m.Load, m.Weight
	}
	if algorithm == snapshot.ConsistentHash {
		var before *table
		if old != nil {
			before = old.table
		}
		b.table = newTable(members, before)
	} else {
		b.slow = newSlow(members, slowStart)
	}
	b.turns = NewRotation(weights) // consistent hashing too: a request may have no key
	if old != nil {
		b.turns.live.inherit(old.turns.live, b.loads, old.loads)
	}
	reduced, sum := reduce(weights)
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

// Len is how many endpoints there are.
func (b *Balance) Len() int { return len(b.loads) }

// Pick returns the place of an endpoint that t, which may be nil, does not hold, or -1. hash is the request's key; 0: it
// has none.
//
// The switch is no interface, because a call through one would move the caller's Tried to the heap.
func (b *Balance) Pick(t *Tried, hash uint64) int {
	if len(b.loads) == 0 {
		return -1
	}
	switch b.algorithm {
	case snapshot.LeastRequest:
		return b.leastRequest(t)
	case snapshot.Random:
		return b.random(t)
	case snapshot.ConsistentHash:
		if hash != 0 {
			return b.consistent(t, hash)
		}
	case snapshot.RoundRobin:
	}
	return b.roundRobin(t)
}

// roundRobin takes the endpoints in turns, by their weights. The position belongs to the cluster: it goes on where it was
// when the endpoints, or what is known of their health, change.
//
// Another try is no turn, but a draw. Of two endpoints, one of which fails, it would take the turn of the good one, and the
// next request would begin at the one that fails again: every request would be tried twice instead of every second.
func (b *Balance) roundRobin(t *Tried) int {
	if t != nil && t.n > 0 {
		return b.random(t)
	}
	i := b.turns.Next(&b.state.position)
	if b.slow == nil {
		return i
	}
	now, rising := b.slow.rising()
	for n := 0; rising && n < maxRefusals && !b.slow.takes(i, now); n++ {
		i = b.turns.Next(&b.state.position)
	}
	return i
}

// untried searches all endpoints, from a random one on.
func (b *Balance) untried(t *Tried) int {
	from := rand.IntN(len(b.loads))
	for i := range b.loads {
		if at := (from + i) % len(b.loads); t == nil || !t.Has(b.loads[at]) {
			return at
		}
	}
	return -1
}
