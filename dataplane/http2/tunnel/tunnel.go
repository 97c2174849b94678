package tunnel

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	sock "github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
)

// ErrIdle says that neither side has sent anything for the idle time-out.
var ErrIdle = errors.New("the tunnel was idle")

// A Near is the client's side of a tunnel. What waits until a time longer returns os.ErrDeadlineExceeded.
type Near interface {
	// Read waits for bytes until that time; io.EOF is the end that the client announced.
	Read(p []byte, by exchange.Nanos) (int, error)
	// Write sends as much of p as can be sent, and waits until that time where that is nothing.
	Write(p []byte, by exchange.Nanos) (int, error)
	CloseWrite() error
	// Flush has what was written leave.
	Flush()
	// Interrupt has everything that waits, or will, fail.
	Interrupt()
	// Gone reports whether nobody is there any more.
	Gone() bool
}

// A relay is what the two directions of a tunnel share.
type relay struct {
	near    Near
	far     exchange.Tunnel
	idle    time.Duration
	active  atomic.Int64 // exchange.Nanos of the last byte in either direction
	ended   atomic.Bool
	in, out atomic.Int64
}

// Run carries bytes both ways, and returns how many, and why the tunnel broke off; nil is an end that both sides wanted.
func Run(near Near, far exchange.Tunnel, idle time.Duration) (in, out int64, err error) {
	t := &relay{near: near, far: far, idle: idle}
	t.moved()
	if p, ok := far.(sock.Persistent); ok {
		p.Persist(func() bool { return t.check() == nil })
	}
	if far.SetDeadline(time.Now().Add(idle)) != nil {
		t.abort()
	}
	up := make(chan error, 1)
	go func() {
		err := t.up()
		if err != nil {
			t.abort()
		} else {
			_ = far.CloseWrite()
		}
		up <- err
	}()
	err = t.down()
	if err != nil {
		t.abort()
	}
	near.Flush()
	upErr := <-up
	if err == nil || errors.Is(err, net.ErrClosed) && upErr != nil { // the other direction says why
		err = upErr
	}
	return t.in.Load(), t.out.Load(), err
}

func (t *relay) moved() { t.active.Store(int64(exchange.Now())) }

// by is when a byte must have come or gone.
func (t *relay) by() exchange.Nanos { return exchange.Nanos(t.active.Load()) + exchange.Nanos(t.idle) }

// abort ends both directions.
func (t *relay) abort() {
	t.ended.Store(true)
	_ = t.far.SetDeadline(time.Unix(1, 0))
	t.near.Interrupt()
}

// check sets the endpoint's next deadline, or says that the tunnel is over.
func (t *relay) check() error {
	left := time.Duration(t.by() - exchange.Now())
	switch {
	case t.ended.Load() || t.near.Gone():
		return net.ErrClosed
	case left <= 0:
		return ErrIdle
	}
	err := t.far.SetDeadline(time.Now().Add(left))
	if t.ended.Load() { // meanwhile, and its deadline is overwritten
		return net.ErrClosed
	}
	return err
}

// again decides what the error of a wait means: nil is to go on, for the other direction was not idle.
func (t *relay) again(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return t.check()
	}
	return err
}

// up copies from the client to the endpoint.
func (t *relay) up() error {
	buf := sock.GetBuffer()
	defer buf.Put()
	for {
		n, err := t.near.Read(buf[:], t.by())
		if err == io.EOF {
			return nil
		}
		if err != nil {
			if err = t.again(err); err != nil {
				return err
			}
			continue
		}
		t.moved()
		for p := buf[:n]; len(p) > 0; {
			n, err := t.far.Write(p)
			p = p[n:]
			if t.in.Add(int64(n)); n > 0 {
				t.moved()
			}
			if err != nil {
				if err = t.again(err); err != nil {
					return err
				}
			}
		}
	}
}

// down copies from the endpoint to the client.
func (t *relay) down() error {
	if err := t.send(t.far.Buffered()); err != nil {
		return err
	}
	buf := sock.GetBuffer()
	defer buf.Put()
	for {
		t.near.Flush()
		n, err := t.far.Read(buf[:])
		if n > 0 {
			t.moved()
			if err := t.send(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return t.near.CloseWrite()
		}
		if err != nil {
			if err = t.again(err); err != nil {
				return err
			}
		}
	}
}

// send sends all of p to the client.
func (t *relay) send(p []byte) error {
	for len(p) > 0 {
		if t.ended.Load() {
			return net.ErrClosed
		}
		n, err := t.near.Write(p, t.by())
		p = p[n:]
		if t.out.Add(int64(n)); n > 0 {
			t.moved()
		}
		if err != nil {
			if err = t.again(err); err != nil {
				return err
			}
		}
	}
	return nil
}
