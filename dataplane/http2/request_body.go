package http2

import (
	"errors"
	"io"
	"sync"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	sock "github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http2/wire"
)

var errClientGone = errors.New("the client went away before the end of the body")

// pieceSize is what the bytes of a body are kept in. A stream holds no more of them than it needs.
const pieceSize = 4 << 10

type piece struct {
	start, end int
	data       [pieceSize]byte
}

var pieces = sync.Pool{New: func() any { return new(piece) }}

// A requestBody is what has arrived of a request's body and was not read. It implements exchange.Body: one goroutine reads
// it, while the connection's reader appends. What it holds is guarded by the connection's mu.
type requestBody struct {
	s        *stream
	pieces   []*piece
	size     int   // bytes in pieces
	length   int64 // bytes that are still to arrive; -1: any number
	err      error // why no more comes
	canceled bool
	arrived  chan struct{} // gets a token when something has changed
	waiting  patience
}

// append keeps p.
func (b *requestBody) append(p []byte) {
	b.size += len(p)
	for len(p) > 0 {
		var last *piece
		if n := len(b.pieces); n > 0 && b.pieces[n-1].end < pieceSize {
			last = b.pieces[n-1]
		} else {
			last = pieces.Get().(*piece)
			last.start, last.end = 0, 0
			b.pieces = append(b.pieces, last)
		}
		n := copy(last.data[last.end:], p)
		last.end += n
		p = p[n:]
	}
}

// clear gives everything back.
func (b *requestBody) clear() {
	for i, p := range b.pieces {
		pieces.Put(p)
		b.pieces[i] = nil
	}
	b.pieces = b.pieces[:0]
	b.size, b.length, b.err, b.canceled, b.waiting = 0, 0, nil, false, patience{}
}

// Buffered implements exchange.Body.
func (b *requestBody) Buffered() []byte {
	b.s.c.mu.Lock()
	defer b.s.c.mu.Unlock()
	if b.err != nil || len(b.pieces) == 0 {
		return nil
	}
	p := b.pieces[0]
	return p.data[p.start:p.end:p.end]
}

// Skip implements exchange.Body.
func (b *requestBody) Skip(n int) {
	c := b.s.c
	c.mu.Lock()
	b.skip(n)
	c.mu.Unlock()
	b.s.x.Record.BytesIn += int64(n)
}

// skip takes n bytes of the first piece, and gives their place back to the client.
func (b *requestBody) skip(n int) {
	p := b.pieces[0]
	p.start += n
	b.size -= n
	if p.start == p.end {
		pieces.Put(p)
		last := copy(b.pieces, b.pieces[1:])
		b.pieces[last] = nil
		b.pieces = b.pieces[:last]
	}
	b.s.c.give(n)
	b.s.give(n)
}

// Ended implements exchange.Body.
func (b *requestBody) Ended() bool {
	b.s.c.mu.Lock()
	defer b.s.c.mu.Unlock()
	return b.ended()
}

func (b *requestBody) ended() bool {
	if b.size > 0 || b.err != nil || !b.s.remoteEnded {
		return false
	}
	if t := &b.s.trailer; t.Len() > 0 {
		b.s.x.Request.Trailer, *t = *t, b.s.x.Request.Trailer
		t.Reset(nil)
	}
	return true
}

// Read implements exchange.Body.
func (b *requestBody) Read(p []byte) (int, error) {
	n, err := b.read(p, 0)
	b.s.x.Record.BytesIn += int64(n)
	return n, err
}

// read reads, waiting until by at most; 0 is for as long as the client has.
func (b *requestBody) read(p []byte, by exchange.Nanos) (int, error) {
	s, c := b.s, b.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case b.err != nil:
			return 0, b.err
		case b.canceled:
			return 0, sock.ErrCanceled
		case s.gone.Load():
			return 0, errClientGone
		case b.size > 0:
			n := 0
			for n < len(p) && len(b.pieces) > 0 {
				first := b.pieces[0]
				k := copy(p[n:], first.data[first.start:first.end])
				n += k
				b.skip(k)
			}
			return n, nil
		case b.ended():
			return 0, io.EOF
		case len(p) == 0:
			return 0, nil
		}
		at := by
		if by == 0 {
			if b.waiting.idle == 0 {
				b.waiting = s.patience()
			}
			at = b.waiting.start(exchange.Now(), s.x.Record.BytesIn)
		}
		s.readBy = at
		c.arm(at)
		c.mu.Unlock()
		c.out.Flush() // the client may wait for the window that was given back
		<-b.arrived
		c.mu.Lock()
		b.waiting.stop(exchange.Now())
		late := s.readBy < 0
		s.readBy = 0
		if late && b.size == 0 && !s.remoteEnded {
			if by == 0 {
				b.err = wire.ErrBodyTimeout
			}
			return 0, wire.ErrBodyTimeout
		}
	}
}

// Cancel implements sock.Cancelable: it makes a Read that waits return.
func (b *requestBody) Cancel() { b.cancel(true) }

// Renew implements sock.Cancelable: an earlier attempt gave up before it had read anything.
func (b *requestBody) Renew() { b.cancel(false) }

func (b *requestBody) cancel(canceled bool) {
	b.s.c.mu.Lock()
	b.canceled = canceled
	b.s.arrive()
	b.s.c.mu.Unlock()
}
