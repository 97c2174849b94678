package http1

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/codec"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
)

// Errors of a request's body. Those that the client is told about are HeadErrors.
var (
	errBodyTimeout = &codec.HeadError{Status: 408, Reason: exchange.RequestTimeout, Detail: "the body did not arrive in time"}
	errClientGone  = errors.New("the client closed the connection before the end of the body")
)

// A requestBody reads a request's body from the client's connection. It implements exchange.Body. One goroutine reads
// it at a time: the upload of an attempt, or the connection's own.
type requestBody struct {
	c        *conn
	w        *work
	x        *exchange.Exchange
	chunked  bool
	left     int64 // bytes that are still to come, unless chunked
	ended    bool
	err      error
	patience patience
	canceled atomic.Bool

	dec        codec.ChunkDecoder
	buf        *wire.Buffer // of a chunked body: undecoded bytes are buf[start:end]
	start, end int
	data       []byte // decoded, not yet handed out; lies in buf
}

func (b *requestBody) reset(w *work, x *exchange.Exchange) {
	b.w, b.x = w, x
	b.chunked, b.left = x.Request.ContentLength < 0, max(x.Request.ContentLength, 0)
	b.ended, b.err = false, nil
	b.patience = patience{}
	b.canceled.Store(false)
	if b.chunked {
		b.dec.Reset(b.c.srv.options.Load().Limits)
		b.buf = wire.GetBuffer()
		b.start, b.end = 0, 0
		b.take()
	}
}

// take takes what was read with the head, or as much of it as there is room for: a large head has a large buffer. It
// reports whether there was anything.
func (b *requestBody) take() bool {
	n := copy(b.buf[b.end:], b.w.in[b.w.start:b.w.end])
	b.w.start += n
	b.end += n
	return n > 0
}

// Buffered implements exchange.Body.
func (b *requestBody) Buffered() []byte {
	if !b.chunked {
		n := min(int64(b.w.end-b.w.start), b.left)
		return b.w.in[b.w.start : b.w.start+int(n)]
	}
	for len(b.data) == 0 && !b.ended && b.err == nil && b.start < b.end {
		data, n, done, err := b.dec.Decode(b.buf[b.start:b.end])
		b.data, b.err = data, err
		b.start += n
		if done && err == nil {
			b.ended = true
			b.dec.Trailer(&b.x.Request.Trailer)
		}
		if n == 0 && len(data) == 0 {
			break
		}
	}
	return b.data
}

// Skip implements exchange.Body.
func (b *requestBody) Skip(n int) {
	b.x.Record.BytesIn += int64(n)
	if b.chunked {
		b.data = b.data[n:]
		return
	}
	b.w.start += n
	b.left -= int64(n)
}

// Ended implements exchange.Body.
func (b *requestBody) Ended() bool {
	if b.chunked {
		return len(b.Buffered()) == 0 && b.ended
	}
	return b.left == 0
}

// Read implements exchange.Body.
func (b *requestBody) Read(p []byte) (int, error) {
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
		if !b.chunked {
			n, err := b.fill(p[:min(int64(len(p)), b.left)])
			b.left -= int64(n)
			b.x.Record.BytesIn += int64(n)
			return n, err
		}
		// The decoder may leave the start of a size line behind: it is moved to the front.
		b.end = copy(b.buf[:], b.buf[b.start:b.end])
		b.start = 0
		if b.take() {
			continue
		}
		n, err := b.fill(b.buf[b.end:])
		b.end += n
		if err != nil {
			return 0, err
		}
	}
}

// fill reads from the connection, within the time that the client has.
func (b *requestBody) fill(p []byte) (int, error) {
	c := b.c
	for {
		if b.canceled.Load() {
			return 0, wire.ErrCanceled
		}
		b.Waits()
		n, err := c.nc.Read(p)
		b.patience.stop(exchange.Now())
		switch {
		case n > 0:
			c.timer.Ease()
			return n, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			b.err = b.timedOut()
		default:
			b.err = errClientGone
		}
		if b.err != nil {
			return 0, b.err
		}
	}
}

