package wire

import (
	"sync"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/codec"
)

const (
	// BufferSize is the most that one read of a body, or of a response, takes: a small response is one read and one write.
	BufferSize = 16 << 10
	// room is what a Buffer keeps free around its data for a chunk's size line and the last chunk.
	room = 32
)

// A Buffer is what bodies and tunnels are copied through.
type Buffer [room + BufferSize + room]byte

// buffers: a body would allocate 16 KiB without it.
var buffers = sync.Pool{New: func() any { return new(Buffer) }}

// GetBuffer takes a Buffer. Put gives it back.
func GetBuffer() *Buffer { return buffers.Get().(*Buffer) }

// Put gives the Buffer back; it must not be used any more.
func (b *Buffer) Put() {
	poison(b[:])
	buffers.Put(b)
}

// Data is where a body is read to, so that Frame finds room around it.
func (b *Buffer) Data() []byte { return b[room : room+BufferSize] }

// Fill reads once from body into Data, and takes what else is at hand then without waiting: chunks of a byte each leave
// together, and not with a system call each.
func (b *Buffer) Fill(body exchange.Body) (int, error) {
	p := b.Data()
	n, err := body.Read(p)
	for err == nil && n < len(p) {
		at := body.Buffered()
		if len(at) == 0 {
			break
		}
		k := copy(p[n:], at)
		body.Skip(k)
		n += k
	}
	return n, err
}

// Frame returns the first n bytes of Data as they are written: as a chunk where chunked is set, with its size line put in
// front and nothing copied. What it returns has room behind it for a last chunk.
func (b *Buffer) Frame(n int, chunked bool) []byte {
	if !chunked || n == 0 {
		return b[room : room+n]
	}
	var line [room]byte
	head := codec.AppendChunkHeader(line[:0], n)
	at := room - len(head)
	copy(b[at:], head)
	return append(b[at:room+n], '\r', '\n')
}
