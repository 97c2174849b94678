package integration_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// overH2C starts a proxy in front of an endpoint that speaks HTTP/2 without TLS.
func overH2C(t *testing.T, addr, service string) *harness.Proxy {
	t.Helper()
	return harness.Start(t, fmt.Sprintf(
		"services:\n  - {name: web, bind_address: '127.0.0.1:0', backends: [{address: '%s', protocol: H2C}], health_check: {type: Disabled}%s}\n",
		addr, service), harness.Options{})
}

func TestEndpointsOverHTTP2(t *testing.T) {
	t.Parallel()
	origin := startSecure(t, nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/trailers":
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Trailer", "X-Sum")
			_, _ = io.WriteString(w, "body")
			w.Header().Set("X-Sum", "42")
		case "/early":
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		case "/204":
			w.WriteHeader(http.StatusNoContent)
		default:
			harness.Echo("a").ServeHTTP(w, r)
		}
	}))
	p := overH2C(t, origin.addr, "")
	url := p.URL(t, "web")
	for name, client := range clients(t) {
		t.Run(name, func(t *testing.T) {
			for _, method := range []string{"GET", "DELETE", "OPTIONS", "POST", "PUT", "PATCH", "PROPFIND"} {
				_, text := call(t, client, method, url+"/x?y=z", nil)
				if e := harness.ParseEchoed(t, text); e.Method != method || e.Proto != "HTTP/2.0" || e.Target != "/x?y=z" || e.Header.Get("Connection") != "" {
					t.Errorf("%s: %+v", method, e)
				}
			}
			body := harness.Pattern(3 << 20)
			for _, reader := range []io.Reader{strings.NewReader(body), struct{ io.Reader }{strings.NewReader(body)}} { // the second has no length
				_, text := call(t, client, "PUT", url+"/", reader)
				if e := harness.ParseEchoed(t, text); e.Bytes != int64(len(body)) {
					t.Errorf("%d bytes arrived", e.Bytes)
				}
			}
			if _, text := call(t, client, "GET", url+"/?bytes=3145728", nil); text != body {
				t.Errorf("%d bytes came back", len(text))
			}
			if r, text := call(t, client, "HEAD", url+"/?bytes=1000", nil); r.ContentLength != 1000 || text != "" {
				t.Errorf("HEAD: length %d, %q", r.ContentLength, text)
			}
			if r, text := call(t, client, "GET", url+"/204", nil); r.StatusCode != http.StatusNoContent || text != "" {
				t.Errorf("%d %q", r.StatusCode, text)
			}
			if r, text := call(t, client, "GET", url+"/trailers", nil); r.Trailer.Get("X-Sum") != "42" || text != "body" {
				t.Errorf("trailer %v behind %q", r.Trailer, text)
			}
			if r, _ := call(t, client, "GET", url+"/?status=404", nil); r.StatusCode != http.StatusNotFound {
				t.Errorf("%d", r.StatusCode)
			}
			if r, _ := call(t, client, "POST", url+"/early", strings.NewReader(body)); r.StatusCode != http.StatusRequestEntityTooLarge {
				t.Errorf("an early answer: %d", r.StatusCode)
			}
		})
	}
	if n := origin.opened(); n != 1 {
		t.Errorf("%d connections to the endpoint", n)
	}
}

// TestManyRequestsOnOneConnection: what many clients ask at once does not get mixed up, nor wait for what is slow.
func TestManyRequestsOnOneConnection(t *testing.T) {
	t.Parallel()
	origin := startSecure(t, nil, harness.Echo("a"))
	p := overH2C(t, origin.addr, "")
	url := p.URL(t, "web")
	var running sync.WaitGroup
	for name, client := range clients(t) {
		for i := range 30 {
			running.Go(func() {
				for j := range 20 {
					target := fmt.Sprintf("/%s/%d/%d", name, i, j)
					body := strings.Repeat(target, 1+j*500)
					_, text := call(t, client, "POST", url+target, strings.NewReader(body))
					if e := harness.ParseEchoed(t, text); e.Target != target || e.Bytes != int64(len(body)) {
						t.Errorf("%+v", e)
					}
				}
			})
		}
	}
	running.Wait()
	if n := origin.opened(); n > 2 {
		t.Errorf("%d connections to the endpoint", n)
	}
}

