package client

import (
	"io"
	"net"
	"os"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http2/client/chunks"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http2/client/output"
)

// A responseBody reads a response's body. It implements exchange.Body.
type responseBody struct {
	s      *stream
	chunk  *chunks.Chunk // that is being read
	rest   []byte        // of it
	credit int           // bytes that were read, and that the endpoint was not allowed to send anew yet
	due    int           // how many of them are worth a frame
	over   bool          // it has ended, and the trailer is filled in
	err    error
}

func (b *responseBody) reset() { b.credit, b.due, b.over, b.err = 0, firstWindow/2, false, nil }

// drop gives the memory back.
func (b *responseBody) drop() {
	if b.chunk != nil {
		b.chunk.Put()
	}
	b.chunk, b.rest = nil, nil
}

// next takes what has come.
func (b *responseBody) next() {
	s := b.s
	c := s.c
	c.mu.Lock()
	if k := s.unread.Take(); k != nil {
		b.chunk, b.rest = k, k.Bytes()
	} else if s.ended {
		b.over = true
		if s.trailed {
			s.trailer.Trailer(&s.x.Response.Trailer)
		}
	} else if s.err != nil {
		b.err = s.err
	}
	c.mu.Unlock()
}

// Buffered implements exchange.Body.
func (b *responseBody) Buffered() []byte {
	if len(b.rest) == 0 && !b.over && b.err == nil {
		b.next()
	}
	return b.rest
}

// Skip implements exchange.Body.
func (b *responseBody) Skip(n int) {
	b.rest = b.rest[n:]
	if len(b.rest) == 0 {
		b.drop()
	}
	if b.credit += n; b.credit >= b.due {
		b.allow()
	}
}

// allow lets the endpoint send as much as was read, and, where there is room for it, more at a time than at first.
func (b *responseBody) allow() {
	s := b.s
	c := s.c
	c.mu.Lock()
	n := b.credit + s.padding
	s.padding = 0
	if s.open && !s.ended {
		s.recv += n
		if !s.grown && c.grown < maxGrown {
			s.grown, c.grown, b.due = true, c.grown+1, streamWindow/2
			n += streamWindow - firstWindow
		}
		c.out.End(output.AppendWindowUpdate(c.out.Begin(), s.id, n))
	}
	c.mu.Unlock()
	b.credit = 0
	c.out.Flush()
}

// Ended implements exchange.Body.
func (b *responseBody) Ended() bool { return len(b.Buffered()) == 0 && b.over }

// Read implements exchange.Body.
func (b *responseBody) Read(p []byte) (int, error) {
	s := b.s
	for {
		if at := b.Buffered(); len(at) > 0 {
			n := copy(p, at)
			b.Skip(n)
			return n, nil
		}
		switch {
		case b.over:
			return 0, io.EOF
		case b.err != nil:
			return 0, b.err
		}
		if fault := s.upload.clientFault(); fault != nil {
			b.err = s.failBody(fault, true)
			return 0, b.err
		}
		if s.try.Idle > 0 {
			s.timer.Set(exchange.Now() + exchange.Nanos(s.try.Idle))
		}
		if s.aborted() {
			b.err = &Error{Reason: exchange.ClientReset, Sent: true, Err: net.ErrClosed}
			return 0, b.err
		}
		<-s.wake
		if s.timer.Expired() {
			b.next() // it may have come in this moment
			if len(b.rest) == 0 && !b.over && b.err == nil {
				b.err = &Error{Reason: exchange.UpstreamIdle, Sent: true, Err: os.ErrDeadlineExceeded}
			}
		}
		s.timer.Ease()
	}
}
