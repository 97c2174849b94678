package http2

import (
	"errors"
	"net"
	"os"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http2/tunnel"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http2/wire"
)

// errProtocolUnknown refuses an extended CONNECT for a protocol other than websocket.
var errProtocolUnknown = &wire.Fault{Status: 501, Reason: exchange.NotImplemented, Detail: "CONNECT for a protocol other than websocket"}

const (
	keyField    = "Sec-WebSocket-Key"
	acceptField = "Sec-WebSocket-Accept"
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
	h.Set(keyField, tunnel.Key(&s.accept))
	return nil
}

// accepted reports whether the endpoint's 101 answers our key.
func (s *stream) accepted(r *exchange.Response) bool {
	accept, _ := r.Header.Get(acceptField)
	return string(accept) == string(s.accept[:])
}

// tunnel answers an extended CONNECT, and carries bytes both ways until both have ended.
func (s *stream) tunnel(x *exchange.Exchange) error {
	r := &x.Response
	if err := s.await(false); err != nil {
		return err
	}
	r.Header.Del(acceptField)
	e := s.c.out.BeginHeaders(&s.sender)
	if e == nil {
		return errClientReset
	}
	e.Status(200)
	e.Fields(&r.Header, wire.NotSent)
	if _, err := s.c.out.EndHeaders(&s.sender, nil, false); err != nil {
		return errClientReset
	}
	in, out, err := tunnel.Run((*near)(s), r.Tunnel, s.idleTime())
	x.Record.BytesIn += in
	x.Record.BytesOut += out
	if err != nil {
		s.cut(errClientReset)
		s.c.out.Flush()
	}
	if errors.Is(err, tunnel.ErrIdle) {
		x.Record.Reason = exchange.TunnelIdle
	}
	return nil
}

// near is the stream as a tunnel sees it.
type near stream

// Read implements tunnel.Near.
func (n *near) Read(p []byte, by exchange.Nanos) (int, error) {
	k, err := n.body.ReadBy(p, by)
	if errors.Is(err, wire.ErrBodyTimeout) {
		err = os.ErrDeadlineExceeded
	}
	return k, err
}

// Write implements tunnel.Near.
func (n *near) Write(p []byte, by exchange.Nanos) (int, error) {
	s := (*stream)(n)
	k, err := s.sender.Data(p, false)
	switch {
	case err != nil || s.gone.Load():
		return 0, errClientReset
	case k > 0:
		return k, nil
	}
	if s.wait(by) {
		err = os.ErrDeadlineExceeded
	}
	return 0, err
}

// CloseWrite implements tunnel.Near.
func (n *near) CloseWrite() error {
	if _, err := n.sender.Data(nil, true); err != nil {
		return net.ErrClosed
	}
	n.localOver.Store(true)
	return nil
}

// Flush implements tunnel.Near.
func (n *near) Flush() { (*stream)(n).Flush() }

// Interrupt implements tunnel.Near.
func (n *near) Interrupt() {
	n.body.Cancel()
	n.sender.Signal()
}

// Gone implements tunnel.Near.
func (n *near) Gone() bool { return n.gone.Load() }
