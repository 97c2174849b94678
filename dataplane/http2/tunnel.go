package http2

import (
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // what RFC 6455 asks for; it protects nothing
	"encoding/base64"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	sock "github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http2/wire"
)

// errProtocolUnknown refuses an extended CONNECT for a protocol other than websocket.
var errProtocolUnknown = &wire.Fault{Status: 501, Reason: exchange.NotImplemented, Detail: "CONNECT for a protocol other than websocket"}

// errTunnelIdle says that neither side has sent anything for the idle time-out.
var errTunnelIdle = errors.New("the tunnel was idle")

const (
	keyField    = "Sec-WebSocket-Key"
	acceptField = "Sec-WebSocket-Accept"
	acceptGUID  = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // RFC 6455 §1.3
)

// connect makes an extended CONNECT (RFC 8441) the request that WebSocket begins with over HTTP/1.1, which is what filters,
// routes and endpoints know.
func (s *stream) connect(protocol []byte) *wire.Fault {
	if !exchange.EqualFold(protocol, "websocket") {
		return errProtocolUnknown
	}
	s.websocket = true
	r := &s.x.Request
	r.Method, r.MethodName = exchange.GET, nil
	r.Upgrade, r.Expect, r.ContentLength = true, false, 0
	h := &r.Header
	h.DelID(exchange.ContentLength)
	h.DelID(exchange.Expect)
	h.AddIDString(exchange.Connection, "Upgrade")
	h.AddIDString(exchange.Upgrade, "websocket")
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // it never fails
	key := base64.StdEncoding.EncodeToString(nonce[:])
	h.Set(keyField, key)
	sum := sha1.Sum([]byte(key + acceptGUID)) //nolint:gosec // as above
	base64.StdEncoding.Encode(s.accept[:], sum[:])
	return nil
}

// accepted reports whether the endpoint's 101 answers our key.
func (s *stream) accepted(r *exchange.Response) bool {
	accept, _ := r.Header.Get(acceptField)
	return string(accept) == string(s.accept[:])
}

// tunnel answers an extended CONNECT, and carries bytes both ways until both have ended.
func (s *stream) tunnel(x *exchange.Exchange) error {
	r, far := &x.Response, x.Response.Tunnel
	if err := s.await(false); err != nil {
		return err
	}
	r.Header.Del(acceptField)
	e := s.c.out.BeginHeaders()
	e.Status(200)
	e.Fields(&r.Header, wire.NotSent)
	if err := s.c.out.EndHeaders(s.id, false); err != nil {
		return errClientReset
	}
	t := &tunnel{s: s, far: far, idle: s.idleTime()}
	t.active.Store(int64(exchange.Now()))
	if p, ok := far.(sock.Persistent); ok {
		p.Persist(func() bool { return t.check() == nil })
	}
	if far.SetDeadline(time.Now().Add(t.idle)) != nil {
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
	err := t.down()
	if err != nil {
		t.abort()
		s.cut(err)
	} else {
		s.localOver = true
	}
	s.c.out.Flush()
	upErr := <-up
	x.Record.BytesIn += t.in.Load()
	x.Record.BytesOut += t.out.Load()
	if errors.Is(err, errTunnelIdle) || errors.Is(upErr, errTunnelIdle) {
		x.Record.Reason = exchange.TunnelIdle
	}
	return nil
}

// A tunnel is what the two directions of one share.
type tunnel struct {
	s       *stream
	far     exchange.Tunnel
	idle    time.Duration
	active  atomic.Int64 // exchange.Nanos of the last byte in either direction
	ended   atomic.Bool
	in, out atomic.Int64
}

// abort ends both directions.
func (t *tunnel) abort() {
	t.ended.Store(true)
	_ = t.far.SetDeadline(time.Unix(1, 0))
	c := t.s.c
	c.mu.Lock()
	t.s.body.canceled = true
	t.s.arrive()
	c.mu.Unlock()
	t.s.sender.Signal()
}

// left is how long the tunnel may still be idle.
func (t *tunnel) left() time.Duration {
	return t.idle - time.Duration(int64(exchange.Now())-t.active.Load())
}

// check sets the endpoint's next deadline, or says that the tunnel is over.
func (t *tunnel) check() error {
	if t.ended.Load() || t.s.gone.Load() {
		return net.ErrClosed
	}
	left := t.left()
	if left <= 0 {
		return errTunnelIdle
	}
	err := t.far.SetDeadline(time.Now().Add(left))
	if t.ended.Load() { // meanwhile, and its deadline is overwritten
		return net.ErrClosed
	}
	return err
}

// up copies from the client to the endpoint.
func (t *tunnel) up() error {
	buf := sock.GetBuffer()
	defer buf.Put()
	for {
		n, err := t.s.body.read(buf[:], exchange.Nanos(t.active.Load())+exchange.Nanos(t.idle))
		switch {
		case err == io.EOF:
			return nil
		case errors.Is(err, wire.ErrBodyTimeout):
			if t.left() <= 0 {
				return errTunnelIdle
			}
			continue
		case err != nil:
			return err
		}
		t.active.Store(int64(exchange.Now()))
		if err := t.write(buf[:n]); err != nil {
			return err
		}
		t.in.Add(int64(n))
	}
}

// write writes all of p to the endpoint, through deadlines that were meant for reading.
func (t *tunnel) write(p []byte) error {
	for {
		n, err := t.far.Write(p)
		p = p[n:]
		if n > 0 {
			t.active.Store(int64(exchange.Now()))
		}
		if err == nil {
			return nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if err := t.check(); err != nil {
			return err
		}
	}
}

// down copies from the endpoint to the client.
func (t *tunnel) down() error {
	if err := t.send(t.far.Buffered()); err != nil {
		return err
	}
	buf := sock.GetBuffer()
	defer buf.Put()
	for {
		t.s.c.out.Flush()
		n, err := t.far.Read(buf[:])
		if n > 0 {
			t.active.Store(int64(exchange.Now()))
			if err := t.send(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == nil:
		case err == io.EOF:
			if _, err := t.s.sender.Data(nil, true); err != nil {
				return errClientReset
			}
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			if err := t.check(); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

// send sends all of p to the client.
func (t *tunnel) send(p []byte) error {
	s := t.s
	for len(p) > 0 {
		n, err := s.sender.Data(p, false)
		if err != nil {
			return errClientReset
		}
		p = p[n:]
		t.out.Add(int64(n))
		if n > 0 {
			t.active.Store(int64(exchange.Now()))
		}
		if len(p) == 0 {
			break
		}
		c := s.c
		c.mu.Lock()
		s.sendBy = exchange.Nanos(t.active.Load()) + exchange.Nanos(t.idle)
		c.arm(s.sendBy)
		c.mu.Unlock()
		c.out.Flush()
		<-s.sender.Wake
		c.mu.Lock()
		s.sendBy = 0
		c.mu.Unlock()
		switch {
		case t.ended.Load():
			return net.ErrClosed
		case s.gone.Load():
			return errClientReset
		case t.left() <= 0:
			return errTunnelIdle
		}
	}
	return nil
}
