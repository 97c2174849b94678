package client

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http2/client/output"
)

// errUpstreamWrite says that the endpoint takes no more of the body. Its response may still come.
var errUpstreamWrite = errors.New("the endpoint stopped taking the body")

// earlyGrace is how long an upload may go on when its response is complete already.
const earlyGrace = 50 * time.Millisecond

// maxUnsent is how much may wait for the socket before uploads wait too.
const maxUnsent = 64 << 10

// An upload sends a request's body on a goroutine of its own, so that an early response is seen while it runs.
type upload struct {
	s       *stream
	timer   wire.Timer    // of what the endpoint must allow to be sent
	wake    chan struct{} // it has, or the time is over
	state   uploadState
	done    chan struct{} // takes one token when the goroutine ends
	last    atomic.Bool   // all of the body was read; its end is being sent
	given   atomic.Bool   // up: stop wants it to end
	stalled atomic.Bool   // the endpoint did not take the body in time
	fault   atomic.Pointer[error]
	err     error // read when done
}

type uploadState uint8

const (
	uploadNone    uploadState = iota
	uploadExpects             // waits for 100 Continue
	uploadRuns
)

func (u *upload) init(s *stream) {
	u.s, u.wake, u.done = s, make(chan struct{}, 1), make(chan struct{}, 1)
	u.timer.Owner = u
}

// start starts the goroutine.
func (u *upload) start(x *exchange.Exchange) {
	u.state, u.err = uploadRuns, nil
	u.last.Store(false)
	u.given.Store(false)
	u.stalled.Store(false)
	u.fault.Store(nil)
	u.timer.Set(0)
	if b, ok := x.Request.Body.(wire.Cancelable); ok {
		b.Renew()
	}
	u.s.c.options.Sweeper.Add(&u.timer)
	go u.run(x)
}

// signal wakes the goroutine where it waits for the endpoint.
func (u *upload) signal() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// Wake implements wire.Sleeper.
func (u *upload) Wake() { u.signal() }

func (u *upload) run(x *exchange.Exchange) {
	u.err = u.send(x)
	if u.err != nil && !errors.Is(u.err, errUpstreamWrite) && !errors.Is(u.err, wire.ErrCanceled) {
		u.fault.Store(&u.err)
	}
	u.s.c.options.Sweeper.Remove(&u.timer)
	u.s.signal() // the response will not come for half a request
	u.done <- struct{}{}
}

// send relays the body.
func (u *upload) send(x *exchange.Exchange) error {
	body := x.Request.Body
	buf := wire.GetBuffer()
	defer buf.Put()
	for {
		n, err := 0, error(nil)
		if !body.Ended() {
			n, err = buf.Fill(body)
		}
		if err != nil && err != io.EOF {
			return err
		}
		ended := err == io.EOF || body.Ended()
		if ended {
			u.last.Store(true)
			x.Request.SealTrailer()
		}
		if err := u.write(buf.Data()[:n], ended, &x.Request.Trailer); err != nil {
			return err
		}
		if ended {
			return nil
		}
	}
}

// write sends a piece of the body; end says that it is the last one, which a trailer may follow.
func (u *upload) write(p []byte, end bool, trailer *exchange.Header) error {
	c := u.s.c
	var fields []byte
	if end && trailer.Len() > 0 {
		fields = output.AppendTrailer(nil, trailer)
	}
	for len(p) > 0 {
		n, err := u.allowed(len(p), end && len(fields) == 0)
		if err != nil {
			return err
		}
		c.out.End(output.AppendData(c.out.Begin(), p[:n], u.s.id, end && n == len(p) && len(fields) == 0))
		c.out.Flush()
		if p = p[n:]; len(p) == 0 && end && len(fields) == 0 {
			return nil
		}
	}
	if !end {
		return nil
	}
	c.mu.Lock()
	open := u.s.open
	u.s.sent = true
	u.s.closed()
	c.mu.Unlock()
	if !open {
		return errUpstreamWrite
	}
	if len(fields) > 0 {
		c.out.End(output.AppendHeaders(c.out.Begin(), fields, u.s.id, true))
	} else {
		c.out.End(output.AppendData(c.out.Begin(), nil, u.s.id, true))
	}
	c.out.Flush()
	return nil
}

// allowed waits until some of n bytes may be sent, and returns how many; last says that they end the stream.
func (u *upload) allowed(n int, last bool) (int, error) {
	s := u.s
	c := s.c
	for {
		c.mu.Lock()
		if !s.open || u.given.Load() {
			c.mu.Unlock()
			return 0, errUpstreamWrite
		}
		k := min(n, s.window, c.window, output.MaxFrame)
		if k > 0 && c.out.Waiting() < maxUnsent {
			s.window -= k
			c.window -= k
			s.sent = last && k == n
			s.closed()
			c.mu.Unlock()
			return k, nil
		}
		s.blocked = true
		c.mu.Unlock()
		if s.try.Idle > 0 {
			u.timer.Set(exchange.Now() + exchange.Nanos(s.try.Idle))
		}
		<-u.wake
		if u.timer.Expired() {
			u.stalled.Store(true)
			return 0, errUpstreamWrite
		}
		u.timer.Ease()
	}
}

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

// stop waits for the goroutine, ending it if it must.
func (u *upload) stop(x *exchange.Exchange, failed bool) {
	state := u.state
	u.state = uploadNone
	u.stalled.Store(false)
	if state != uploadRuns {
		return
	}
	select {
	case <-u.done:
		return
	default:
	}
	if !failed {
		grace := time.NewTimer(earlyGrace)
		defer grace.Stop()
		select {
		case <-u.done:
			return
		case <-grace.C:
		}
	}
	u.given.Store(true)
	u.signal()
	if b, ok := x.Request.Body.(wire.Cancelable); ok {
		b.Cancel()
	}
	<-u.done
}
