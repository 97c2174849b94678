package http2

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	h2 "golang.org/x/net/http2"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/codec"
)

func TestMalformedRequests(t *testing.T) {
	ok := func(more ...string) []string {
		return append([]string{":method", "GET", ":scheme", "http", ":authority", "a.example", ":path", "/x"}, more...)
	}
	for _, test := range []struct {
		name   string
		fields []string
		status string
		whole  bool // the answer is not followed by a reset
	}{
		{"upper case", ok("X-Upper", "1"), "400", false},
		{"unknown pseudo", ok(":what", "1"), "400", false},
		{"status", ok(":status", "200"), "400", false},
		{"late pseudo", []string{":method", "GET", ":scheme", "http", "a", "b", ":path", "/x"}, "400", false},
		{"two paths", ok(":path", "/y"), "400", false},
		{"no path", []string{":method", "GET", ":scheme", "http", ":authority", "a.example"}, "400", false},
		{"no method", []string{":path", "/", ":scheme", "http", ":authority", "a.example"}, "400", false},
		{"no authority", []string{":method", "GET", ":scheme", "http", ":path", "/x"}, "400", false},
		{"scheme", []string{":method", "GET", ":scheme", "ftp", ":authority", "a.example", ":path", "/x"}, "400", false},
		{"Connection", ok("connection", "close"), "400", false},
		{"Keep-Alive", ok("keep-alive", "1"), "400", false},
		{"Proxy-Connection", ok("proxy-connection", "keep-alive"), "400", false},
		{"Upgrade", ok("upgrade", "h2c"), "400", false},
		{"Transfer-Encoding", ok("transfer-encoding", "chunked"), "400", false},
		{"TE", ok("te", "gzip"), "400", false},
		{"CR in a value", ok("a", "b\rc"), "400", false},
		{"LF in a value", ok("a", "b\nc: d"), "400", false},
		{"NUL in a value", ok("a", "b\x00"), "400", false},
		{"space around a value", ok("a", " b"), "400", false},
		{"space in a name", ok("a b", "c"), "400", false},
		{"colon in a name", ok("a:b", "c"), "400", false},
		{"empty name", ok("", "c"), "400", false},
		{"CR LF in the path", []string{":method", "GET", ":scheme", "http", ":authority", "a.example", ":path", "/x HTTP/1.1\r\nA: b"}, "400", false},
		{"space in the path", []string{":method", "GET", ":scheme", "http", ":authority", "a.example", ":path", "/x y"}, "400", false},
		{"absolute path", []string{":method", "GET", ":scheme", "http", ":authority", "a.example", ":path", "http://b/"}, "400", false},
		{"space in the method", []string{":method", "GET /", ":scheme", "http", ":authority", "a.example", ":path", "/x"}, "400", false},
		{"user in the authority", []string{":method", "GET", ":scheme", "http", ":authority", "u@a.example", ":path", "/x"}, "400", false},
		{"LF in the authority", []string{":method", "GET", ":scheme", "http", ":authority", "a\nb: c", ":path", "/x"}, "400", false},
		{"Host differs", ok("host", "b.example"), "400", false},
		{"two Hosts", ok("host", "a.example", "host", "a.example"), "400", false},
		{"length without a body", ok("content-length", "5"), "400", false},
		{"bad length", ok("content-length", "+0"), "400", false},
		{"two lengths", ok("content-length", "0", "content-length", "0"), "400", false},
		{"protocol without CONNECT", ok(":protocol", "websocket"), "400", false},
		{"CONNECT with a path", []string{":method", "CONNECT", ":scheme", "http", ":authority", "a.example", ":path", "/x"}, "400", false},
		{"another protocol", []string{":method", "CONNECT", ":scheme", "http", ":authority", "a.example", ":path", "/x", ":protocol", "connect-udp"}, "501", true},
		{"expectation", ok("expect", "200-ok"), "417", true},
		{"long path", []string{":method", "GET", ":scheme", "http", ":authority", "a.example", ":path", "/" + strings.Repeat("x", 300)}, "414", true},
		{"large field", ok("a", strings.Repeat("x", 4000)), "431", true},
		{"many fields", ok(strings.Fields(strings.Repeat("a b ", 60))...), "431", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, ServerOptions{Limits: codec.Limits{RequestLine: 200, Bytes: 4000, Fields: 40}})
			p := r.peer("plain")
			p.headers(1, true, p.fields(test.fields...))
			p.flush()
			o := p.await(1)
			p.headers(3, true, p.request("GET", "/after"))
			p.flush()
			if o.status != test.status || o.torn == test.whole || o.torn && o.reset != h2.ErrCodeProtocol {
				t.Errorf("%+v", o)
			}
			if o := p.await(3); o.status != "200" || o.body != "/after" {
				t.Errorf("the next request: %+v", o)
			}
			if n := r.h.served.Load(); n != 1 {
				t.Errorf("%d requests were served", n)
			}
		})
	}
}

