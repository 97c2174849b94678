package client

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

// errUpstreamWrite says that the endpoint takes no more of the body. Its response may still come.
var errUpstreamWrite = errors.New("the endpoint stopped reading the body")

// earlyGrace is how long an upload may go on when its response is complete already.
const earlyGrace = 50 * time.Millisecond

// An upload sends a request's body on a goroutine of its own, so that an early response is seen while it runs.
type upload struct {
	c     *Conn
	timer wire.Timer // of writes to the endpoint
	state uploadState
	done  chan struct{} // takes one token when the goroutine ends
	last  atomic.Bool   // all of the body was read; its end is being written
	given atomic.Bool   // up: stop wants it to end
	fault atomic.Pointer[error]
	err   error // read when done
}

type uploadState uint8

const (
	uploadNone    uploadState = iota
	uploadExpects             // waits for 100 Continue
	uploadRuns
)

// start starts the goroutine.
func (u *upload) start(x *exchange.Exchange) {
	if u.done == nil {
		u.done = make(chan struct{}, 1)
	}
	u.state, u.err = uploadRuns, nil
	u.last.Store(false)
	u.given.Store(false)
	u.fault.Store(nil)
	u.timer.Set(0)
	if b, ok := x.Request.Body.(wire.Cancelable); ok {
		b.Renew()
	}
	u.c.options.Sweeper.Add(&u.timer)
	go u.run(x)
}

func (u *upload) run(x *exchange.Exchange) {
	u.err = u.send(x)
	if u.err != nil && !errors.Is(u.err, errUpstreamWrite) && !errors.Is(u.err, wire.ErrCanceled) {
		u.fault.Store(&u.err)
		u.c.Wake() // the response will not come for half a request
	}
	u.c.options.Sweeper.Remove(&u.timer)
	u.done <- struct{}{}
}

// send relays the body: by the kernel where it can, else one read, one write.
func (u *upload) send(x *exchange.Exchange) error {
	body := x.Request.Body
	if err := u.splice(x); err != nil {
		return err
	}
	chunked := x.Request.ContentLength < 0
	buf := wire.GetBuffer()
	defer buf.Put()
	for {
		if !chunked && body.Ended() {
			u.last.Store(true)
			return nil
		}
		n, err := buf.Fill(body)
		if err != nil && err != io.EOF {
			return err
		}
		out := buf.Frame(n, chunked)
		ended := err == io.EOF || body.Ended()
		if ended {
			u.last.Store(true)
			if chunked {
				x.Request.SealTrailer()
				out = codec.AppendLastChunk(out, &x.Request.Trailer)
			}
		}
		if len(out) > 0 {
			if err := u.write(out); err != nil {
				return err
			}
		}
		if ended {
			return nil
		}
	}
}

func (u *upload) write(p []byte) error {
	for {
		u.Waits()
		n, err := u.c.write(p)
		u.Moved(n)
		if err == nil {
			return nil
		}
		p = p[n:]
		if !errors.Is(err, os.ErrDeadlineExceeded) || !u.Spurious() {
			return errUpstreamWrite
		}
	}
}

// spurious implements wire.Side.
func (u *upload) Spurious() bool {
	_ = u.c.nc.SetWriteDeadline(time.Time{}) // first: a wake-up that comes meanwhile must stay
	return !u.timer.Expired() && !u.c.timer.Expired() && !u.given.Load() && !u.c.aborted()
}

// waits implements wire.Side: the endpoint keeps the upload waiting.
func (u *upload) Waits() { u.timer.Set(u.c.idleDeadline()) }

// moved implements wire.Side.
func (u *upload) Moved(int) { u.timer.Ease() }

// Wake implements wire.Sleeper: the endpoint does not take the body.
func (u *upload) Wake() { _ = u.c.nc.SetDeadline(time.Unix(1, 0)) }

// sending reports whether the request was sent whole, or its last bytes are on their way.
func (u *upload) sending() bool {
	return u.state == uploadNone || u.state == uploadRuns && u.last.Load()
}

// clientFault returns what went wrong on the client's side, if anything did.
func (u *upload) clientFault() error {
	if u.state != uploadRuns {
		return nil
	}
	if p := u.fault.Load(); p != nil {
		return *p
	}
	return nil
}

// stop waits for the goroutine, ending it if it must. It returns false where the request was not sent whole.
func (u *upload) stop(x *exchange.Exchange) bool {
	switch u.state {
	case uploadNone:
		return true
	case uploadExpects:
		return false
	}
	select {
	case <-u.done:
	default:
		if u.c.err == nil {
			grace := time.NewTimer(earlyGrace)
			select {
			case <-u.done:
				grace.Stop()
				u.state = uploadNone
				return u.err == nil
			case <-grace.C:
			}
		}
		u.given.Store(true)
		_ = u.c.nc.SetWriteDeadline(time.Unix(1, 0))
		if b, ok := x.Request.Body.(wire.Cancelable); ok {
			b.Cancel()
		}
		<-u.done
		u.state = uploadNone
		return false
	}
	u.state = uploadNone
	return u.err == nil
}

// splice lets the kernel move the rest of a body of known length, where both sides are plain TCP. It moves nothing, and
// returns nil, where that cannot be done or is not worth it.
func (u *upload) splice(x *exchange.Exchange) error {
	body, ok := x.Request.Body.(wire.Spliceable)
	if !ok || u.c.tcp == nil {
		return nil
	}
	src, left := body.Plain()
	if src == nil || left < wire.SpliceMin {
		return nil
	}
	readSide, err := wire.Splice(u.c.tcp, src, left, u, body)
	switch {
	case err == nil, errors.Is(err, wire.ErrNoPipe):
		return nil
	case readSide:
		return body.Failed(err)
	default:
		return errUpstreamWrite
	}
}
