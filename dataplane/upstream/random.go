package upstream

import (
	"math/bits"
	"math/rand/v2"
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
	r := rand.Uint64()
	if b.sums == nil {
		return scale(r, uint64(len(b.endpoints)))
	}
	return b.place(uint64(scale(r, b.sums[len(b.sums)-1])))
}

// scale makes an evenly distributed r one that is less than n. No value is more than n/2^64 likelier than another.
func scale(r, n uint64) int {
	high, _ := bits.Mul64(r, n)
	return int(high)
}

// place returns the place that has a ticket: place i those from sums[i-1] up to sums[i], without it.
func (b *balance) place(ticket uint64) int {
	low, high := 0, len(b.sums)-1
	for low < high {
		if middle := (low + high) / 2; b.sums[middle] > ticket {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low
}
