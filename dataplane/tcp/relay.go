package tcp

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
)

var (
	errIdle  = errors.New("the connection was idle")
	errReset = errors.New("the endpoint ended the connection without an answer")
)

// pipePatience is for how long a pipe waits for more. Without it, what comes in pieces would be copied in part between two
// waits: measured, that takes more than twice the processor's time.
const pipePatience = 50 * time.Millisecond

// A relay passes bytes on between two ends.
type relay struct {
	client, far *end
	idle        time.Duration
	metrics     *telemetry.StreamMetrics
	answered    func() // is called when the endpoint has sent something, or come to its end

	active  atomic.Int64 // exchange.Nanos of the last byte in either direction
	ended   atomic.Bool
	in, out atomic.Int64
	torn    bool // one side broke off
}

// A flow is one direction of a relay.
type flow struct {
	*relay
	dst, src *end
	moved    *atomic.Int64
	total    *atomic.Uint64
	first    func() // at the first byte, and at the end
}

// run carries both directions to their ends, and says why it was not both sides that came to theirs.
func (r *relay) run() exchange.Reason {
	r.active.Store(int64(exchange.Now()))
	for _, e := range [...]*end{r.client, r.far} {
		if e.carrier != nil {
			e.carrier.Owner = again{r, e}
		}
		if r.rearm(e) != nil {
			r.abort()
		}
	}
	up := flow{relay: r, dst: r.far, src: r.client, moved: &r.in, total: &r.metrics.BytesIn}
	down := flow{relay: r, dst: r.client, src: r.far, moved: &r.out, total: &r.metrics.BytesOut, first: r.answered}
	done := make(chan failure, 1)
	go func() { done <- up.carry() }()
	fell := down.carry()
	rose := <-done
	return r.reason(rose, fell)
}

// A failure is why a direction did not come to its end, and which side it is of.
type failure struct {
	err     error
	reading bool
}

// carry passes on what src sends until it ends.
func (f *flow) carry() failure {
	why := f.pump()
	if why.err == nil {
		_ = f.dst.closeWrite() // who is gone already need not be told
	} else {
		f.abort()
	}
	return why
}

// reason says why a relay is over, by what became of both directions.
func (r *relay) reason(up, down failure) exchange.Reason {
	switch {
	case up.err == nil && down.err == nil:
		return ""
	case errors.Is(up.err, errIdle) || errors.Is(down.err, errIdle):
		return exchange.TunnelIdle
	}
	r.torn = true
	// What came first is the cause; the other direction was woken then.
	first, downwards := up, false
	if up.err == nil || errors.Is(up.err, net.ErrClosed) {
		first, downwards = down, true
	}
	if first.reading == downwards {
		return exchange.UpstreamReset
	}
	return exchange.ClientReset
}

// pump copies until src ends. While src is silent no buffer and no pipe is held; what comes in bulk on plain connections is
// moved by the kernel.
func (f *flow) pump() failure {
	var buf *wire.Buffer
	var n int
	var got error
	read := func(fd uintptr) bool {
		if buf == nil {
			buf = wire.GetBuffer()
		}
		n, got = f.src.receive(int(fd), buf.Data())
		if got == syscall.EAGAIN {
			buf.Put()
			buf = nil
			return false
		}
		return true
	}
	defer func() {
		if buf != nil {
			buf.Put()
		}
	}()
	for {
		err := f.src.raw.Read(read)
		if err == nil {
			err = got
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			if err := f.check(f.src); err != nil {
				return failure{err: err, reading: true}
			}
			continue
		case err != nil:
			return failure{err: err, reading: true}
		}
		f.begun()
		if n == 0 {
			return failure{}
		}
		f.touch(0)
		if err := f.write(buf.Data()[:n]); err != nil {
			return failure{err: err}
		}
		if n < wire.BufferSize || f.src.plain() == nil || f.dst.plain() == nil {
			continue
		}
		buf.Put()
		buf = nil
		reading, err := wire.Flow(f.dst.tcp, f.src.tcp, f, pipePatience)
		if err != nil && !errors.Is(err, wire.ErrNoPipe) {
			return failure{err: f.deadline(err), reading: reading}
		}
		if err := f.rearm(f.src); err != nil {
			return failure{err: err, reading: true}
		}
	}
}

// deadline is what a deadline means that ended a write.
func (f *flow) deadline(err error) error {
	switch {
	case !errors.Is(err, os.ErrDeadlineExceeded):
		return err
	case f.ended.Load():
		return net.ErrClosed
	}
	return errIdle
}

// begun says once that src has sent something, or come to its end.
func (f *flow) begun() {
	if f.first != nil {
		f.first()
		f.first = nil
	}
}

// write writes all of p, through deadlines that were meant for the other direction.
func (f *flow) write(p []byte) error {
	for {
		n, err := f.dst.nc.Write(p)
		f.touch(n)
		p = p[n:]
		if err == nil {
			return nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || f.dst.carrier != nil { // over TLS the Carrier has asked already
			return f.deadline(err)
		}
		if err := f.check(f.dst); err != nil {
			return err
		}
	}
}

// touch notes that n bytes were passed on.
func (f *flow) touch(n int) {
	f.active.Store(int64(exchange.Now()))
	f.moved.Add(int64(n))
	f.total.Add(uint64(n))
}

// Waits implements wire.Side.
func (f *flow) Waits() {}

// Moved implements wire.Side.
func (f *flow) Moved(n int) { f.touch(n) }

// Spurious implements wire.Side.
func (f *flow) Spurious() bool { return f.check(f.dst) == nil }

// again lets a write over TLS go on through a deadline that was not meant for it.
type again struct {
	r *relay
	e *end
}

// Again implements the owner of a wire.Carrier.
func (a again) Again() bool { return a.r.check(a.e) == nil }

// check sets the next deadline of one end, or says that the relay is over. A connection may be silent for long, so it has
// a deadline once an idle period, not one for every byte.
func (r *relay) check(e *end) error {
	if r.ended.Load() {
		return net.ErrClosed
	}
	if int64(exchange.Now())-r.active.Load() >= int64(r.idle) {
		return errIdle
	}
	return r.rearm(e)
}

func (r *relay) rearm(e *end) error {
	left := r.idle - time.Duration(int64(exchange.Now())-r.active.Load())
	err := e.tcp.SetDeadline(time.Now().Add(max(left, time.Millisecond)))
	if r.ended.Load() { // meanwhile, and its deadline is overwritten
		return net.ErrClosed
	}
	return err
}

// abort ends both directions.
func (r *relay) abort() {
	r.ended.Store(true)
	past := time.Unix(1, 0)
	_ = r.client.tcp.SetDeadline(past)
	_ = r.far.tcp.SetDeadline(past)
}
