package balance

import (
	"math/bits"
	"math/rand/v2"
)

// random takes any endpoint, each as likely as its weight says.
func (b *Balance) random(t *Tried) int {
	i := b.drawRisen()
	if t == nil || !t.Has(b.loads[i]) {
		return i
	}
	for range MaxTries {
		if i = b.draw(); !t.Has(b.loads[i]) {
			return i
		}
	}
	return b.untried(t)
}

// draw returns a place at random, by weight.
func (b *Balance) draw() int {
	r := rand.Uint64()
	if b.sums == nil {
		return scale(r, uint64(len(b.loads)))
	}
	return b.place(uint64(scale(r, b.sums[len(b.sums)-1])))
}

// drawRisen is draw, but for endpoints in their slow start, which are drawn less often.
func (b *Balance) drawRisen() int {
	i := b.draw()
	if b.slow == nil {
		return i
	}
	now, rising := b.slow.rising()
	for n := 0; rising && n < maxRefusals && !b.slow.takes(i, now); n++ {
		i = b.draw()
	}
	return i
}

// scale makes an evenly distributed r one that is less than n. No value is more than n/2^64 likelier than another.
func scale(r, n uint64) int {
	high, _ := bits.Mul64(r, n)
	return int(high)
}

// place returns the place that has a ticket: place i those from sums[i-1] up to sums[i], without it.
func (b *Balance) place(ticket uint64) int {
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
