package compress

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

func build(t testing.TB, c Config) *compress {
	t.Helper()
	f, err := c.New(filter.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return f.(*compress)
}

func lines(h *exchange.Header) []string {
	var out []string
	for i := range h.Len() {
		if _, name, value, ok := h.At(i); ok {
			out = append(out, string(name)+": "+string(value))
		}
	}
	slices.Sort(out)
	return out
}

func add(h *exchange.Header, fields []string) {
	for _, line := range fields {
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, value)
	}
}

// inflate reads a compressed text, as far as it goes.
func inflate(t testing.TB, coding string, r io.Reader) io.Reader {
	t.Helper()
	switch coding {
	case "br":
		return brotli.NewReader(r)
	case "zstd":
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		return d
	case "gzip":
		d, err := gzip.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	t.Fatalf("the coding is %q", coding)
	return nil
}

// A source is a body in pieces, of which atHand are there without waiting.
type source struct {
	pieces []string
	atHand int
	err    error // at the end; nil: io.EOF
	late   bool  // its end is not known before it is read
	waits  func()
}

func (s *source) Buffered() []byte {
	if s.atHand == 0 || len(s.pieces) == 0 {
		return nil
	}
	return []byte(s.pieces[0])
}

func (s *source) Skip(n int) {
	if s.pieces[0] = s.pieces[0][n:]; s.pieces[0] == "" {
		s.pieces = s.pieces[1:]
		s.atHand = max(0, s.atHand-1)
	}
}

func (s *source) Read(p []byte) (int, error) {
	if s.waits != nil {
		s.waits()
	}
	if len(s.pieces) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		s.late = false
		return 0, io.EOF
	}
	n := copy(p, s.pieces[0])
	s.Skip(n)
	return n, nil
}

func (s *source) Ended() bool { return len(s.pieces) == 0 && s.err == nil && !s.late }

