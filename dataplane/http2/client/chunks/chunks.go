package chunks

import "sync"

const chunkSize = 16 << 10

// A Chunk is a piece of a body.
type Chunk struct {
	n int
	b [chunkSize]byte
}

// Bytes is what it holds.
func (k *Chunk) Bytes() []byte { return k.b[:k.n] }

// chunkPool: a body would allocate a chunk for each 16 KiB without it.
var chunkPool = sync.Pool{New: func() any { return new(Chunk) }}

// Put gives its memory back.
func (k *Chunk) Put() {
	k.n = 0
	chunkPool.Put(k)
}

// A Queue is what came of a body and was not read yet. A stream's window bounds them; small frames share a chunk.
type Queue struct{ list []*Chunk }

// Add appends a copy of p.
func (q *Queue) Add(p []byte) {
	for len(p) > 0 {
		last := len(q.list) - 1
		if last < 0 || q.list[last].n == chunkSize {
			q.list = append(q.list, chunkPool.Get().(*Chunk))
			last++
		}
		k := q.list[last]
		n := copy(k.b[k.n:], p)
		k.n += n
		p = p[n:]
	}
}

// Take takes the first chunk, or returns nil.
func (q *Queue) Take() *Chunk {
	if len(q.list) == 0 {
		return nil
	}
	k := q.list[0]
	q.list = append(q.list[:0], q.list[1:]...)
	return k
}

// Drop forgets all.
func (q *Queue) Drop() {
	for i, k := range q.list {
		k.Put()
		q.list[i] = nil
	}
	q.list = q.list[:0]
}
