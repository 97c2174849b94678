package client

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/codec"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
)

// A responseBody reads a response's body from an endpoint's connection. It implements exchange.Body. What arrived with
// the head lies behind it in Conn.in, and stays there until it is read.
type responseBody struct {
	c          *Conn
	framing    codec.Framing
	left       int64
	ended      bool
	err        error
	start, end int // unread bytes are in[start:end]
	dec        codec.ChunkDecoder
	data       []byte // decoded, not yet handed out; lies in Conn.in
}

func (b *responseBody) reset() {
	c := b.c
	b.framing = c.head.Framing
	b.start, b.end = c.head.Size, c.end
	b.ended, b.err, b.data, b.left = b.framing == codec.NoBody, nil, nil, 0
	switch b.framing {
	case codec.LengthBody:
		b.left = c.x.Response.ContentLength
		b.ended = b.left == 0
	case codec.ChunkedBody:
		b.dec.Reset(c.options.Limits)
	}
}

// clean reports whether the body was read whole and nothing follows it.
func (b *responseBody) clean() bool {
	return b.Ended() && b.err == nil && b.start == b.end && b.framing != codec.UntilClose
}

// Buffered implements exchange.Body.
func (b *responseBody) Buffered() []byte {
	in := b.c.in
	switch b.framing {
	case codec.LengthBody:
		n := min(int64(b.end-b.start), b.left)
		return in[b.start : b.start+int(n)]
	case codec.UntilClose:
		return in[b.start:b.end]
	case codec.ChunkedBody:
		for len(b.data) == 0 && !b.ended && b.err == nil && b.start < b.end {
			data, n, done, err := b.dec.Decode(in[b.start:b.end])
			b.data = data
			b.start += n
			if err != nil {
				b.err = &Error{Reason: exchange.UpstreamTruncated, Sent: true, Err: err}
				return nil
			}
			if done {
				b.ended = true
				b.dec.Trailer(&b.c.x.Response.Trailer)
			}
			if n == 0 && len(data) == 0 {
				break
			}
		}
		return b.data
	}
	return nil
}

// Skip implements exchange.Body.
func (b *responseBody) Skip(n int) {
	switch b.framing {
	case codec.ChunkedBody:
		b.data = b.data[n:]
	case codec.LengthBody:
		b.start += n
		b.left -= int64(n)
		b.ended = b.left == 0
	default:
		b.start += n
	}
}

// Ended implements exchange.Body.
func (b *responseBody) Ended() bool {
	if b.framing == codec.ChunkedBody {
		return len(b.Buffered()) == 0 && b.ended
	}
	return b.ended
}

// Read implements exchange.Body.
func (b *responseBody) Read(p []byte) (int, error) {
	for {
		if at := b.Buffered(); len(at) > 0 {
			n := copy(p, at)
			b.Skip(n)
			return n, nil
		}
		if b.Ended() {
			return 0, io.EOF
		}
		if b.err != nil {
			return 0, b.err
		}
		switch b.framing {
		case codec.LengthBody:
			n, err := b.fill(p[:min(int64(len(p)), b.left)])
			b.left -= int64(n)
			b.ended = b.left == 0
			return n, err
		case codec.UntilClose:
			n, err := b.fill(p)
			if err == io.EOF {
				b.ended = true
			}
			return n, err
		}
		room := b.room()
		n, err := b.fill(room)
		b.end += n
		if err == io.EOF {
			return 0, b.Failed(io.ErrUnexpectedEOF)
		}
		if err != nil {
			return 0, err
		}
	}
}

// room is where undecoded bytes are read to: behind the head, whose bytes the response's fields still lie in.
func (b *responseBody) room() []byte {
	c, head := b.c, b.c.head.Size
	if len(c.in)-head < wire.BufferSize/2 {
		// A large head left little room. The old array lives on for as long as the fields refer to it.
		in := make([]byte, head+wire.BufferSize)
		b.end = head + copy(in[head:], c.in[b.start:b.end])
		c.in = in
	} else {
		b.end = head + copy(c.in[head:], c.in[b.start:b.end])
	}
	b.start = head
	return c.in[b.end:]
}

// fill reads from the connection. It returns io.EOF only for a body that ends with its connection.
func (b *responseBody) fill(p []byte) (int, error) {
	c := b.c
	for {
		c.timer.Set(c.idleDeadline())
		n, err := c.nc.Read(p)
		c.timer.Ease()
		switch {
		case n > 0:
			return n, nil
		case errors.Is(err, os.ErrDeadlineExceeded) && b.Spurious():
			continue
		case err == io.EOF && b.framing != codec.LengthBody:
			return 0, io.EOF
		case err == io.EOF:
			err = io.ErrUnexpectedEOF
		}
		return 0, b.Failed(err)
	}
}

// Failed implements wire.Spliceable: the body was cut off.
func (b *responseBody) Failed(err error) error {
	reason := exchange.UpstreamTruncated
	if failed := b.c.upload.clientFault(); failed != nil {
		reason = bodyReason(failed)
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		reason = exchange.UpstreamIdle
	}
	b.err = &Error{Reason: reason, Sent: true, Err: err}
	return b.err
}

// Plain implements wire.Spliceable.
func (b *responseBody) Plain() (wire.TCP, int64) {
	if b.framing != codec.LengthBody || b.c.tcp == nil || b.start != b.end {
		return nil, 0
	}
	return b.c.tcp, b.left
}

// waits implements wire.Side: the endpoint keeps the response waiting.
func (b *responseBody) Waits() {
	b.c.timer.Set(b.c.idleDeadline())
}

// spurious implements wire.Side.
func (b *responseBody) Spurious() bool {
	c := b.c
	_ = c.nc.SetDeadline(time.Time{}) // first: a wake-up that comes meanwhile must stay
	return !c.timer.Expired() && c.upload.clientFault() == nil && !c.aborted()
}

// moved implements wire.Side.
func (b *responseBody) Moved(n int) {
	b.c.timer.Ease()
	b.left -= int64(n)
	b.ended = b.left == 0
}
