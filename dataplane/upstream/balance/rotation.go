package balance

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	// maxOrder is the longest order that is worked out in advance; a weight is then worth an atomic addition.
	maxOrder = 4096
	// maxOrderWork bounds the steps that working it out takes, to a few milliseconds.
	maxOrderWork = 1 << 22
)

// A Rotation visits n places in turns, each as often as its weight says: exactly so in every stretch as long as the sum
// of the weights (divided by their greatest common divisor), and as evenly spread as smooth weighted round robin makes
// it (nginx's algorithm: every place gains its weight, the richest is visited and pays the sum).
//
// It holds no position: that is the caller's, and outlives it.
type Rotation struct {
	n     int
	order []uint16 // of one whole turn; nil where the weights are equal, or live decides
	live  *smooth  // for weights whose turn is too long to be worked out
}

// NewRotation returns the Rotation over places of these weights, none of them 0.
func NewRotation(weights []uint32) Rotation {
	r := Rotation{n: len(weights)}
	reduced, sum := reduce(weights)
	switch {
	case sum == uint64(len(reduced)): // all 1
	case sum <= maxOrder && sum*uint64(len(reduced)) <= maxOrderWork:
		s := smooth{weights: reduced, sum: int64(sum), credit: make([]int64, len(reduced))}
		r.order = make([]uint16, sum)
		for i := range r.order {
			r.order[i] = uint16(s.step())
		}
	default:
		r.live = &smooth{weights: reduced, sum: int64(sum), credit: make([]int64, len(reduced))}
	}
	return r
}

// Next returns the place to visit and moves position on. The Rotation is not empty.
func (r *Rotation) Next(position *atomic.Uint64) int {
	if r.live != nil {
		return r.live.next()
	}
	at := position.Add(1) - 1
	if r.order != nil {
		return int(r.order[at%uint64(len(r.order))])
	}
	if r.n == 1 {
		return 0
	}
	return int(at % uint64(r.n))
}

// Draw returns a place at random, as likely as its weight says, and leaves the position. (That of live it moves on: one
// turn of thousands.) The Rotation is not empty.
func (r *Rotation) Draw() int {
	var anywhere atomic.Uint64
	anywhere.Store(rand.Uint64())
	return r.Next(&anywhere)
}

// A smooth is the state of nginx's algorithm.
type smooth struct {
	mu      sync.Mutex
	weights []uint32
	sum     int64
	credit  []int64
}

func (s *smooth) next() int {
	s.mu.Lock()
	i := s.step()
	s.mu.Unlock()
	return i
}

func (s *smooth) step() int {
	best := 0
	for i, w := range s.weights {
		s.credit[i] += int64(w)
		if s.credit[i] > s.credit[best] {
			best = i
		}
	}
	s.credit[best] -= s.sum
	return best
}

// inherit takes over the credits of the places whose endpoints were in old too. One whose weight changed begins anew,
// lest it starves for a debt of its old weight.
func (s *smooth) inherit(old *smooth, loads, before []*Load) {
	if s == nil || old == nil {
		return
	}
	place := make(map[*Load]int, len(before))
	for i, e := range before {
		place[e] = i
	}
	old.mu.Lock()
	defer old.mu.Unlock()
	for i, e := range loads {
		if j, ok := place[e]; ok && s.weights[i] == old.weights[j] {
			s.credit[i] = old.credit[j]
		}
	}
}

// reduce divides weights by their greatest common divisor.
func reduce(weights []uint32) (reduced []uint32, sum uint64) {
	var divisor uint32
	for _, w := range weights {
		for a, b := divisor, w; ; a, b = b, a%b {
			if b == 0 {
				divisor = a
				break
			}
		}
	}
	reduced = slices.Clone(weights)
	for i := range reduced {
		reduced[i] /= max(divisor, 1)
		sum += uint64(reduced[i])
	}
	return reduced, sum
}
