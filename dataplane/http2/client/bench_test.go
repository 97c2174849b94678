package client

import (
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http2/client/output"
)

// robot starts an endpoint that answers every request with the same head and body, and allocates nothing for it.
func robot(t testing.TB) *Pool {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = nc.Close() }()
				answer(nc)
			}()
		}
	}()
	p := &Pool{}
	p.Init(options(t), func(*exchange.Exchange, Try) (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) })
	t.Cleanup(func() {
		p.Close()
		_ = l.Close()
		<-done
	})
	return p
}

func answer(nc net.Conn) {
	var block strings.Builder
	enc := hpack.NewEncoder(&block)
	_ = enc.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
	first := len(block.String())
	_ = enc.WriteField(hpack.HeaderField{Name: "server", Value: "robot"})
	_ = enc.WriteField(hpack.HeaderField{Name: "content-type", Value: "text/plain"})
	_ = enc.WriteField(hpack.HeaderField{Name: "content-length", Value: "2"})
	fields := []byte(block.String())
	block.Reset()
	_ = enc.WriteField(hpack.HeaderField{Name: "server", Value: "robot"}) // from the table by now
	_ = enc.WriteField(hpack.HeaderField{Name: "content-type", Value: "text/plain"})
	_ = enc.WriteField(hpack.HeaderField{Name: "content-length", Value: "2"})
	again := append(append([]byte(nil), fields[:first]...), block.String()...)
	if _, err := io.ReadFull(nc, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	out := output.AppendFrame(nil, 0, http2.FrameSettings, 0, 0)
	in, have := make([]byte, 64<<10), 0
	for {
		n, err := nc.Read(in[have:])
		if err != nil {
			return
		}
		have += n
		at := 0
		for have-at >= output.FrameHead {
			size := output.FrameHead + int(in[at])<<16 + int(in[at+1])<<8 + int(in[at+2])
			if have-at < size {
				break
			}
			if http2.FrameType(in[at+3]) == http2.FrameHeaders {
				id := binary.BigEndian.Uint32(in[at+5:])
				out = output.AppendData(output.AppendHeaders(out, fields, id, false), []byte("ok"), id, true)
				fields = again
			}
			at += size
		}
		have = copy(in, in[at:have])
		if len(out) > 0 {
			if _, err := nc.Write(out); err != nil {
				return
			}
			out = out[:0]
		}
	}
}

// exchanges makes one after the other.
func exchanges(t testing.TB, p *Pool) func() {
	x, _ := request(exchange.GET, "/path")
	x.Downstream = nobody{}
	buf := make([]byte, 100)
	return func() {
		x.Reset()
		r := &x.Request
		r.Method, r.Protocol, r.Host, r.Path = exchange.GET, exchange.HTTP11, host, path
		r.Header.Add("User-Agent", "test")
		r.Header.Add("X-Request-Id", "0123456789abcdef0123456789abcdef")
		if err := p.RoundTrip(x, Try{}); err != nil {
			t.Fatal(err)
		}
		if n, err := x.Response.Body.Read(buf); n != 2 || err != nil || !x.Response.Body.Ended() {
			t.Fatal(n, err)
		}
		x.ResetResponse()
	}
}

var host, path = []byte("example.com"), []byte("/path")

type nobody struct{}

func (nobody) Interim(*exchange.Exchange, int, *exchange.Header) error { return nil }
func (nobody) Respond(*exchange.Exchange) error                        { return nil }

// TestAllocations: the Framer makes a frame of each head, and hpack strings of what is not in its tables.
func TestAllocations(t *testing.T) {
	const most = 2
	round := exchanges(t, robot(t))
	for range 100 {
		round()
	}
	if n := testing.AllocsPerRun(2000, round); n > most {
		t.Errorf("%v allocations an exchange, more than %d", n, most)
	}
}

func BenchmarkTiny(b *testing.B) {
	round := exchanges(b, robot(b))
	b.ReportAllocs()
	for b.Loop() {
		round()
	}
}

func BenchmarkTinyParallel(b *testing.B) {
	p := robot(b)
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		round := exchanges(b, p)
		for pb.Next() {
			round()
		}
	})
}

// BenchmarkDownload is of 1 MiB, from net/http.
func BenchmarkDownload(b *testing.B) {
	body := strings.Repeat("0123456789abcdef", 1<<16)
	p, _ := serve(b, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }, nil)
	buf := make([]byte, 16<<10)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		x, _ := request(exchange.GET, "/")
		if err := p.RoundTrip(x, Try{}); err != nil {
			b.Fatal(err)
		}
		for {
			if _, err := x.Response.Body.Read(buf); err != nil {
				break
			}
		}
		x.ResetResponse()
	}
}
