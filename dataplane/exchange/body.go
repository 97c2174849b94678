package exchange

import (
	"io"
	"net"
	"time"
)

// A Body is read once, by one goroutine at a time.
type Body interface {
	// Read reads like io.Reader. io.EOF says that the body is complete; any other error that it was cut off, and that
	// what was passed on of it must not look complete to its receiver.
	Read(p []byte) (int, error)

	// Buffered returns the bytes of the body that are at hand without waiting, and is valid until the next Read or
	// Skip. It may be empty at any time.
	Buffered() []byte

	// Skip drops n of the Buffered bytes.
	Skip(n int)

	// Ended reports whether the body is complete and all of it was read: the next Read would return io.EOF at once.
	Ended() bool
}

// A Tunnel is an endpoint's connection after it answered 101: a stream in both directions.
type Tunnel interface {
	io.ReadWriteCloser
	// Buffered returns what arrived behind the response's head. It is read first, once.
	Buffered() []byte
	// Conn is the connection itself, where the kernel can move its bytes (splice); nil elsewhere.
	Conn() *net.TCPConn
	CloseWrite() error
	SetDeadline(t time.Time) error
}

// Bytes is a Body that lies in memory.
type Bytes struct{ rest []byte }

// Reset makes b the body to read.
func (b *Bytes) Reset(p []byte) { b.rest = p }

// Read implements Body.
func (b *Bytes) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// Buffered implements Body.
func (b *Bytes) Buffered() []byte { return b.rest }

// Skip implements Body.
func (b *Bytes) Skip(n int) { b.rest = b.rest[n:] }

// Ended implements Body.
func (b *Bytes) Ended() bool { return len(b.rest) == 0 }
