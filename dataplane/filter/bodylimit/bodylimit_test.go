package bodylimit

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

func build(t testing.TB, limit int64) filter.Filter {
	t.Helper()
	f, err := (Config{Max: limit}).New(filter.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// pieces is a body that comes in pieces. The first atHand of them are there without waiting.
type pieces struct {
	list     []string
	atHand   int
	canceled int
}

func (b *pieces) Buffered() []byte {
	if b.atHand == 0 || len(b.list) == 0 {
		return nil
	}
	return []byte(b.list[0])
}

func (b *pieces) Skip(n int) {
	if b.list[0] = b.list[0][n:]; b.list[0] == "" {
		b.list = b.list[1:]
		b.atHand = max(0, b.atHand-1)
	}
}

func (b *pieces) Read(p []byte) (int, error) {
	if len(b.list) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.list[0])
	b.Skip(n)
	return n, nil
}

func (b *pieces) Ended() bool { return len(b.list) == 0 }
func (b *pieces) Cancel()     { b.canceled++ }
func (b *pieces) Renew()      { b.canceled-- }

// drain reads a body as the engines do.
func drain(b exchange.Body) (string, error) {
	var all bytes.Buffer
	for at := b.Buffered(); len(at) > 0; at = b.Buffered() {
		all.Write(at)
		b.Skip(len(at))
	}
	var p [3]byte
	for !b.Ended() {
		n, err := b.Read(p[:])
		all.Write(p[:n])
		if err == io.EOF {
			break
		}
		if err != nil {
			return all.String(), err
		}
	}
	return all.String(), nil
}

func TestKnownLength(t *testing.T) {
	for _, test := range []struct {
		limit, length int64
		refused       bool
	}{{5, 5, false}, {5, 6, true}, {0, 0, false}, {0, 1, true}, {1 << 40, 1 << 39, false}} {
		var x exchange.Exchange
		var body pieces
		x.Request.ContentLength = test.length
		if test.length != 0 {
			x.Request.Body = &body
		}
		v := build(t, test.limit).Request(&x)
		if test.refused != (v == filter.Respond) || test.refused != (x.Response.Status == 413) || test.refused != (x.Record.Reason == exchange.BodyTooLarge) {
			t.Errorf("%d bytes where %d are allowed: verdict %d, %d %s", test.length, test.limit, v, x.Response.Status, x.Record.Reason)
		}
		if !test.refused && test.length != 0 && x.Request.Body != exchange.Body(&body) {
			t.Error("a body of known length is wrapped: it could not be spliced")
		}
	}
}

func TestUnknownLength(t *testing.T) {
	for _, test := range []struct {
		limit int64
		body  []string
		want  string
		over  bool
	}{
		{5, []string{"ab", "cde"}, "abcde", false},
		{5, []string{"ab", "cdef"}, "abcde", true},
		{5, []string{"abcdef"}, "abcde", true},
		{5, []string{"abcde", "f"}, "abcde", true},
		{5, nil, "", false},
		{0, nil, "", false},
		{0, []string{"a"}, "", true},
	} {
		for atHand := range len(test.body) + 1 {
			var x exchange.Exchange
			body := &pieces{list: append([]string(nil), test.body...), atHand: atHand}
			x.Request.ContentLength, x.Request.Body = -1, body
			if v := build(t, test.limit).Request(&x); v != filter.Continue {
				t.Fatalf("verdict %d", v)
			}
			got, err := drain(x.Request.Body)
			var failure *exchange.Failure
			if got != test.want || test.over != errors.As(err, &failure) || test.over && failure.Reason != exchange.BodyTooLarge {
				t.Errorf("%q with %d at hand, limit %d: %q, %v", test.body, atHand, test.limit, got, err)
			}
			if test.over {
				if x.Request.Body.Ended() {
					t.Errorf("%q: what was cut off says that it is complete", test.body)
				}
				if _, err := x.Request.Body.Read(make([]byte, 1)); !errors.As(err, &failure) {
					t.Errorf("%q: it goes on: %v", test.body, err)
				}
			}
		}
	}
}

// A body that an upload waits for can be called off through the filter.
func TestCancel(t *testing.T) {
	var x exchange.Exchange
	body := &pieces{}
	x.Request.ContentLength, x.Request.Body = -1, body
	build(t, 5).Request(&x)
	b, ok := x.Request.Body.(interface {
		Cancel()
		Renew()
	})
	if !ok {
		t.Fatal("an upload that waits for the client would never end")
	}
	if b.Cancel(); body.canceled != 1 {
		t.Error("Cancel did not reach the body")
	}
	if b.Renew(); body.canceled != 0 {
		t.Error("Renew did not reach the body")
	}
}

func TestTunnel(t *testing.T) {
	var x exchange.Exchange
	body := &pieces{}
	x.Request.ContentLength, x.Request.Body, x.Request.Upgrade = -1, body, true
	if build(t, 0).Request(&x); x.Request.Body != exchange.Body(body) {
		t.Error("a tunnel is counted")
	}
}

func TestConfig(t *testing.T) {
	if err := (Config{Max: -1}).Validate(); err == nil || !strings.Contains(err.Error(), "0 or more") {
		t.Error(err)
	}
	if _, err := (Config{Max: -1}).New(filter.Env{}); err == nil {
		t.Error("New takes it")
	}
	a := Config{Owner: "a", Max: 1}
	if a.Key() == (Config{Owner: "b", Max: 1}).Key() || a.Key() == (Config{Owner: "a", Max: 2}).Key() || a.Key() != (Config{Owner: "a", Max: 1}).Key() {
		t.Error(a.Key())
	}
}

func TestAllocates(t *testing.T) {
	f := build(t, 100)
	var x exchange.Exchange
	var body pieces
	if n := testing.AllocsPerRun(100, func() {
		x.Reset()
		f.Request(&x)
		x.Request.ContentLength, x.Request.Body = 50, &body
		f.Request(&x)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkKnownLength(b *testing.B) {
	f := build(b, 100)
	var x exchange.Exchange
	var body pieces
	x.Request.ContentLength, x.Request.Body = 50, &body
	b.ReportAllocs()
	for b.Loop() {
		f.Request(&x)
	}
}

func BenchmarkUnknownLength(b *testing.B) {
	f := build(b, 1<<20)
	var x exchange.Exchange
	var body exchange.Bytes
	p := make([]byte, 16<<10)
	b.ReportAllocs()
	for b.Loop() {
		body.Reset(p)
		x.Request.ContentLength, x.Request.Body = -1, &body
		f.Request(&x)
		if n, _ := x.Request.Body.Read(p); n != len(p) {
			b.Fatal(n)
		}
	}
}