// relay passes a body on as the engines do.
func relay(b exchange.Body, w io.Writer) error {
	for at := b.Buffered(); len(at) > 0; at = b.Buffered() {
		_, _ = w.Write(at)
		b.Skip(len(at))
	}
	var p [100]byte
	for !b.Ended() {
		n, err := b.Read(p[:])
		_, _ = w.Write(p[:n])
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func TestNegotiate(t *testing.T) {
	for _, test := range []struct {
		accept string // "" is none; several lines are apart by "\n"
		want   string
		only   bool
	}{
		{"", "identity", false},
		{" ", "identity", false},
		{"gzip", "gzip", false},
		{"GZip", "gzip", false},
		{"x-gzip", "gzip", false},
		{"gzip, deflate, br, zstd", "zstd", false},
		{"gzip, br", "br", false},
		{"gzip\nbr", "br", false},
		{"gzip;q=1.0, br;q=0.9", "gzip", false},
		{"gzip;q=0.5, br;q=0.501", "br", false},
		{"gzip ; q=0.5 , br ; Q=0.4", "gzip", false},
		{"gzip;q=0", "identity", false},
		{"gzip;q=0.000, br;q=0", "identity", false},
		{"deflate", "identity", false},
		{"identity", "identity", false},
		{"*", "zstd", false},
		{"*;q=0", "identity", false},
		{"zstd;q=0, *", "br", false},
		{"zstd;q=0, br;q=0, *;q=0.1", "gzip", false},
		{"gzip;q=0.5, *;q=1", "zstd", false},
		{"gzip;q=0.5, identity", "identity", false},
		{"gzip;q=0.5, identity;q=0.5", "gzip", false},
		{"gzip, identity;q=0", "gzip", true},
		{"gzip, *;q=0", "gzip", true},
		{"gzip, *;q=0, identity;q=0.1", "gzip", false},
		{"identity;q=0", "identity", false},
		{"identity;q=0, *", "zstd", true},
		{"gzip;q=2", "identity", false},
		{"gzip;q=1.001", "gzip", false}, // as much as 1
		{"gzip;q=", "identity", false},
		{"gzip;q=.5", "identity", false},
		{"gzip;q=0.5555", "identity", false},
		{"gzip;q=-1", "identity", false},
		{"gzip;level=9", "identity", false},
		{"gzip;", "identity", false},
		{"gzipp, brr", "identity", false},
		{"gzip;q=0.1, x-gzip;q=0.8, br;q=0.5", "gzip", false},
		{",, ,gzip,,", "gzip", false},
	} {
		var h exchange.Header
		if test.accept != "" {
			for line := range strings.SplitSeq(test.accept, "\n") {
				h.Add("accept-encoding", line)
			}
		}
		got := negotiate(&h, []coding{zstandard, brotlied, gzipped})
		if got.coding().String() != test.want || got.onlyCoded() != test.only {
			t.Errorf("%q: %v, only %v; want %s, %v", test.accept, got.coding(), got.onlyCoded(), test.want, test.only)
		}
	}
	var h exchange.Header
	h.Add("Accept-Encoding", "zstd, br, gzip")
	if got := negotiate(&h, []coding{gzipped, brotlied}).coding(); got != gzipped {
		t.Errorf("the configuration prefers gzip, and %v was chosen", got)
	}
}

// text is worth compressing.
var text = strings.Repeat(`{"name":"somebody","tags":["a","b"]},`, 2000)

func TestBodies(t *testing.T) {
	for _, name := range []string{"gzip", "br", "zstd"} {
		f := build(t, Config{Algorithms: []string{name}})
		for _, test := range []struct {
			name   string
			source source
			length int64
			known  bool // the compressed length is told
		}{
			{"at hand", source{pieces: []string{text}, atHand: 1}, int64(len(text)), true},
			{"at hand in pieces, of unknown length", source{pieces: []string{text[:5], text[5:]}, atHand: 2}, -1, true},
			{"some at hand", source{pieces: []string{text[:5000], text[5000:]}, atHand: 1}, int64(len(text)), false},
			{"nothing at hand", source{pieces: []string{text}}, int64(len(text)), false},
			{"until close", source{pieces: []string{text[:1], text[1:]}, late: true}, -1, false},
			{"until close, at hand", source{pieces: []string{text}, atHand: 1, late: true}, -1, false},
			{"large", source{pieces: []string{strings.Repeat(text, 20)}, atHand: 1}, -1, false},
			{"much at hand", source{pieces: slices.Repeat([]string{text}, 20), atHand: 10}, -1, false},
			{"empty, of unknown length", source{}, -1, true},
		} {
			for range 2 { // the second with what the first gave back
				var x exchange.Exchange
				x.Request.Method = exchange.GET
				x.Request.Header.Add("Accept-Encoding", "gzip, br, zstd")
				s := test.source
				s.pieces = slices.Clone(s.pieces)
				want := strings.Join(s.pieces, "")
				x.Response.Status, x.Response.ContentLength, x.Response.Body = 200, test.length, &s
				x.Response.Header.Add("Content-Type", "application/json")
				f.Request(&x)
				x.Request.Header.Del("Accept-Encoding") // as a user's filter may
				f.Response(&x)
				if known := x.Response.ContentLength >= 0; known != test.known {
					t.Errorf("%s, %s: the length is %d", name, test.name, x.Response.ContentLength)
				}
				var got bytes.Buffer
				if err := relay(x.Response.Body, &got); err != nil {
					t.Fatalf("%s, %s: %v", name, test.name, err)
				}
				if x.Response.ContentLength >= 0 && x.Response.ContentLength != int64(got.Len()) {
					t.Errorf("%s, %s: %d bytes, announced as %d", name, test.name, got.Len(), x.Response.ContentLength)
				}
				if len(want) > 0 && got.Len() > len(want)/5 {
					t.Errorf("%s, %s: %d bytes of %d", name, test.name, got.Len(), len(want))
				}
				back, err := io.ReadAll(inflate(t, name, &got))
				if err != nil || string(back) != want {
					t.Errorf("%s, %s: %d bytes come back of %d: %v", name, test.name, len(back), len(want), err)
				}
				if v := string(x.Response.Header.Value(exchange.ContentEncoding)); v != name {
					t.Errorf("Content-Encoding %q", v)
				}
				if f.Done(&x); f.busy.Load() != 0 {
					t.Errorf("%s, %s: the encoder was not given back", name, test.name)
				}
			}
		}
	}
}

// What a slow stream has sent is passed on before the next piece is waited for.
func TestStream(t *testing.T) {
	for _, name := range []string{"gzip", "br", "zstd"} {
		f := build(t, Config{Algorithms: []string{name}})
		var x exchange.Exchange
		x.Request.Header.Add("Accept-Encoding", name)
		var sent strings.Builder // that the source gave
		got := &bytes.Buffer{}
		s := &source{pieces: []string{"one\n", "two\n", "three\n"}}
		pieces := slices.Clone(s.pieces)
		s.waits = func() {
			if sent.Len() > 0 {
				r := inflate(t, name, bytes.NewReader(got.Bytes()))
				p := make([]byte, sent.Len())
				if _, err := io.ReadFull(r, p); err != nil || string(p) != sent.String() {
					t.Errorf("%s: of %q, %q had arrived when more was waited for: %v", name, sent.String(), p, err)
				}
			}
			if len(pieces) > 0 {
				sent.WriteString(pieces[0])
				pieces = pieces[1:]
			}
		}
		x.Response.Status, x.Response.ContentLength, x.Response.Body = 200, -1, s
		x.Response.Header.Add("Content-Type", "text/plain")
		f.Request(&x)
		f.Response(&x)
		if err := relay(x.Response.Body, got); err != nil {
			t.Fatal(err)
		}
		if len(pieces) > 0 {
			t.Error("the source was not read")
		}
		f.Done(&x)
	}
}

// A body that breaks off does not look complete.
func TestCutOff(t *testing.T) {
	broken := errors.New("broken")
	for _, name := range []string{"gzip", "br", "zstd"} {
		f := build(t, Config{Algorithms: []string{name}})
		var x exchange.Exchange
		x.Request.Header.Add("Accept-Encoding", name)
		x.Response.Status, x.Response.ContentLength, x.Response.Body = 200, -1, &source{pieces: []string{"one\n"}, err: broken}
		x.Response.Header.Add("Content-Type", "text/plain")
		f.Request(&x)
		f.Response(&x)
		var got bytes.Buffer
		if err := relay(x.Response.Body, &got); !errors.Is(err, broken) || x.Response.Body.Ended() {
			t.Errorf("%s: %v, ended %v", name, err, x.Response.Body.Ended())
		}
		if _, err := io.ReadAll(inflate(t, name, &got)); err == nil {
			t.Errorf("%s: what was cut off looks complete", name)
		}
		f.Done(&x)
	}
}

func TestResponses(t *testing.T) {
	vary := "Vary: Accept-Encoding"
	for _, test := range []struct {
		name   string
		config Config
		accept string
		method exchange.Method
		status int
		length int64
		fields []string
		want   []string
		coded  bool
	}{
		{"json", Config{}, "gzip", 0, 200, 5000, []string{"Content-Type: application/json"}, []string{"Content-Encoding: gzip", "Content-Type: application/json", vary}, true},
		{"parameters", Config{}, "gzip", 0, 200, 5000, []string{"Content-Type: Text/HTML ; charset=utf-8"}, []string{"Content-Encoding: gzip", "Content-Type: Text/HTML ; charset=utf-8", vary}, true},
		{"suffix", Config{}, "gzip", 0, 201, 5000, []string{"Content-Type: application/problem+json"}, []string{"Content-Encoding: gzip", "Content-Type: application/problem+json", vary}, true},
		{"strong ETag", Config{}, "br", 0, 200, 5000, []string{"Content-Type: text/css", `ETag: "a"`, "Accept-Ranges: bytes", "Content-Length: 5000"}, []string{"Content-Encoding: br", "Content-Type: text/css", `ETag: W/"a"`, vary}, true},
		{"weak ETag", Config{}, "br", 0, 200, 5000, []string{"Content-Type: text/css", `ETag: W/"a"`}, []string{"Content-Encoding: br", "Content-Type: text/css", `ETag: W/"a"`, vary}, true},
		{"digests", Config{}, "br", 0, 200, 5000, []string{"Content-Type: text/css", "Content-Digest: x", "Repr-Digest: x", "Digest: x", "Content-MD5: x"}, []string{"Content-Encoding: br", "Content-Type: text/css", vary}, true},
		{"identity", Config{}, "br", 0, 200, 5000, []string{"Content-Type: text/css", "Content-Encoding: identity"}, []string{"Content-Encoding: br", "Content-Type: text/css", vary}, true},
		{"Vary", Config{}, "br", 0, 200, 5000, []string{"Content-Type: text/css", "Vary: Cookie", "Vary: accept-encoding"}, []string{"Content-Encoding: br", "Content-Type: text/css", "Vary: Cookie, accept-encoding"}, true},
		{"unknown length", Config{MinBytes: 9999}, "br", 0, 200, -1, []string{"Content-Type: text/css"}, []string{"Content-Encoding: br", "Content-Type: text/css", vary}, true},
		{"small, and nothing else is taken", Config{MinBytes: 9999}, "br, identity;q=0", 0, 200, 5000, []string{"Content-Type: text/css"}, []string{"Content-Encoding: br", "Content-Type: text/css", vary}, true},
		{"a type that is named", Config{Types: []string{"image/*", "text/event-stream"}}, "br", 0, 200, 5000, []string{"Content-Type: image/png"}, []string{"Content-Encoding: br", "Content-Type: image/png", vary}, true},
		{"events that are named", Config{Types: []string{"image/*", "text/event-stream"}}, "br", 0, 200, -1, []string{"Content-Type: text/event-stream"}, []string{"Content-Encoding: br", "Content-Type: text/event-stream", vary}, true},

		{"small", Config{MinBytes: 5001}, "br", 0, 200, 5000, []string{"Content-Type: text/css"}, []string{"Content-Type: text/css", vary}, false},
		{"empty", Config{}, "br", 0, 200, 0, []string{"Content-Type: text/css"}, []string{"Content-Type: text/css", vary}, false},
		{"not taken", Config{}, "deflate", 0, 200, 5000, []string{"Content-Type: text/css", `ETag: "a"`}, []string{"Content-Type: text/css", `ETag: "a"`, vary}, false},
		{"not asked for", Config{}, "", 0, 200, 5000, []string{"Content-Type: text/css"}, []string{"Content-Type: text/css", vary}, false},
		{"HEAD", Config{}, "br", exchange.HEAD, 200, 5000, []string{"Content-Type: text/css"}, []string{"Content-Type: text/css", vary}, false},
		{"encoded", Config{}, "br", 0, 200, 5000, []string{"Content-Type: text/css", "Content-Encoding: gzip", `ETag: "a"`}, []string{"Content-Encoding: gzip", "Content-Type: text/css", `ETag: "a"`, vary}, false},
		{"no-transform", Config{}, "br", 0, 200, 5000, []string{"Content-Type: text/css", "cache-control: public, No-Transform"}, []string{"Content-Type: text/css", vary, "cache-control: public, No-Transform"}, false},
		{"range", Config{}, "br", 0, 206, 5000, []string{"Content-Type: text/css", "Content-Range: bytes 0-1/5"}, []string{"Content-Range: bytes 0-1/5", "Content-Type: text/css", vary}, false},
		{"range with another status", Config{}, "br", 0, 200, 5000, []string{"Content-Type: text/css", "Content-Range: bytes 0-1/5"}, []string{"Content-Range: bytes 0-1/5", "Content-Type: text/css", vary}, false},
		{"image", Config{}, "br", 0, 200, 5000, []string{"Content-Type: image/png"}, []string{"Content-Type: image/png"}, false},
		{"no type", Config{}, "br", 0, 200, 5000, nil, nil, false},
		{"events", Config{}, "br", 0, 200, -1, []string{"Content-Type: text/event-stream"}, []string{"Content-Type: text/event-stream"}, false},
		{"events among all texts", Config{Types: []string{"text/*"}}, "br", 0, 200, -1, []string{"Content-Type: text/event-stream; x"}, []string{"Content-Type: text/event-stream; x"}, false},
		{"another type than those", Config{Types: []string{"text/html"}}, "br", 0, 200, 5000, []string{"Content-Type: text/css"}, []string{"Content-Type: text/css"}, false},
		{"gRPC", Config{}, "br", 0, 200, -1, []string{"Content-Type: application/grpc+proto"}, []string{"Content-Type: application/grpc+proto"}, false},
		{"not found", Config{}, "br", 0, 404, 5000, []string{"Content-Type: text/html"}, []string{"Content-Type: text/html"}, false},
		{"upgrade", Config{}, "br", 0, 101, 0, []string{"Content-Type: text/html"}, []string{"Content-Type: text/html"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := build(t, test.config)
			var x exchange.Exchange
			if x.Request.Method = test.method; x.Request.Method == 0 {
				x.Request.Method = exchange.GET
			}
			if test.accept != "" {
				x.Request.Header.Add("Accept-Encoding", test.accept)
			}
			body := &source{pieces: []string{"x"}}
			x.Response.Status, x.Response.ContentLength, x.Response.Body = test.status, test.length, body
			add(&x.Response.Header, test.fields)
			f.Request(&x)
			if v, _ := x.Request.Header.Get("Accept-Encoding"); string(v) != test.accept {
				t.Error("the endpoint is told something else")
			}
			f.Response(&x)
			if diff := cmp.Diff(test.want, lines(&x.Response.Header)); diff != "" {
				t.Error(diff)
			}
			if coded := x.Response.Body != exchange.Body(body); coded != test.coded || coded != (x.Response.ContentLength != test.length) && test.length >= 0 {
				t.Errorf("compressed: %v, length %d", coded, x.Response.ContentLength)
			}
			if f.Done(&x); f.busy.Load() != 0 {
				t.Error("the encoder was not given back")
			}
		})
	}
}

func TestNotModified(t *testing.T) {
	for _, test := range []struct{ match, etag, want string }{
		{`W/"a"`, `"a"`, `W/"a"`},
		{`"b", W/"a"`, `"a"`, `W/"a"`},
		{`"a", W/"a"`, `"a"`, `W/"a"`},
		{`"a"`, `"a"`, `"a"`},
		{`W/"b"`, `"a"`, `"a"`},
		{`W/"a"`, `W/"a"`, `W/"a"`},
		{"", `"a"`, `"a"`},
		{`W/"a"`, "", ""},
	} {
		f := build(t, Config{})
		var x exchange.Exchange
		x.Response.Status = 304
		if test.match != "" {
			x.Request.Header.Add("If-None-Match", test.match)
		}
		if test.etag != "" {
			x.Response.Header.Add("ETag", test.etag)
		}
		f.Request(&x)
		f.Response(&x)
		got, _ := x.Response.Header.Get("ETag")
		vary, _ := x.Response.Header.Get("Vary")
		if string(got) != test.want || string(vary) != "Accept-Encoding" {
			t.Errorf("%s for If-None-Match %s: %s, Vary %s", test.etag, test.match, got, vary)
		}
	}
}

// More responses than there is memory for pass as they are.
func TestBound(t *testing.T) {
	f := build(t, Config{Algorithms: []string{"gzip"}})
	f.busy.Store(maxEncoders)
	var x exchange.Exchange
	x.Request.Header.Add("Accept-Encoding", "gzip")
	body := &source{pieces: []string{text}}
	x.Response.Status, x.Response.ContentLength, x.Response.Body = 200, int64(len(text)), body
	x.Response.Header.Add("Content-Type", "text/plain")
	f.Request(&x)
	f.Response(&x)
	if x.Response.Body != exchange.Body(body) || x.Response.ContentLength != int64(len(text)) || x.Response.Header.Has(exchange.ContentEncoding) {
		t.Error("one more is compressed")
	}
	if f.Done(&x); f.busy.Load() != maxEncoders {
		t.Errorf("%d are busy", f.busy.Load())
	}
}

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		config Config
		want   string
	}{
		{Config{MinBytes: -1}, "min_bytes"},
		{Config{Algorithms: []string{"deflate"}}, "algorithms"},
		{Config{Algorithms: []string{"identity"}}, "algorithms"},
		{Config{Algorithms: []string{"GZIP"}}, "algorithms"},
		{Config{Algorithms: []string{"br", "br"}}, "twice"},
		{Config{Types: []string{"text"}}, "content_types"},
		{Config{Types: []string{"/x"}}, "content_types"},
		{Config{Types: []string{"text/"}}, "content_types"},
		{Config{Types: []string{"text/html; charset=x"}}, "content_types"},
	} {
		if err := test.config.Validate(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v", test.config, err)
		}
		if f, err := test.config.New(filter.Env{}); err == nil || f != nil {
			t.Errorf("%+v: New takes it", test.config)
		}
	}
}

func TestKey(t *testing.T) {
	full := Config{Owner: "o", Algorithms: []string{"br"}, MinBytes: 5, Types: []string{"text/*"}}
	v := reflect.ValueOf(full)
	for i := range v.NumField() {
		changed := full
		reflect.ValueOf(&changed).Elem().Field(i).SetZero()
		if changed.Key() == full.Key() {
			t.Errorf("the key does not hold %s", v.Type().Field(i).Name)
		}
	}
}

// Who does not take it, and what is not compressed, costs no memory.
func TestAllocates(t *testing.T) {
	f := build(t, Config{})
	var x exchange.Exchange
	for _, accept := range []string{"deflate", "gzip, br, zstd;q=0.5"} {
		if n := testing.AllocsPerRun(100, func() {
			x.Reset()
			x.Request.Header.Add("Accept-Encoding", accept)
			f.Request(&x)
			x.Response.Status = 200
			x.Response.Header.Add("Content-Type", "image/png")
			f.Response(&x)
			f.Done(&x)
		}); n != 0 {
			t.Errorf("%q: %v allocations", accept, n)
		}
	}
}
