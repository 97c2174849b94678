package http1

import (
	"sync"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

const (
	// requestBuffer holds a request's head and what arrives with it. Larger heads get a larger buffer of their own.
	requestBuffer = 4 << 10
	// responseBuffer is the most that one read takes from an endpoint: a small response is one read and one write.
	responseBuffer = 16 << 10
	// headRoom is what a relay buffer keeps free around its data for a chunk's size line and the last chunk.
	headRoom = 32
)

// work is the memory of one exchange on a client connection. A connection holds one only while it has something to do.
type work struct {
	x          exchange.Exchange
	in         []byte // bytes in[start:end] were read and not yet used
	start, end int
	scanned    int    // how many of them an incomplete head was searched through
	out        []byte // what is being written to the client
	small      []byte // in's usual buffer, back when a larger one has served
}

// legs is the memory of one attempt on an endpoint's connection.
type legs struct {
	out []byte // the request as it is written
	in  []byte // the response as it is read
}

var (
	// Pools: without them a tiny exchange allocates 26 KiB, and 40,000 of them a second keep the collector at 30 % of a
	// core.
	workPool = sync.Pool{New: func() any {
		w := &work{in: make([]byte, requestBuffer), out: make([]byte, 0, requestBuffer)}
		w.small = w.in
		return w
	}}
	legsPool = sync.Pool{New: func() any {
		return &legs{out: make([]byte, 0, 2<<10), in: make([]byte, responseBuffer)}
	}}
	// relayPool holds the buffers that bodies and tunnels are copied through.
	relayPool = sync.Pool{New: func() any { return new([responseBuffer + 2*headRoom]byte) }}
)

func putWork(w *work) {
	if cap(w.out) > 64<<10 {
		w.out = make([]byte, 0, requestBuffer)
	}
	w.in, w.start, w.end, w.scanned = w.small, 0, 0, 0
	workPool.Put(w)
}

func putLegs(l *legs) {
	if cap(l.out) > 64<<10 {
		l.out = make([]byte, 0, 2<<10)
	}
	if len(l.in) > responseBuffer {
		l.in = make([]byte, responseBuffer)
	}
	legsPool.Put(l)
}

// grow makes room behind w.end: it moves what is unused to the front, then takes a buffer twice the size, up to most.
// It reports whether there is room.
func (w *work) grow(most int) bool {
	if w.end < len(w.in) {
		return true
	}
	if w.start > 0 {
		w.end = copy(w.in, w.in[w.start:w.end])
		w.start = 0
		return true
	}
	if len(w.in) >= most {
		return false
	}
	larger := make([]byte, min(2*len(w.in), most))
	copy(larger, w.in[:w.end])
	w.in = larger
	return true
}
