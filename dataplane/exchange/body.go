package exchange

import (
	"io"
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
	CloseWrite() error
	SetDeadline(t time.Time) error
}

// Bytes is a Body that lies in memory. A request with such a body can be sent again.
type Bytes struct{ whole, rest []byte }

// Reset makes p the body to read.
func (b *Bytes) Reset(p []byte) { b.whole, b.rest = p, p }

// Rewind starts again at the beginning.
func (b *Bytes) Rewind() { b.rest = b.whole }

// Whole returns all of the body, whatever was read of it.
func (b *Bytes) Whole() []byte { return b.whole }

// A Wrapper is a Body that looks at what is read of another one. What the engines offer beside Body goes through it: a read
// that waits can be called off.
type Wrapper struct{ Body }

// Cancel makes a Read that waits return, where the body can do that.
func (w Wrapper) Cancel() {
	if b, ok := w.Body.(interface{ Cancel() }); ok {
		b.Cancel()
	}
}

// Renew takes a Cancel back.
func (w Wrapper) Renew() {
	if b, ok := w.Body.(interface{ Renew() }); ok {
		b.Renew()
	}
}

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
