package client

import (
	"crypto/sha1" //nolint:gosec // RFC 6455 §4.2.2 has it, and not as a protection
	"encoding/base64"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http2/client/output"
)

// webSocketGUID is what the accepting side proves with that it has understood (RFC 6455 §1.3).
const webSocketGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// A tunnel is a stream after its endpoint took an extended CONNECT (RFC 8441). It implements exchange.Tunnel.
type tunnel struct {
	s        *stream
	deadline atomic.Int64 // exchange.Nanos; 0: none
}

// begin makes the endpoint's answer what a client of HTTP/1.1 waits for.
func (t *tunnel) begin(r *exchange.Response) {
	s := t.s
	s.body.reset()
	t.deadline.Store(0)
	r.Status, r.ContentLength, r.Body, r.Tunnel = 101, 0, nil, t
	s.x.Record.UpstreamStatus = 101
	r.Header.AddIDString(exchange.Upgrade, "websocket")
	if key, ok := s.x.Request.Header.Get(output.WebSocketKey); ok {
		sum := sha1.Sum(append(append(make([]byte, 0, 64), key...), webSocketGUID...)) //nolint:gosec // as above
		r.Header.Set("Sec-WebSocket-Accept", base64.StdEncoding.EncodeToString(sum[:]))
	}
}

// overdue reports whether the deadline has passed.
func (t *tunnel) overdue() bool {
	at := t.deadline.Load()
	return at != 0 && int64(exchange.Now()) >= at
}

// Read implements exchange.Tunnel.
func (t *tunnel) Read(p []byte) (int, error) {
	b := &t.s.body
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
		case t.overdue():
			return 0, os.ErrDeadlineExceeded
		}
		<-t.s.wake
	}
}

// Write implements exchange.Tunnel.
func (t *tunnel) Write(p []byte) (int, error) {
	s := t.s
	c := s.c
	for at := 0; at < len(p); {
		c.mu.Lock()
		if !s.open || s.sent {
			c.mu.Unlock()
			return at, net.ErrClosed
		}
		n := min(len(p)-at, s.window, c.window, output.MaxFrame)
		if n <= 0 || c.out.Waiting() >= maxUnsent {
			s.blocked = true
			c.mu.Unlock()
			if t.overdue() {
				return at, os.ErrDeadlineExceeded
			}
			<-s.upload.wake
			continue
		}
		s.window -= n
		c.window -= n
		c.mu.Unlock()
		c.out.End(output.AppendData(c.out.Begin(), p[at:at+n], s.id, false))
		c.out.Flush()
		at += n
	}
	return len(p), nil
}

// CloseWrite implements exchange.Tunnel.
func (t *tunnel) CloseWrite() error {
	s := t.s
	c := s.c
	c.mu.Lock()
	if !s.open || s.sent {
		c.mu.Unlock()
		return net.ErrClosed
	}
	s.sent = true
	s.closed()
	c.out.End(output.AppendData(c.out.Begin(), nil, s.id, true))
	c.mu.Unlock()
	c.out.Flush()
	return nil
}

// SetDeadline implements exchange.Tunnel, to about a twentieth of a second.
func (t *tunnel) SetDeadline(at time.Time) error {
	n := exchange.Nanos(0)
	if !at.IsZero() {
		n = max(exchange.Now()+exchange.Nanos(time.Until(at)), 1)
	}
	t.deadline.Store(int64(n))
	t.s.timer.Set(n)
	t.s.Wake() // who waits looks at the new one
	return nil
}

// Close implements exchange.Tunnel: whoever waits stops waiting.
func (t *tunnel) Close() error { return t.SetDeadline(time.Unix(1, 0)) }

// Buffered implements exchange.Tunnel.
func (t *tunnel) Buffered() []byte { return nil }
