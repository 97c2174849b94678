package http2

import (
	"io"
	"net"
	"testing"
	"time"

	h2 "golang.org/x/net/http2"
)

// endpoint is the endpoint's end of a tunnel.
type endpoint struct {
	*net.TCPConn
	early string
}

func (e *endpoint) Buffered() []byte { return []byte(e.early) }

// tunneled opens a WebSocket, and returns the far end of the endpoint's connection.
func (r *rig) tunneled(p *peer, path string) *net.TCPConn {
	r.t.Helper()
	near, far := pair(r.t)
	r.t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	_ = near.SetDeadline(time.Now().Add(testPatience))
	r.h.tunnel.Store(&endpoint{far.(*net.TCPConn), "early"})
	p.headers(1, false, p.fields(":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "a.example",
		":path", path, "sec-websocket-version", "13", "content-length", "5", "sec-websocket-key", "theirs"))
	p.flush()
	return near.(*net.TCPConn)
}

func (p *peer) opened() {
	p.t.Helper()
	f, ok := p.frame().(*h2.MetaHeadersFrame)
	if !ok || f.PseudoValue("status") != "200" || f.StreamEnded() {
		p.t.Fatalf("%v", f)
	}
	for _, field := range f.RegularFields() {
		switch field.Name {
		case "sec-websocket-accept", "upgrade", "connection", "content-length":
			p.t.Errorf("%v", field)
		}
	}
}

func (p *peer) data(want string) (ended bool) {
	p.t.Helper()
	got := ""
	for {
		f, ok := p.frame().(*h2.DataFrame)
		if !ok {
			p.t.Fatalf("%v", f)
		}
		got += string(f.Data())
		if f.StreamEnded() || len(got) >= len(want) && want != "" {
			if got != want {
				p.t.Fatalf("%q instead of %q", got, want)
			}
			return f.StreamEnded()
		}
	}
}

func TestWebSocket(t *testing.T) {
	r := newRig(t, ServerOptions{})
	p := r.peer("plain")
	far := r.tunneled(p, "/ws")
	p.opened()
	p.data("early")
	_ = p.framer.WriteData(1, false, []byte("ping"))
	p.flush()
	buf := make([]byte, 4)
	if _, err := io.ReadFull(far, buf); err != nil || string(buf) != "ping" {
		t.Fatalf("%q, %v", buf, err)
	}
	if _, err := far.Write([]byte("pong")); err != nil {
		t.Fatal(err)
	}
	p.data("pong")
	_ = p.framer.WriteData(1, true, []byte("bye"))
	p.flush()
	if rest, err := io.ReadAll(far); err != nil || string(rest) != "bye" {
		t.Fatalf("%q, %v", rest, err)
	}
	_, _ = far.Write([]byte("last"))
	_ = far.CloseWrite()
	p.data("last")
	if err := <-r.h.errs; err != nil {
		t.Error(err)
	}
}

func TestWebSocketEnds(t *testing.T) {
	for name, end := range map[string]func(p *peer, far *net.TCPConn){
		"reset by the client": func(p *peer, _ *net.TCPConn) {
			_ = p.framer.WriteRSTStream(1, h2.ErrCodeCancel)
			p.flush()
		},
		"client gone":           func(p *peer, _ *net.TCPConn) { _ = p.nc.Close() },
		"reset by the endpoint": func(_ *peer, far *net.TCPConn) { _ = far.SetLinger(0); _ = far.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, ServerOptions{})
			p := r.peer("plain")
			far := r.tunneled(p, "/ws")
			p.opened()
			end(p, far)
			if err := <-r.h.errs; err != nil {
				t.Error(err)
			}
			if name == "reset by the endpoint" {
				if o := p.await(1); !o.torn {
					t.Errorf("%+v", o)
				}
			}
		})
	}
}

func TestWebSocketIdle(t *testing.T) {
	r := newRig(t, ServerOptions{IdleTimeout: short})
	p := r.peer("plain")
	r.tunneled(p, "/ws")
	p.opened()
	if err := <-r.h.errs; err != nil {
		t.Error(err)
	}
	if o := p.await(1); !o.torn || o.reset != h2.ErrCodeCancel {
		t.Errorf("%+v", o)
	}
}

// TestNoTunnel: neither a 101 that answers another key nor a 2xx makes a client believe that there is a tunnel.
func TestNoTunnel(t *testing.T) {
	for _, path := range []string{"/ws-wrong", "/x"} {
		r := newRig(t, ServerOptions{})
		p := r.peer("plain")
		r.tunneled(p, path)
		if o := p.await(1); o.status != "502" || o.fields["content-type"] == "" {
			t.Errorf("%s: %+v", path, o)
		}
	}
}
