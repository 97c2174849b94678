package wire

import (
	"sync"

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
func (b *Buffer) Put() { buffers.Put(b) }

// Data is where a body is read to, so that Frame finds room around it.
func (b *Buffer) Data() []byte { return b[room : room+BufferSize] }

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
