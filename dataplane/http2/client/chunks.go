package client

import "sync"

const chunkSize = 16 << 10

// A chunk is a piece of a body.
type chunk struct {
	n int
	b [chunkSize]byte
}

// chunkPool: a body would allocate a chunk for each 16 KiB without it.
var chunkPool = sync.Pool{New: func() any { return new(chunk) }}

func (k *chunk) put() {
	k.n = 0
	chunkPool.Put(k)
}

// chunks are what came of a body and was not read yet. A stream's window bounds them; small frames share a chunk.
type chunks struct{ list []*chunk }

func (q *chunks) add(p []byte) {
	for len(p) > 0 {
		last := len(q.list) - 1
		if last < 0 || q.list[last].n == chunkSize {
			q.list = append(q.list, chunkPool.Get().(*chunk))
			last++
		}
		k := q.list[last]
		n := copy(k.b[k.n:], p)
		k.n += n
		p = p[n:]
	}
}

// take takes the first chunk, or returns nil.
func (q *chunks) take() *chunk {
	if len(q.list) == 0 {
		return nil
	}
	k := q.list[0]
	q.list = append(q.list[:0], q.list[1:]...)
	return k
}

// drop forgets all.
func (q *chunks) drop() {
	for i, k := range q.list {
		k.put()
		q.list[i] = nil
	}
	q.list = q.list[:0]
}