// timedOut tells a real time-out from a wake-up that came late or was meant for something else, which returns nil.
func (b *requestBody) timedOut() error {
	c := b.c
	switch {
	case b.canceled.Load():
		return wire.ErrCanceled
	case c.timer.Expired(): // first: an interim response that this wakes in the middle of its write aborts the connection
		return errBodyTimeout
	case c.aborted.Load():
		return errClientGone
	}
	_ = c.nc.SetDeadline(time.Time{})
	if b.canceled.Load() || c.aborted.Load() { // meanwhile, and its deadline is overwritten
		c.Wake()
	}
	return nil
}

// waits implements wire.Side: the client keeps an upload waiting.
func (b *requestBody) Waits() {
	if b.patience.idle == 0 {
		b.patience = b.c.patienceFor(b.x)
	}
	b.c.timer.Set(b.patience.start(exchange.Now(), b.x.Record.BytesIn))
}

// moved implements wire.Side.
func (b *requestBody) Moved(n int) {
	if b.patience.since != 0 {
		b.patience.stop(exchange.Now())
		b.c.timer.Ease()
	}
	b.left -= int64(n)
	b.x.Record.BytesIn += int64(n)
}

// spurious implements wire.Side.
func (b *requestBody) Spurious() bool { return b.timedOut() == nil }

// Cancel implements wire.Cancelable: it makes a Read that waits return.
func (b *requestBody) Cancel() {
	b.canceled.Store(true)
	_ = b.c.nc.SetReadDeadline(time.Unix(1, 0))
}

// Renew implements wire.Cancelable: an earlier attempt gave up before it had read anything.
func (b *requestBody) Renew() {
	if b.canceled.CompareAndSwap(true, false) {
		_ = b.c.nc.SetReadDeadline(time.Time{})
	}
}

// Plain implements wire.Spliceable.
func (b *requestBody) Plain() (wire.TCP, int64) {
	if b.chunked || b.c.tcp == nil || len(b.Buffered()) > 0 {
		return nil, 0
	}
	return b.c.tcp, b.left
}

// Failed implements wire.Spliceable.
func (b *requestBody) Failed(error) error {
	if b.err = b.timedOut(); b.err == nil {
		b.err = errClientGone
	}
	return b.err
}

// drainBytes is how much of an unwanted body is read and dropped so that the connection can be used again.
const drainBytes = 64 << 10

// settle ends the body when its exchange is over: it drops a small rest that is at hand already, and puts back what
// follows. It returns false where the connection cannot go on, because the next request's start is not known.
func (b *requestBody) settle() bool {
	if b.canceled.Load() {
		_ = b.c.nc.SetReadDeadline(time.Time{})
	}
	ok := b.drop()
	if b.chunked {
		if rest := b.buf[b.start:b.end]; ok && len(rest) > 0 {
			w := b.w
			if w.start < w.end { // all of buf came from there, and still stands in front
				w.start -= len(rest)
			} else {
				for len(w.in) < len(rest) {
					w.in = make([]byte, 2*len(w.in))
				}
				w.start, w.end = 0, copy(w.in, rest)
			}
		}
		b.buf.Put()
		b.buf, b.data = nil, nil
	}
	return ok
}

// drop reads the rest of the body away if that is little, and comes soon: the response has been sent, and a client that
// waits for 100 Continue sends nothing.
func (b *requestBody) drop() bool {
	if b.Ended() {
		return true
	}
	if b.c.closing || b.err != nil || b.canceled.Load() || b.x.Request.Expect && !b.c.continued || !b.chunked && b.left > drainBytes {
		return false
	}
	b.patience = patience{idle: lingerTime, grace: lingerTime, rate: drainBytes}
	var scratch [1024]byte
	for dropped := 0; dropped <= drainBytes; {
		n, err := b.Read(scratch[:])
		dropped += n
		if err != nil {
			return err == io.EOF
		}
	}
	return false
}