// TestSlowReaderHoldsUpNobody: a client that does not read what it asked for costs the others on the connection nothing.
func TestSlowReaderHoldsUpNobody(t *testing.T) {
	t.Parallel()
	origin := startSecure(t, nil, harness.Echo("a"))
	p := overH2C(t, origin.addr, "")
	for range 30 { // more than the connection's window
		c := harness.Dial(t, p.Addr(t, "web"))
		c.Send(t, request("GET", "/?bytes=50000000"))
	}
	for range 20 {
		if _, text := call(t, clients(t)["h1"], "GET", p.URL(t, "web")+"/?bytes=200000", nil); len(text) != 200_000 {
			t.Fatalf("%d bytes", len(text))
		}
	}
	if n := origin.opened(); n != 1 {
		t.Errorf("%d connections to the endpoint", n)
	}
}

// TestEndpointThatStops loses nothing: an endpoint that goes says which requests it will answer, and others are its
// successor's.
func TestEndpointThatStops(t *testing.T) {
	t.Parallel()
	start := func(l net.Listener) *http.Server {
		srv := &http.Server{Handler: harness.Echo("a"), ReadHeaderTimeout: harness.Patience, Protocols: &http.Protocols{}}
		srv.Protocols.SetUnencryptedHTTP2(true)
		go func() { _ = srv.Serve(l) }()
		return srv
	}
	var addrs [2]string
	var servers [2]*http.Server
	for i := range addrs {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addrs[i], servers[i] = l.Addr().String(), start(l)
	}
	p := harness.Start(t, fmt.Sprintf("services:\n  - {name: web, bind_address: '127.0.0.1:0', backends: [{address: '%s', protocol: H2C}, {address: '%s', protocol: H2C}], health_check: {type: Disabled}}\n",
		addrs[0], addrs[1]), harness.Options{})
	url := p.URL(t, "web")
	var stop atomic.Bool
	var answered, lost atomic.Int32
	var running sync.WaitGroup
	client := clients(t)["h1"]
	for range 10 {
		running.Go(func() {
			for !stop.Load() {
				if r, _ := call(t, client, "GET", url, nil); r.StatusCode == http.StatusOK {
					answered.Add(1)
				} else {
					lost.Add(1)
				}
			}
		})
	}
	for i := range 6 {
		before := answered.Load()
		harness.Eventually(t, "requests are answered", func() bool { return answered.Load() > before+100 })
		ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
		if err := servers[i%2].Shutdown(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		l, err := net.Listen("tcp", addrs[i%2])
		if err != nil {
			t.Fatal(err)
		}
		servers[i%2] = start(l)
	}
	stop.Store(true)
	running.Wait()
	for _, s := range servers {
		_ = s.Close()
	}
	if lost.Load() > 0 {
		t.Errorf("%d of %d requests were lost", lost.Load(), answered.Load())
	}
}

// TestHostileEndpointOverHTTP2: what is not valid becomes an error or a response that is cut off, never another one.
func TestHostileEndpointOverHTTP2(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		answer func(f *http2.Framer, id uint32, fields func(...string) []byte)
		status int // 0: the response is cut off
	}{
		{"shorter than announced", func(f *http2.Framer, id uint32, fields func(...string) []byte) {
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, BlockFragment: fields(":status", "200", "content-length", "10")})
			_ = f.WriteData(id, true, []byte("short"))
		}, 0},
		{"longer than announced", func(f *http2.Framer, id uint32, fields func(...string) []byte) {
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, BlockFragment: fields(":status", "200", "content-length", "40")})
			_ = f.WriteData(id, true, []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nX-Evil: 1\r\n\r\n"))
		}, 0},
		{"reset in the middle", func(f *http2.Framer, id uint32, fields func(...string) []byte) {
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, BlockFragment: fields(":status", "200")})
			_ = f.WriteData(id, false, []byte("half"))
			_ = f.WriteRSTStream(id, http2.ErrCodeInternal)
		}, 0},
		{"a line feed in a field", func(f *http2.Framer, id uint32, fields func(...string) []byte) {
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, EndStream: true, BlockFragment: fields(":status", "200", "x", "a\r\nX-Evil: 1")})
		}, 502},
		{"Transfer-Encoding", func(f *http2.Framer, id uint32, fields func(...string) []byte) {
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, EndStream: true, BlockFragment: fields(":status", "200", "transfer-encoding", "chunked")})
		}, 502},
		{"fields without end", func(f *http2.Framer, id uint32, fields func(...string) []byte) {
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: fields(":status", "200")})
			for range 100_000 {
				if f.WriteContinuation(id, false, nil) != nil {
					return
				}
			}
		}, 502},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			origin := harness.StartRawOrigin(t, func(oc *harness.OriginConn) {
				if _, err := io.ReadFull(oc.Reader, make([]byte, len(http2.ClientPreface))); err != nil {
					return
				}
				f := http2.NewFramer(oc.Conn, oc.Reader)
				_ = f.WriteSettings()
				var buf bytes.Buffer
				enc := hpack.NewEncoder(&buf)
				for {
					frame, err := f.ReadFrame()
					if err != nil {
						return
					}
					if frame.Header().Type == http2.FrameHeaders {
						c.answer(f, frame.Header().StreamID, func(pairs ...string) []byte {
							buf.Reset()
							for i := 0; i < len(pairs); i += 2 {
								_ = enc.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
							}
							return buf.Bytes()
						})
					}
				}
			})
			p := overH2C(t, origin.Addr, ", retry: {attempts: 1}")
			client := harness.Dial(t, p.Addr(t, "web"))
			client.Send(t, request("GET", "/"))
			r, err := client.TryResponse("GET")
			if c.status != 0 {
				if err != nil || r.StatusCode != c.status {
					t.Errorf("%+v, %v", r, err)
				}
			} else if err == nil && r.BodyErr == nil {
				t.Errorf("a clean end: %d %q", r.StatusCode, r.Text)
			}
			if strings.Contains(client.Received(), "X-Evil") {
				t.Errorf("%q reached the client", client.Received())
			}
		})
	}
}

