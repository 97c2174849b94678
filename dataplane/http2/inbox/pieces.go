package inbox

import "sync"

// pieceSize is what the bytes of a body are kept in. A stream holds no more of them than it needs.
const pieceSize = 4 << 10

type piece struct {
	start, end int
	data       [pieceSize]byte
}

var piecePool = sync.Pool{New: func() any { return new(piece) }}

// pieces are bytes behind each other.
type pieces struct {
	list []*piece
	size int
}

// append keeps p behind what there is.
func (b *pieces) append(p []byte) {
	b.size += len(p)
	for len(p) > 0 {
		var last *piece
		if n := len(b.list); n > 0 && b.list[n-1].end < pieceSize {
			last = b.list[n-1]
		} else {
			last = piecePool.Get().(*piece)
			last.start, last.end = 0, 0
			b.list = append(b.list, last)
		}
		n := copy(last.data[last.end:], p)
		last.end += n
		p = p[n:]
	}
}

// first returns the first bytes, as many as lie together. They stay where they are until skip, whatever is appended.
func (b *pieces) first() []byte {
	if len(b.list) == 0 {
		return nil
	}
	p := b.list[0]
	return p.data[p.start:p.end:p.end]
}

// skip drops n of the bytes that first returns.
func (b *pieces) skip(n int) {
	if n == 0 {
		return
	}
	p := b.list[0]
	p.start += n
	b.size -= n
	if p.start == p.end {
		piecePool.Put(p)
		last := copy(b.list, b.list[1:])
		b.list[last] = nil
		b.list = b.list[:last]
	}
}

// clear drops everything.
func (b *pieces) clear() {
	for i, p := range b.list {
		piecePool.Put(p)
		b.list[i] = nil
	}
	b.list, b.size = b.list[:0], 0
}
