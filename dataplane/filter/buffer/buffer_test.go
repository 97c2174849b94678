package buffer

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

func build(t testing.TB, limit int) filter.Filter {
	t.Helper()
	f, err := (Config{Max: limit}).New(filter.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// stream is a body that ends with err, or well where that is io.EOF.
type stream struct {
	io.Reader
	err   error
	ended bool
}

func (b *stream) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if n == 0 && err == io.EOF {
		b.ended = b.err == io.EOF
		return 0, b.err
	}
	return n, nil
}
func (b *stream) Buffered() []byte { return nil }
func (b *stream) Skip(int)         { panic("there is nothing to skip") }
func (b *stream) Ended() bool      { return b.ended }

type client struct {
	interim []int
	gone    bool
}

func (c *client) Interim(_ *exchange.Exchange, status int, _ *exchange.Header) error {
	c.interim = append(c.interim, status)
	if c.gone {
		return net.ErrClosed
	}
	return nil
}
func (c *client) Respond(*exchange.Exchange) error { panic("filters do not respond") }

func TestBuffer(t *testing.T) {
	long := strings.Repeat("0123456789", 20_000)
	for _, test := range []struct {
		name   string
		limit  int
		length int64
		body   string
		err    error
		status int // 0: goes on
		reason exchange.Reason
	}{
		{"known", 10, 5, "hello", io.EOF, 0, ""},
		{"as much as may be", 5, 5, "hello", io.EOF, 0, ""},
		{"chunked", 10, -1, "hello", io.EOF, 0, ""},
		{"chunked, as much as may be", 5, -1, "hello", io.EOF, 0, ""},
		{"chunked and empty", 5, -1, "", io.EOF, 0, ""},
		{"long", len(long), int64(len(long)), long, io.EOF, 0, ""},
		{"long and chunked", 1 << 20, -1, long, io.EOF, 0, ""},
		{"too long", 4, 5, "hello", io.EOF, 413, exchange.BodyTooLarge},
		{"too long and chunked", 4, -1, "hello", io.EOF, 413, exchange.BodyTooLarge},
		{"much too long and chunked", 100_000, -1, long, io.EOF, 413, exchange.BodyTooLarge},
		{"slow", 10, 5, "he", &exchange.Failure{Reason: exchange.RequestTimeout}, 408, exchange.RequestTimeout},
		{"bad chunks", 10, -1, "he", &exchange.Failure{Reason: exchange.BadRequest}, 400, exchange.BadRequest},
		{"a long trailer", 10, -1, "he", &exchange.Failure{Reason: exchange.HeaderTooLarge}, 431, exchange.HeaderTooLarge},
		{"the limit of another filter", 10, -1, "he", &exchange.Failure{Reason: exchange.BodyTooLarge}, 413, exchange.BodyTooLarge},
		{"gone", 10, 5, "he", net.ErrClosed, 499, exchange.ClientReset},
		{"gone, as a stream says it", 10, 5, "he", &exchange.Failure{Reason: exchange.ClientReset}, 499, exchange.ClientReset},
		{"too short", 10, 5, "he", io.EOF, 400, exchange.BadRequest},
		{"longer than it said", 10, 2, "hello", io.EOF, 413, exchange.BodyTooLarge},
	} {
		t.Run(test.name, func(t *testing.T) {
			x := exchange.Exchange{Downstream: &client{}}
			r := &x.Request
			r.ContentLength, r.Body = test.length, &stream{Reader: strings.NewReader(test.body), err: test.err}
			r.Header.Add("Trailer", "X-Sum")
			r.Trailer.Add("X-Sum", "1")
			v := build(t, test.limit).Request(&x)
			if test.status != 0 {
				if v != filter.Respond || x.Response.Status != test.status || x.Record.Reason != test.reason {
					t.Errorf("verdict %d, %d %s", v, x.Response.Status, x.Record.Reason)
				}
				return
			}
			if v != filter.Continue || x.Response.Status != 0 {
				t.Fatalf("verdict %d, %d %s", v, x.Response.Status, x.Record.Reason)
			}
			if r.ContentLength != int64(len(test.body)) || r.Header.Has(exchange.Trailer) || r.Trailer.Len() != 0 {
				t.Errorf("length %d, a trailer is left: %v", r.ContentLength, r.Header.Has(exchange.Trailer))
			}
			if test.body == "" {
				if r.Body != nil {
					t.Error("an empty body is left")
				}
				return
			}
			b := r.Body.(*exchange.Bytes)
			for range 2 { // as two tries do
				b.Rewind()
				if got, err := io.ReadAll(b); string(got) != test.body || err != nil {
					t.Errorf("%d bytes, %v", len(got), err)
				}
			}
			if len(x.Downstream.(*client).interim) != 0 {
				t.Error("the client was told to continue, and did not ask")
			}
		})
	}
}

func TestExpect(t *testing.T) {
	for _, gone := range []bool{false, true} {
		c := &client{gone: gone}
		x := exchange.Exchange{Downstream: c}
		x.Request.ContentLength, x.Request.Expect, x.Request.Body = 5, true, &stream{Reader: strings.NewReader("hello"), err: io.EOF}
		x.Request.Header.Add("Expect", "100-continue")
		v := build(t, 10).Request(&x)
		if len(c.interim) != 1 || c.interim[0] != 100 {
			t.Errorf("the client was told %v", c.interim)
		}
		if gone {
			if v != filter.Respond || x.Response.Status != 499 {
				t.Errorf("verdict %d, %d", v, x.Response.Status)
			}
			continue
		}
		if v != filter.Continue || x.Request.Expect || x.Request.Header.Has(exchange.Expect) {
			t.Error("the endpoint is told to expect what has come")
		}
	}
	c := &client{}
	x := exchange.Exchange{Downstream: c}
	x.Request.ContentLength, x.Request.Expect, x.Request.Body = 50, true, &stream{}
	if build(t, 10).Request(&x); len(c.interim) != 0 || x.Response.Status != 413 {
		t.Errorf("a body that is too long was asked for: %v, %d", c.interim, x.Response.Status)
	}
}

// A body that is announced and does not come costs little.
func TestMemory(t *testing.T) {
	f := build(t, 16<<20)
	x := exchange.Exchange{Downstream: &client{}}
	result := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			x.Request.ContentLength, x.Request.Body = 16<<20, &stream{Reader: strings.NewReader("x"), err: net.ErrClosed}
			f.Request(&x)
		}
	})
	if n := result.AllocedBytesPerOp(); n > 2*firstRead {
		t.Errorf("%d bytes for a body of which one byte came", n)
	}
}

