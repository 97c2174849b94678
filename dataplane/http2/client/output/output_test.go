package output

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// decoded reads a field block as hpack has it.
func decoded(t testing.TB, block []byte) []string {
	t.Helper()
	fields, err := hpack.NewDecoder(4096, nil).DecodeFull(block)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, f := range fields {
		list = append(list, f.Name+": "+f.Value)
		if f.Sensitive != (f.Name == "authorization" || f.Name == "cookie") {
			t.Errorf("%s: never indexed: %t", f.Name, f.Sensitive)
		}
	}
	return list
}

func TestAppendRequest(t *testing.T) {
	for _, c := range []struct {
		name      string
		fill      func(*exchange.Request)
		secure    bool
		webSocket bool
		want      []string
	}{
		{"least", func(*exchange.Request) {}, false, false, []string{":method: GET", ":scheme: http", ":authority: h", ":path: /"}},
		{"query", func(r *exchange.Request) {
			r.Path, r.Query, r.HasQuery = []byte("/"), []byte("a=b"), true
		}, true, false, []string{":method: GET", ":scheme: https", ":authority: h", ":path: /?a=b"}},
		{"empty query, long path", func(r *exchange.Request) {
			r.Path, r.HasQuery = []byte("/"+strings.Repeat("x", 300)), true
		}, false, false, []string{":method: GET", ":scheme: http", ":authority: h", ":path: /" + strings.Repeat("x", 300) + "?"}},
		{"another method", func(r *exchange.Request) {
			r.Method, r.MethodName = exchange.MethodOther, []byte("PROPFIND")
		}, false, false, []string{":method: PROPFIND", ":scheme: http", ":authority: h", ":path: /"}},
		{"without a body", func(r *exchange.Request) { r.Method = exchange.PUT }, false, false, []string{":method: PUT", ":scheme: http", ":authority: h", ":path: /", "content-length: 0"}},
		{"with a body", func(r *exchange.Request) {
			r.Method, r.Body, r.ContentLength = exchange.POST, &exchange.Bytes{}, 5
		}, false, false, []string{":method: POST", ":scheme: http", ":authority: h", ":path: /", "content-length: 5"}},
		{"with a body of any length", func(r *exchange.Request) {
			r.Method, r.Body, r.ContentLength = exchange.POST, &exchange.Bytes{}, -1
		}, false, false, []string{":method: POST", ":scheme: http", ":authority: h", ":path: /"}},
		{"fields", func(r *exchange.Request) {
			for _, f := range []string{
				"Host: other", "Content-Length: 7", "Connection: x", "Keep-Alive: 1", "Transfer-Encoding: chunked", "Upgrade: h2c", "TE: gzip",
				"HTTP2-Settings: x", "Proxy-Connection: y", "X-Mixed-CASE: Stays", "Authorization: a", "Cookie: b=c", "User-Agent: u", "Via: v",
			} {
				name, value, _ := strings.Cut(f, ": ")
				r.Header.Add(name, value)
			}
		}, false, false, []string{
			":method: GET", ":scheme: http", ":authority: h", ":path: /", "x-mixed-case: Stays", "authorization: a", "cookie: b=c", "user-agent: u", "via: v",
		}},
		{"gRPC", func(r *exchange.Request) { r.Header.Add("Content-Type", "application/grpc") }, false, false, []string{
			":method: GET", ":scheme: http", ":authority: h", ":path: /", "content-type: application/grpc", "te: trailers",
		}},
		{"WebSocket", func(r *exchange.Request) {
			r.Header.Add("Sec-WebSocket-Key", "k")
			r.Header.Add("Sec-WebSocket-Version", "13")
		}, true, true, []string{":method: CONNECT", ":protocol: websocket", ":scheme: https", ":authority: h", ":path: /", "sec-websocket-version: 13"}},
	} {
		var r exchange.Request
		r.Method, r.Host, r.Path = exchange.GET, []byte("h"), []byte("/")
		c.fill(&r)
		if got := decoded(t, AppendRequest([]byte{NoTable}, &r, c.secure, c.webSocket)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// FuzzFields: whatever a field holds, the endpoint reads that one field, its name in lower case.
func FuzzFields(f *testing.F) {
	f.Add("X-Name", "value", 1)
	f.Add(strings.Repeat("N", 300), strings.Repeat("v", 20_000), 3)
	f.Fuzz(func(t *testing.T, name, value string, n int) {
		if len(name) == 0 || len(name) > 60_000 || len(value) > 1<<20 {
			return
		}
		var h exchange.Header
		for range min(max(n, 1), 5) {
			h.Add(name, value)
		}
		block := AppendTrailer(nil, &h)
		if id := exchange.Lookup(name); id != exchange.Other && ofConnection>>id&1 != 0 {
			if len(block) != 0 {
				t.Errorf("%q was written", name)
			}
			return
		}
		fields, err := hpack.NewDecoder(4096, nil).DecodeFull(block)
		if err != nil || len(fields) != h.Len() {
			t.Fatalf("%d fields, %v", len(fields), err)
		}
		lower := []byte(name)
		for i, c := range lower {
			if 'A' <= c && c <= 'Z' {
				lower[i] = c + 'a' - 'A'
			}
		}
		for _, f := range fields {
			if f.Name != string(lower) || f.Value != value {
				t.Errorf("%q: %q", f.Name, f.Value)
			}
		}
		var out bytes.Buffer
		out.Write(AppendHeaders(nil, block, 1, true))
		framer := http2.NewFramer(nil, &out)
		var whole []byte
		for {
			frame, err := framer.ReadFrame()
			if err != nil {
				break
			}
			switch frame := frame.(type) {
			case *http2.HeadersFrame:
				whole = append(whole, frame.HeaderBlockFragment()...)
			case *http2.ContinuationFrame:
				whole = append(whole, frame.HeaderBlockFragment()...)
			}
		}
		if !bytes.Equal(whole, block) {
			t.Error("the frames hold something else")
		}
	})
}

// Many send at once, more than the socket takes: all of it arrives, whole and in the order in which it was appended.
func TestOutlet(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	for _, direct := range []bool{true, false} {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		far, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = far.SetDeadline(time.Now().Add(20 * time.Second))
		if !direct {
			nc = struct{ net.Conn }{nc} // as TLS is no TCP
		}
		var o Outlet
		o.Init(nc, func(err error) {
			if err != nil {
				t.Error(err)
			}
		})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			o.Run()
		}()
		const senders, each = 20, 200
		var running sync.WaitGroup
		for i := range senders {
			running.Go(func() {
				payload := bytes.Repeat([]byte{byte(i)}, 5000)
				for j := range each {
					payload[0] = byte(j)
					o.End(AppendData(o.Begin(), payload, uint32(2*i+1), false))
					o.Flush()
				}
			})
		}
		framer := http2.NewFramer(nil, far)
		var next [senders]int
		for range senders * each {
			f, err := framer.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			i := int(f.Header().StreamID) / 2
			if data := f.(*http2.DataFrame).Data(); len(data) != 5000 || data[0] != byte(next[i]) || data[4999] != byte(i) {
				t.Fatalf("stream %d: another frame than the one of number %d", i, next[i])
			}
			next[i]++
		}
		running.Wait()
		o.Close()
		<-ended
		_ = nc.Close()
		_ = far.Close()
	}
}

func TestOutletTellsOfErrors(t *testing.T) {
	near, far := net.Pipe()
	_ = far.Close()
	defer func() { _ = near.Close() }()
	failed := make(chan error, 10)
	var o Outlet
	o.Init(near, func(err error) { failed <- err })
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		o.Run()
	}()
	o.End(append(o.Begin(), "x"...))
	o.Flush()
	if err := <-failed; !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("%v", err)
	}
	o.Close()
	<-ended
}