func TestBodiesOfAnotherLength(t *testing.T) {
	for name, send := range map[string]func(p *peer){
		"longer":         func(p *peer) { _ = p.framer.WriteData(1, false, []byte("abcdef")) },
		"shorter":        func(p *peer) { _ = p.framer.WriteData(1, true, []byte("ab")) },
		"ends in fields": func(p *peer) { p.headers(1, true, p.fields("x", "y")) },
		"bad trailer": func(p *peer) {
			_ = p.framer.WriteData(1, false, []byte("abcde"))
			p.headers(1, true, p.fields("connection", "close"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, ServerOptions{})
			p := r.peer("plain")
			p.headers(1, false, p.request("POST", "/read", "content-length", "5"))
			p.flush()
			send(p)
			p.flush()
			if o := p.await(1); o.reset != h2.ErrCodeProtocol || o.status != "" {
				t.Errorf("%+v", o)
			}
			if r.h.served.Load() > 0 {
				var head *codec.HeadError
				if err := <-r.h.errs; err == nil || errors.As(err, &head) && head.Status != 400 {
					t.Errorf("the handler read %v", err)
				}
			}
		})
	}
}

// TestFloods: who has work done for nothing is cut off.
func TestFloods(t *testing.T) {
	for name, flood := range map[string]func(p *peer, i int){
		"PING":          func(p *peer, _ int) { _ = p.framer.WritePing(false, [8]byte{}) },
		"PING ack":      func(p *peer, _ int) { _ = p.framer.WritePing(true, [8]byte{}) },
		"SETTINGS":      func(p *peer, _ int) { _ = p.framer.WriteSettings() },
		"PRIORITY":      func(p *peer, _ int) { _ = p.framer.WritePriority(3, h2.PriorityParam{Weight: 1}) },
		"WINDOW_UPDATE": func(p *peer, _ int) { _ = p.framer.WriteWindowUpdate(0, 1) },
		"unknown":       func(p *peer, _ int) { _ = p.framer.WriteRawFrame(99, 0, 0, nil) },
		"empty DATA": func(p *peer, i int) {
			if i == 0 {
				p.headers(1, false, p.request("POST", "/read"))
			}
			_ = p.framer.WriteData(1, false, nil)
		},
		"padding": func(p *peer, i int) {
			if i == 0 {
				p.headers(1, false, p.request("POST", "/read"))
			}
			// All of it is less than the MiB that is dropped behind a GOAWAY: the rest would be answered with a reset, which can
			// overtake that.
			_ = p.framer.WriteDataPadded(1, false, nil, make([]byte, 150))
		},
		"Rapid Reset": func(p *peer, i int) {
			p.headers(uint32(2*i+1), true, p.request("GET", "/x"))
			_ = p.framer.WriteRSTStream(uint32(2*i+1), h2.ErrCodeCancel)
			if i%50 == 49 {
				p.flush()
			}
		},
		"MadeYouReset by a window": func(p *peer, i int) {
			p.headers(uint32(2*i+1), true, p.request("GET", "/x"))
			_ = p.framer.WriteWindowUpdate(uint32(2*i+1), 0)
		},
		"MadeYouReset by an overflow": func(p *peer, i int) {
			p.headers(uint32(2*i+1), true, p.request("GET", "/x"))
			_ = p.framer.WriteWindowUpdate(uint32(2*i+1), 1<<31-1)
		},
		"MadeYouReset by DATA": func(p *peer, i int) {
			p.headers(uint32(2*i+1), true, p.request("GET", "/x"))
			_ = p.framer.WriteData(uint32(2*i+1), true, nil)
		},
		"MadeYouReset by a priority": func(p *peer, i int) {
			p.headers(uint32(2*i+1), true, p.request("GET", "/x"))
			_ = p.framer.WritePriority(uint32(2*i+1), h2.PriorityParam{StreamDep: uint32(2*i + 1)})
		},
		"CONTINUATION": func(p *peer, i int) {
			if i == 0 {
				_ = p.framer.WriteHeaders(h2.HeadersFrameParam{StreamID: 1, BlockFragment: p.request("GET", "/x")})
			}
			_ = p.framer.WriteContinuation(1, false, nil)
		},
		"large CONTINUATION": func(p *peer, i int) {
			if i == 0 {
				_ = p.framer.WriteHeaders(h2.HeadersFrameParam{StreamID: 1, BlockFragment: p.request("GET", "/x")})
			}
			if i < 100 {
				_ = p.framer.WriteContinuation(1, false, p.fields("a", strings.Repeat("~", 8000)))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, ServerOptions{})
			p := r.peer("plain")
			for i := range 5000 {
				flood(p, i)
			}
			go p.flush() // the rest of it is not read any more
			if code := p.goAway(); code != h2.ErrCodeEnhanceYourCalm {
				t.Errorf("the connection ended with %v", code)
			}
			if n := r.h.served.Load(); n > resetsAtOnce+maxStreams {
				t.Errorf("%d requests were served", n)
			}
		})
	}
}

