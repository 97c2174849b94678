package client

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// webSocket returns a request for one (RFC 6455 §1.2).
func webSocket() *exchange.Exchange {
	x, _ := request(exchange.GET, "/chat")
	r := &x.Request
	r.Upgrade = true
	r.Header.Add("Connection", "Upgrade")
	r.Header.Add("Upgrade", "websocket")
	r.Header.Add("Sec-WebSocket-Version", "13")
	r.Header.Add("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	return x
}

var allowed = http2.Setting{ID: http2.SettingEnableConnectProtocol, Val: 1}

// echo answers an extended CONNECT with that status, and sends back what comes.
func echo(status string, asked chan<- *http2.MetaHeadersFrame) func(*peer) {
	return func(p *peer) {
		p.settle(allowed)
		p.until(func(f http2.Frame) bool {
			switch f := f.(type) {
			case *http2.MetaHeadersFrame:
				asked <- f
				p.headers(f.StreamID, false, ":status: "+status)
			case *http2.DataFrame:
				if n := len(f.Data()); n > 0 {
					_ = p.framer.WriteWindowUpdate(0, uint32(n))
					if !f.StreamEnded() {
						_ = p.framer.WriteWindowUpdate(f.StreamID, uint32(n))
					}
				}
				p.data(f.StreamID, f.StreamEnded(), string(f.Data()))
			}
			return false
		})
	}
}

func TestWebSocket(t *testing.T) {
	asked := make(chan *http2.MetaHeadersFrame, 10)
	pool := scripted(t, echo("200", asked))
	x := webSocket()
	if err := pool.RoundTrip(x, in(patience)); err != nil {
		t.Fatal(err)
	}
	f := <-asked
	fields := map[string]string{}
	for _, h := range f.Fields {
		fields[h.Name] = h.Value
	}
	for name, want := range map[string]string{
		":method": "CONNECT", ":protocol": "websocket", ":scheme": "http", ":path": "/chat", ":authority": "example.com",
		"sec-websocket-version": "13", "sec-websocket-key": "", "upgrade": "", "connection": "",
	} {
		if fields[name] != want {
			t.Errorf("%s: %q, want %q", name, fields[name], want)
		}
	}
	r := &x.Response
	accept, _ := r.Header.Get("Sec-WebSocket-Accept")
	if r.Status != 101 || r.Tunnel == nil || string(accept) != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" || !r.Header.Token(exchange.Upgrade, "websocket") {
		t.Fatalf("%d %q", r.Status, list(&r.Header))
	}
	text := strings.Repeat("0123456789", 6_000) // the peer goes by no window
	go func() {
		for at := 0; at < len(text); at += 1_000 {
			if _, err := io.WriteString(r.Tunnel, text[at:at+1_000]); err != nil {
				t.Error(err)
				return
			}
		}
		if err := r.Tunnel.CloseWrite(); err != nil {
			t.Error(err)
		}
	}()
	got, err := io.ReadAll(r.Tunnel)
	if string(got) != text || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	x.ResetResponse()
}

func TestTunnelDeadlines(t *testing.T) {
	asked := make(chan *http2.MetaHeadersFrame, 10)
	pool := scripted(t, func(p *peer) { // takes nothing, and says nothing
		p.settle(allowed)
		id := p.request()
		p.headers(id, false, ":status: 200")
		p.drain()
	})
	close(asked)
	x := webSocket()
	if err := pool.RoundTrip(x, in(patience)); err != nil {
		t.Fatal(err)
	}
	tunnel := x.Response.Tunnel
	if err := tunnel.SetDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := tunnel.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("reading: %v", err)
	}
	if n, err := io.WriteString(tunnel, strings.Repeat("x", 100_000)); !errors.Is(err, os.ErrDeadlineExceeded) || n != streamWindow {
		t.Errorf("writing: %d bytes, %v", n, err)
	}
	_ = tunnel.SetDeadline(time.Time{})
	waiting := make(chan error, 1)
	go func() {
		_, err := tunnel.Read(make([]byte, 1))
		waiting <- err
	}()
	_ = tunnel.Close()
	if err := <-waiting; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("reading while it is closed: %v", err)
	}
	x.ResetResponse()
}

func TestWebSocketRefused(t *testing.T) {
	asked := make(chan *http2.MetaHeadersFrame, 10)
	pool := scripted(t, echo("403", asked))
	x := webSocket()
	if err := pool.RoundTrip(x, in(patience)); err != nil {
		t.Fatal(err)
	}
	if x.Response.Status != 403 || x.Response.Tunnel != nil {
		t.Errorf("%+v", x.Response)
	}
	x.ResetResponse()
	pool = scripted(t, func(p *peer) { // knows no extended CONNECT
		p.settle()
		p.drain()
	})
	f := failure(t, pool.RoundTrip(webSocket(), in(patience)), exchange.UpstreamProtocol)
	if f.Sent {
		t.Error("it was sent")
	}
	pool = scripted(t, func(p *peer) { p.drain() }) // says nothing at all
	fails(t, pool.RoundTrip(webSocket(), in(100*time.Millisecond)), exchange.UpstreamTimeout)
}
