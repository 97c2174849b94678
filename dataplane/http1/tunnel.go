package http1

import (
	"cmp"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/codec"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
)

// errTunnelIdle says that neither side has sent anything for the idle time-out.
var errTunnelIdle = errors.New("the tunnel was idle")

// tunnel answers 101 and carries bytes both ways until both have ended (RFC 9110 §7.8).
func (c *conn) tunnel(x *exchange.Exchange) error {
	r, w, far := &x.Response, c.w, x.Response.Tunnel
	c.closing = true
	r.Header.AddIDString(exchange.Connection, "Upgrade")
	w.out = wire.GetOut()
	w.out.B = codec.AppendResponseHead(w.out.B, r, codec.NoBody)
	w.out.B = append(w.out.B, far.Buffered()...)
	x.Record.BytesOut += int64(len(far.Buffered()))
	err := c.write(w.out.B)
	w.giveBack()
	if err != nil {
		return err
	}
	c.timer.Set(0)
	t := &relayTunnel{c: c, far: far, idle: c.idleOf(x)}
	t.active.Store(int64(exchange.Now()))
	c.carries.Store(t)
	if p, ok := far.(wire.Persistent); ok {
		p.Persist(func() bool { return t.check(far) == nil })
	}
	t.begin()
	up := make(chan error, 1)
	early := w.in[w.start:w.end] // sent before our 101: it belongs to the new protocol now
	w.start = w.end
	go func() {
		var err error
		if len(early) > 0 {
			_, err = far.Write(early)
			t.in.Add(int64(len(early)))
		}
		if err == nil {
			err = t.pump(tunnelWriter{far}, c.nc, &t.in)
		}
		if err != nil {
			t.abort()
		} else {
			_ = far.CloseWrite()
		}
		up <- err
	}()
	err = t.pump(c.nc, far, &t.out)
	if err != nil {
		t.abort()
	} else if half, ok := c.nc.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	upErr := <-up
	c.stuck = err != nil || upErr != nil
	x.Record.BytesIn += t.in.Load()
	x.Record.BytesOut += t.out.Load()
	if errors.Is(err, errTunnelIdle) || errors.Is(upErr, errTunnelIdle) {
		x.Record.Reason = exchange.TunnelIdle
	}
	return nil
}

// relayTunnel is what the two directions of a tunnel share.
type relayTunnel struct {
	c       *conn
	far     exchange.Tunnel
	idle    time.Duration
	active  atomic.Int64 // exchange.Nanos of the last byte in either direction
	ended   atomic.Bool
	in, out atomic.Int64
}

// begin sets the first deadline of both ends.
func (t *relayTunnel) begin() {
	first := time.Now().Add(t.idle)
	if t.c.nc.SetDeadline(first) != nil || t.far.SetDeadline(first) != nil || t.c.aborted.Load() {
		t.abort()
	}
}

type tunnelWriter struct{ exchange.Tunnel }

func (t *relayTunnel) abort() {
	t.ended.Store(true)
	_ = t.far.SetDeadline(time.Unix(1, 0))
	_ = t.c.nc.SetDeadline(time.Unix(1, 0))
}

// deadliner is either end.
type deadliner interface {
	io.ReadWriter
	SetDeadline(time.Time) error
}

// pump copies one direction until its source ends. A tunnel may be silent for long, so it sets a real deadline once an
// idle period, not a time stamp that a sweep has to look at.
func (t *relayTunnel) pump(dst, src deadliner, moved *atomic.Int64) error {
	buf := wire.GetBuffer()
	defer buf.Put()
	for {
		n, err := src.Read(buf[:])
		if n > 0 {
			t.active.Store(int64(exchange.Now()))
			if _, err := t.write(dst, buf[:n]); err != nil {
				return err
			}
			moved.Add(int64(n))
		}
		switch {
		case err == nil:
		case err == io.EOF:
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			if err := t.check(src); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

// write writes all of p, through deadlines that were meant for the other direction.
func (t *relayTunnel) write(dst deadliner, p []byte) (int, error) {
	for at := 0; ; {
		n, err := dst.Write(p[at:])
		at += n
		if err == nil {
			return at, nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return at, err
		}
		if dst == t.c.nc && t.c.carrier != nil { // over TLS the Carrier has asked check already
			return at, cmp.Or(t.check(dst), errTunnelIdle)
		}
		if n > 0 {
			t.active.Store(int64(exchange.Now()))
		}
		if err := t.check(dst); err != nil {
			return at, err
		}
	}
}

// check sets the next deadline of one end, or says that the tunnel is over.
func (t *relayTunnel) check(end deadliner) error {
	if t.ended.Load() || t.c.aborted.Load() {
		return net.ErrClosed
	}
	left := t.idle - time.Duration(int64(exchange.Now())-t.active.Load())
	if left <= 0 {
		return errTunnelIdle
	}
	err := end.SetDeadline(time.Now().Add(left))
	if t.ended.Load() || t.c.aborted.Load() { // meanwhile, and its deadline is overwritten
		return net.ErrClosed
	}
	return err
}