func TestNoBody(t *testing.T) {
	f := build(t, 10)
	x := exchange.Exchange{}
	if n := testing.AllocsPerRun(100, func() { f.Request(&x) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	body := &stream{}
	x.Request.Upgrade, x.Request.Body, x.Request.ContentLength = true, body, -1
	if f.Request(&x); x.Request.Body != exchange.Body(body) {
		t.Error("a tunnel is buffered")
	}
}

func TestConfig(t *testing.T) {
	if err := (Config{}).Validate(); err == nil || !strings.Contains(err.Error(), "1 or more") {
		t.Error(err)
	}
	if _, err := (Config{}).New(filter.Env{}); err == nil {
		t.Error("New takes it")
	}
	a := Config{Owner: "a", Max: 1}
	if a.Key() == (Config{Owner: "b", Max: 1}).Key() || a.Key() == (Config{Owner: "a", Max: 2}).Key() {
		t.Error(a.Key())
	}
	if !errors.Is(errTooLong, errTooLong.Err) {
		t.Error(errTooLong)
	}
}

func BenchmarkBuffer(b *testing.B) {
	f := build(b, 1<<20)
	x := exchange.Exchange{Downstream: &client{}}
	body := strings.Repeat("x", 8<<10)
	b.ReportAllocs()
	for b.Loop() {
		x.Request.ContentLength, x.Request.Body = int64(len(body)), &stream{Reader: strings.NewReader(body), err: io.EOF}
		if f.Request(&x) != filter.Continue {
			b.Fatal(x.Response.Status)
		}
	}
}
