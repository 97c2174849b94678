package wire

import "sync"

const (
	// outSize is what most heads fit in, with a small body.
	outSize = 4 << 10
	// outMost is the most that an Out keeps for the next one who writes.
	outMost = 64 << 10
)

// An Out is memory that a head is written from, and what of a body leaves with it. It is taken only when that is done: who
// waits holds none, and the next one finds it in the processor's caches.
type Out struct{ B []byte }

// outs: for what the pools of both sides save see the one of the client connections' side, in package http1.
var outs = sync.Pool{New: func() any { return &Out{make([]byte, 0, outSize)} }}

// GetOut takes an Out, which is empty. Put gives it back.
func GetOut() *Out { return outs.Get().(*Out) }

// Put gives the Out back; it must not be used any more.
func (o *Out) Put() {
	if cap(o.B) > outMost {
		o.B = make([]byte, 0, outSize)
	}
	poison(o.B)
	o.B = o.B[:0]
	outs.Put(o)
}
