package compress

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// FuzzBody compresses what comes in any pieces, and reads it back.
func FuzzBody(f *testing.F) {
	f.Add([]byte("hello, hello, hello"), uint8(3), uint8(1), uint8(0), true)
	f.Add([]byte(text), uint8(200), uint8(9), uint8(1), false)
	filters := [3]*compress{}
	for i, name := range []string{"gzip", "br", "zstd"} {
		filters[i] = build(f, Config{Algorithms: []string{name}})
	}
	f.Fuzz(func(t *testing.T, data []byte, size, atHand, which uint8, late bool) {
		fl := filters[int(which)%3]
		s := &source{atHand: int(atHand), late: late}
		for chunk := range slices.Chunk(data, int(size)+1) {
			s.pieces = append(s.pieces, string(chunk))
		}
		var x exchange.Exchange
		x.Request.Header.Add("Accept-Encoding", "gzip, br, zstd")
		x.Response.Status, x.Response.ContentLength, x.Response.Body = 200, -1, s
		x.Response.Header.Add("Content-Type", "text/plain")
		fl.Request(&x)
		fl.Response(&x)
		var got bytes.Buffer
		if err := relay(x.Response.Body, &got); err != nil {
			t.Fatal(err)
		}
		fl.Done(&x)
		back, err := io.ReadAll(inflate(t, string(x.Response.Header.Value(exchange.ContentEncoding)), &got))
		if err != nil || !bytes.Equal(back, data) {
			t.Fatalf("%d bytes come back of %d: %v", len(back), len(data), err)
		}
	})
}

// FuzzNegotiate asks that a coding is chosen only where the list names it, or all.
func FuzzNegotiate(f *testing.F) {
	f.Add("gzip;q=0.5, br, *;q=0, identity;q=0")
	f.Fuzz(func(t *testing.T, accept string) {
		var h exchange.Header
		h.Add("Accept-Encoding", accept)
		got := negotiate(&h, []coding{zstandard, brotlied, gzipped}).coding()
		if got != identity && !strings.Contains(strings.ToLower(accept), got.String()) && !strings.Contains(accept, "*") {
			t.Errorf("%q: %v", accept, got)
		}
	})
}

func BenchmarkResponse(b *testing.B) {
	for _, name := range []string{"gzip", "br", "zstd"} {
		for _, size := range []int{2000, 20000, 70000} {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				f := build(b, Config{Algorithms: []string{name}})
				var x exchange.Exchange
				var body exchange.Bytes
				data := []byte(text[:size])
				p := make([]byte, 16<<10)
				b.ReportAllocs()
				b.SetBytes(int64(size))
				for b.Loop() {
					x.Reset()
					x.Request.Header.Add("Accept-Encoding", name)
					body.Reset(data)
					x.Response.Status, x.Response.ContentLength, x.Response.Body = 200, int64(size), &body
					x.Response.Header.Add("Content-Type", "text/plain")
					f.Request(&x)
					f.Response(&x)
					for !x.Response.Body.Ended() {
						_, _ = x.Response.Body.Read(p)
					}
					f.Done(&x)
				}
			})
		}
	}
}

func BenchmarkNotTaken(b *testing.B) {
	f := build(b, Config{})
	var x exchange.Exchange
	b.ReportAllocs()
	for b.Loop() {
		x.Reset()
		x.Request.Header.Add("Accept-Encoding", "deflate")
		f.Request(&x)
		x.Response.Status = 200
		x.Response.Header.Add("Content-Type", "application/json")
		f.Response(&x)
		f.Done(&x)
	}
}