// TestResetStreamsStillCount: a request counts until its handler has ended, and not until its client has lost interest.
func TestResetStreamsStillCount(t *testing.T) {
	r := newRig(t, ServerOptions{})
	p := r.peer("plain")
	id := uint32(1)
	for range maxStreams {
		p.headers(id, true, p.request("GET", "/wait"))
		id += 2
	}
	p.flush()
	for range maxStreams {
		x := <-r.h.waiting
		_ = x
	}
	for i := uint32(1); i < id; i += 2 {
		_ = p.framer.WriteRSTStream(i, h2.ErrCodeCancel)
	}
	p.headers(id, true, p.request("GET", "/x"))
	p.flush()
	if o := p.await(id); o.reset != h2.ErrCodeRefusedStream {
		t.Errorf("%+v", o)
	}
	close(r.h.release)
	for r.h.running.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
	for { // the last handler's return and its stream's end are not one moment
		id += 2
		p.headers(id, true, p.request("GET", "/x"))
		p.flush()
		if o := p.await(id); o.status == "200" {
			break
		} else if o.reset != h2.ErrCodeRefusedStream {
			t.Fatalf("%+v", o)
		}
	}
}

// TestHandlersThatLingerRefuseNothing: to a client a stream is closed when it has the end of the response, and it may open
// another one, although the handler still has something to do.
func TestHandlersThatLingerRefuseNothing(t *testing.T) {
	r := newRig(t, ServerOptions{})
	p := r.peer("plain")
	id := uint32(1)
	for range maxStreams {
		p.headers(id, true, p.request("GET", "/linger"))
		p.flush()
		if o := p.await(id); o.status != "200" {
			t.Fatalf("stream %d: %+v", id, o)
		}
		id += 2
	}
	const more = 50
	for range more {
		p.headers(id, true, p.request("GET", "/x"))
		p.flush()
		id += 2
	}
	close(r.h.release)
	for answered := 0; answered < more; {
		switch f := p.frame().(type) {
		case *h2.MetaHeadersFrame:
			if status := f.PseudoValue("status"); status != "200" {
				t.Fatalf("stream %d: %s", f.StreamID, status)
			}
			answered++
		case *h2.RSTStreamFrame:
			t.Fatalf("stream %d: %v", f.StreamID, f.ErrCode)
		case *h2.GoAwayFrame, nil:
			t.Fatalf("the connection has ended: %v", f)
		}
	}
}

// TestHeadersOfAllStreamsTogether are bounded (CVE-2026-47774).
func TestHeadersOfAllStreamsTogether(t *testing.T) {
	r := newRig(t, ServerOptions{})
	p := r.peer("plain", h2.Setting{ID: h2.SettingInitialWindowSize, Val: 0})
	defer close(r.h.release)
	cookie := strings.Repeat("x", 4000-38)
	more := []string{}
	for range 14 {
		more = append(more, "cookie", cookie)
	}
	refused := false
	for i := range 20 {
		id := uint32(2*i + 1)
		p.headers(id, true, p.request("GET", "/wait", more...))
		p.flush()
		if i*(14*4000) > maxHeadBytes {
			if o := p.await(id); o.reset != h2.ErrCodeRefusedStream {
				t.Fatalf("stream %d: %+v", id, o)
			}
			refused = true
			break
		}
	}
	if !refused {
		t.Error("nothing was refused")
	}
}

