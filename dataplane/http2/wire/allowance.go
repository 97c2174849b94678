package wire

import "github.com/pingora-proxy/pingora-proxy/dataplane/exchange"

// An Allowance is how often a peer may have work done for nothing. Pieces come back as time goes by, and with what the
// peer lets be done for it, so that none but those who send nothing else run dry. It is not safe for concurrent use.
type Allowance struct {
	Most      int64
	PerSecond int64

	left     int64
	refilled exchange.Nanos
	earned   int64
}

// Reset makes the allowance full.
func (a *Allowance) Reset(now exchange.Nanos) { a.left, a.refilled = a.Most, now }

// Take takes one piece, and reports whether one was left. Where none was, Refill is to be asked.
func (a *Allowance) Take() bool {
	a.left--
	return a.left >= 0
}

// Refill puts in what has come back since it was called last, and reports whether that covers what was taken. earned is
// how many pieces the peer has earned since the beginning.
func (a *Allowance) Refill(now exchange.Nanos, earned int64) bool {
	const second = exchange.Nanos(1e9)
	elapsed := min(int64(now-a.refilled), a.Most*int64(second)/a.PerSecond)
	back := elapsed * a.PerSecond / int64(second)
	if back > 0 {
		a.refilled = now
	}
	a.left = min(a.left+back+earned-a.earned, a.Most)
	a.earned = earned
	return a.left >= 0
}

// Recent remembers the last streams that it was told of. It is not safe for concurrent use.
type Recent struct {
	ids [64]uint32
	at  int
}

// Note remembers a stream.
func (r *Recent) Note(id uint32) {
	r.ids[r.at%len(r.ids)] = id
	r.at++
}

// Has reports whether the stream is remembered.
func (r *Recent) Has(id uint32) bool {
	for _, other := range r.ids {
		if other == id {
			return true
		}
	}
	return false
}