// TestTimeoutsOverHTTP2 end what they are about, and leave the connection alone.
func TestTimeoutsOverHTTP2(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	origin := startSecure(t, nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/head":
			<-r.Context().Done()
		case "/body":
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			<-ended
		}
	}))
	defer close(ended)
	p := overH2C(t, origin.addr, ", retry: {attempts: 1}, timeouts: {idle_secs: 1}, "+
		"routes: [{name: head, matches: [{path: {value: /head}}], timeouts: {request_ms: 300}}, {name: others}]")
	client := clients(t)["h1"]
	if r, text := call(t, client, "GET", p.URL(t, "web")+"/head", nil); r.StatusCode != http.StatusGatewayTimeout || !strings.Contains(text, "upstream_timeout") {
		t.Errorf("%d %s", r.StatusCode, text)
	}
	r, err := client.Get(p.URL(t, "web") + "/body")
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadAll(r.Body)
	_ = r.Body.Close()
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v", err)
	}
	if r, _ := call(t, client, "GET", p.URL(t, "web")+"/", nil); r.StatusCode != http.StatusOK {
		t.Errorf("%d", r.StatusCode)
	}
	if n := origin.opened(); n != 1 {
		t.Errorf("%d connections to the endpoint", n)
	}
}

// TestWebSocketToAnEndpointOverHTTP2 goes through two proxies that speak HTTP/2 to each other: the first one asks by extended
// CONNECT (RFC 8441), the second one answers that.
func TestWebSocketToAnEndpointOverHTTP2(t *testing.T) {
	t.Parallel()
	origin := harness.StartRawOrigin(t, func(c *harness.OriginConn) {
		r := c.Request()
		if r == nil || r.Header.Get("Upgrade") != "websocket" || r.Header.Get("Sec-WebSocket-Version") != "13" {
			c.Fail("this is no WebSocket: %+v", r)
			return
		}
		sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		c.Send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
			base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\nwelcome")
		_, _ = io.Copy(c.Conn, c.Reader)
		c.Send("bye")
	})
	behind := front(t, origin.Addr, "", "")
	p := overH2C(t, behind.addr, "")
	s := site{p, p.Addr(t, "web")}
	for range 3 { // on one connection between the two
		c := upgraded(t, s, "/ws")
		if got := c.Read(t, 7); got != "welcome" {
			t.Errorf("%q", got)
		}
		text := harness.Pattern(1 << 20)
		sent := make(chan error, 1)
		go func() { sent <- c.TrySend(text) }()
		if got := c.Read(t, len(text)); got != text {
			t.Error("other bytes came back than were sent")
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
		c.CloseWrite(t)
		if rest, err := c.Rest(); rest != "bye" || err != nil {
			t.Errorf("%q %v", rest, err)
		}
	}
}

// TestWebSocketToAnEndpointThatTakesNone is refused before anything is sent.
func TestWebSocketToAnEndpointThatTakesNone(t *testing.T) {
	t.Parallel()
	origin := startSecure(t, nil, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s %s arrived", r.Method, r.URL) }))
	p := overH2C(t, origin.addr, "")
	c := harness.Dial(t, p.Addr(t, "web"))
	c.Send(t, fmt.Sprintf(upgrade, "/ws"))
	if r, err := c.TryResponse("GET"); err != nil || r.StatusCode != http.StatusBadGateway || !strings.Contains(r.Text, "upstream_protocol") {
		t.Errorf("%+v, %v", r, err)
	}
}