func TestResetReachesTheHandler(t *testing.T) {
	r := newRig(t, ServerOptions{})
	p := r.peer("plain")
	p.headers(1, false, p.request("POST", "/read"))
	_ = p.framer.WriteData(1, false, []byte("ab"))
	p.flush()
	for r.h.served.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	_ = p.framer.WriteRSTStream(1, h2.ErrCodeCancel)
	p.flush()
	if err := <-r.h.errs; err == nil {
		t.Error("the body came to a good end")
	}
	p.headers(3, true, p.request("GET", "/big"))
	p.flush()
	_ = p.nc.Close()
	var failure *exchange.Failure
	if err := <-r.h.errs; !errors.As(err, &failure) || failure.Reason != exchange.ClientReset {
		t.Errorf("Respond returned %v", err)
	}
}

func TestFaultsThatEndTheConnection(t *testing.T) {
	for _, test := range []struct {
		name string
		send func(p *peer)
		code h2.ErrCode
	}{
		{"even stream", func(p *peer) { p.headers(2, true, p.request("GET", "/x")) }, h2.ErrCodeProtocol},
		{"older stream", func(p *peer) {
			p.headers(5, true, p.request("GET", "/x"))
			p.headers(3, true, p.request("GET", "/x"))
		}, h2.ErrCodeStreamClosed},
		{"DATA of an idle stream", func(p *peer) { _ = p.framer.WriteData(1, true, nil) }, h2.ErrCodeProtocol},
		{"RST_STREAM of an idle stream", func(p *peer) { _ = p.framer.WriteRSTStream(1, 0) }, h2.ErrCodeProtocol},
		{"WINDOW_UPDATE of an idle stream", func(p *peer) { _ = p.framer.WriteWindowUpdate(1, 1) }, h2.ErrCodeProtocol},
		{"window overflow", func(p *peer) { _ = p.framer.WriteWindowUpdate(0, 1<<31-1) }, h2.ErrCodeFlowControl},
		{"push", func(p *peer) {
			_ = p.framer.WritePushPromise(h2.PushPromiseParam{StreamID: 1, PromiseID: 2, EndHeaders: true})
		}, h2.ErrCodeProtocol},
		{"hpack", func(p *peer) { p.headers(1, true, []byte{0x80}) }, h2.ErrCodeCompression},
		{"hpack cut short", func(p *peer) { p.headers(1, true, []byte{0x40, 5, 'a'}) }, h2.ErrCodeCompression},
		{"large frame", func(p *peer) { _ = p.framer.WriteData(1, true, make([]byte, 1<<14+1)) }, h2.ErrCodeFrameSize},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, ServerOptions{})
			defer close(r.h.release)
			p := r.peer("plain")
			test.send(p)
			go p.flush()
			if code := p.goAway(); code != test.code {
				t.Errorf("the connection ended with %v", code)
			}
		})
	}
}

// TestMoreThanTheWindow: a client that sends more than it may loses its stream.
func TestMoreThanTheWindow(t *testing.T) {
	r := newRig(t, ServerOptions{})
	defer close(r.h.release)
	p := r.peer("plain")
	p.headers(1, false, p.request("POST", "/wait"))
	for range 5 {
		_ = p.framer.WriteData(1, false, make([]byte, 1<<14))
	}
	p.flush()
	if o := p.await(1); o.reset != h2.ErrCodeFlowControl {
		t.Errorf("%+v", o)
	}
}

func TestPrefaces(t *testing.T) {
	for name, bytes := range map[string]string{
		"HTTP/1.1":      "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"cut":           h2.ClientPreface[:20] + "xxxx",
		"no SETTINGS":   h2.ClientPreface + "\x00\x00\x08\x06\x00\x00\x00\x00\x00........",
		"SETTINGS' ack": h2.ClientPreface + "\x00\x00\x00\x04\x01\x00\x00\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, ServerOptions{})
			p := &peer{t: t, nc: r.dial("plain")}
			p.framer = h2.NewFramer(nil, p.nc)
			_, _ = fmt.Fprint(p.nc, bytes)
			if code := p.goAway(); code != h2.ErrCodeProtocol {
				t.Errorf("the connection ended with %v", code)
			}
		})
	}
}
