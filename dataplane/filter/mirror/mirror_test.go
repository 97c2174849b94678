package mirror

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what a test waits for. Nothing waits for so long unless it is broken.
const patience = 20 * time.Second

// A shadow is where copies go.
type shadow struct {
	t       testing.TB
	copies  chan string
	results chan string
	hold    chan struct{} // nil: answers at once
	fail    error
	panics  bool
	reset   sync.WaitGroup // answers that are not released
}

func newShadow(t testing.TB) *shadow {
	return &shadow{t: t, copies: make(chan string, 1000), results: make(chan string, 1000)}
}

func (s *shadow) env() filter.Env {
	return filter.Env{Log: logr.Discard(), Metrics: s, Send: s.send, Background: func(func(context.Context)) { panic("not used") }}
}

func (s *shadow) RateLimited(_, _, _, _ string)       {}
func (s *shadow) SharedLimitError()                   {}
func (s *shadow) JWKSRefresh(provider string, _ bool) {}
func (s *shadow) Mirrored(result string)              { s.results <- result }

func (s *shadow) Release() { s.reset.Done() }

func (s *shadow) send(cluster string, x *exchange.Exchange, timeout time.Duration) error {
	if cluster != "shadow" || timeout != time.Second {
		s.t.Errorf("sent to %q within %v", cluster, timeout)
	}
	if s.hold != nil {
		<-s.hold
	}
	if s.panics {
		panic("on purpose")
	}
	s.copies <- spell(x)
	if s.fail != nil {
		return s.fail
	}
	s.reset.Add(1)
	answer := new(exchange.Bytes)
	answer.Reset([]byte("an answer"))
	x.Response.Status, x.Response.Body, x.Response.Stream = 200, answer, s
	return nil
}

// spell writes a request down.
func spell(x *exchange.Exchange) string {
	r := &x.Request
	var b strings.Builder
	b.WriteString(r.Method.String() + " " + string(r.Host) + string(r.Path))
	if r.HasQuery {
		b.WriteString("?" + string(r.Query))
	}
	for i := range r.Header.Len() {
		if _, name, value, ok := r.Header.At(i); ok {
			b.WriteString(" " + string(name) + ":" + string(value))
		}
	}
	if r.Body != nil {
		body, _ := io.ReadAll(r.Body)
		if int64(len(body)) != r.ContentLength {
			body = append(body, " of another length"...)
		}
		b.WriteString(" " + string(body))
	}
	return b.String()
}

func (s *shadow) result() string {
	s.t.Helper()
	select {
	case r := <-s.results:
		return r
	case <-time.After(patience):
		s.t.Fatal("nothing was counted")
		return ""
	}
}

func build(t testing.TB, s *shadow, change func(*Config)) *mirror {
	t.Helper()
	c := Config{Owner: "o", Cluster: "shadow", Percent: 100, MaxBody: 10, Timeout: time.Second}
	if change != nil {
		change(&c)
	}
	f, err := c.New(s.env())
	if err != nil {
		t.Fatal(err)
	}
	return f.(*mirror)
}

// stream is a body in pieces.
type stream struct {
	pieces []string
	err    error
	late   bool // its end is not known before it is read
}

func (b *stream) Buffered() []byte { return nil }
func (b *stream) Skip(n int)       { b.pieces[0] = b.pieces[0][n:] }
func (b *stream) Ended() bool      { return len(b.pieces) == 0 && b.err == nil && !b.late }
func (b *stream) Read(p []byte) (int, error) {
	if len(b.pieces) == 0 {
		if b.err != nil {
			return 0, b.err
		}
		b.late = false
		return 0, io.EOF
	}
	n := copy(p, b.pieces[0])
	if b.pieces[0] = b.pieces[0][n:]; b.pieces[0] == "" {
		b.pieces = b.pieces[1:]
	}
	return n, nil
}

func newExchange() *exchange.Exchange {
	x := &exchange.Exchange{Conn: &exchange.Conn{Remote: netip.MustParseAddrPort("192.0.2.1:1")}}
	r := &x.Request
	r.Method, r.Host, r.Path, r.Query, r.HasQuery = exchange.POST, []byte("a.test"), []byte("/x"), []byte("q=1"), true
	r.Header.Add("Authorization", "Bearer x")
	r.Header.Add("Expect", "100-continue")
	r.Header.Add("Trailer", "X")
	x.Record.Attempts = 1
	return x
}

// serve does what the proxy does, with an upload that reads the body.
func serve(x *exchange.Exchange, fs ...*mirror) string {
	for _, f := range fs {
		f.Request(x)
	}
	if x.Record.Attempts > 0 {
		for _, f := range fs {
			f.Attempt(x)
		}
	}
	var got strings.Builder
	if b := x.Request.Body; b != nil {
		if at := b.Buffered(); len(at) > 0 {
			got.Write(at)
			b.Skip(len(at))
		}
		var p [4]byte
		for !b.Ended() {
			n, err := b.Read(p[:])
			got.Write(p[:n])
			if err != nil {
				break
			}
		}
	}
	x.Response.Status = 200
	for _, f := range fs {
		f.Response(x)
	}
	for _, f := range fs {
		f.Done(x)
	}
	return got.String()
}

func TestMirror(t *testing.T) {
	const head = "POST a.test/x?q=1 Authorization:Bearer x"
	for _, test := range []struct {
		name   string
		length int64
		body   exchange.Body
		upload string
		want   string // the copy; empty: none
		result string // empty: nothing is counted
		change func(x *exchange.Exchange)
	}{
		{name: "no body", want: head, result: sent},
		{name: "a body", length: 5, body: &stream{pieces: []string{"he", "llo"}}, upload: "hello", want: head + " hello", result: sent},
		{name: "as long as may be", length: 10, body: &stream{pieces: []string{"0123456789"}}, upload: "0123456789", want: head + " 0123456789", result: sent},
		{name: "chunked", length: -1, body: &stream{pieces: []string{"he", "llo"}, late: true}, upload: "hello", want: head + " hello", result: sent},
		{name: "chunked and empty", length: -1, body: &stream{late: true}, want: head, result: sent},
		{name: "too long", length: 11, body: &stream{pieces: []string{"01234567890"}}, upload: "01234567890", result: dropped},
		{name: "chunked and too long", length: -1, body: &stream{pieces: []string{"012345", "67890"}}, upload: "01234567890", result: dropped},
		{name: "broken off", length: 5, body: &stream{pieces: []string{"he"}, err: errors.New("gone")}, upload: "he", result: dropped},
		{name: "in memory", length: 5, body: inMemory("hello"), upload: "hello", want: head + " hello", result: sent},
		{name: "in memory and too long", length: 11, body: inMemory("01234567890"), upload: "01234567890", result: dropped},
		{name: "upgrade", change: func(x *exchange.Exchange) { x.Request.Upgrade = true }},
		{name: "no endpoint was asked", change: func(x *exchange.Exchange) { x.Record.Attempts = 0 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newShadow(t)
			f := build(t, s, nil)
			for range 2 {
				x := newExchange()
				x.Request.ContentLength, x.Request.Body = test.length, test.body
				if b, ok := test.body.(*stream); ok {
					again := *b
					again.pieces = slices.Clone(b.pieces)
					x.Request.Body = &again
				}
				if b, ok := test.body.(*exchange.Bytes); ok {
					b.Rewind()
				}
				if test.change != nil {
					test.change(x)
				}
				if got := serve(x, f); got != test.upload {
					t.Errorf("the endpoint got %q", got)
				}
				if test.result != "" {
					if got := s.result(); got != test.result {
						t.Errorf("counted as %s", got)
					}
				}
				if test.want != "" {
					if got := <-s.copies; got != test.want {
						t.Errorf("the copy is %q, want %q", got, test.want)
					}
				}
				s.reset.Wait()
				if len(s.copies)+len(s.results) > 0 || f.busy.Load() != 0 {
					t.Errorf("%d copies and %d results more; %d are busy", len(s.copies), len(s.results), f.busy.Load())
				}
			}
			f.Close()
		})
	}
}

func inMemory(text string) *exchange.Bytes {
	b := new(exchange.Bytes)
	b.Reset([]byte(text))
	return b
}

// The copy is one for good: what the exchange's memory is used for next does not show in it.
func TestCopyIsApart(t *testing.T) {
	s := newShadow(t)
	s.hold = make(chan struct{})
	f := build(t, s, nil)
	x := newExchange()
	host, path, body := []byte("a.test"), []byte("/x"), []byte("hello")
	whole := new(exchange.Bytes)
	whole.Reset(body)
	x.Request.Host, x.Request.Path, x.Request.Body, x.Request.ContentLength = host, path, whole, 5
	serve(x, f)
	for _, b := range [][]byte{host, path, body} {
		clear(b)
	}
	*x.Conn = exchange.Conn{}
	x.Reset()
	x.Request.Header.Add("X-Other", "request")
	close(s.hold)
	if got := <-s.copies; got != "POST a.test/x?q=1 Authorization:Bearer x hello" {
		t.Errorf("%q", got)
	}
	_ = s.result()
}

// Two mirrors of a route both get the body.
func TestTwo(t *testing.T) {
	s := newShadow(t)
	a, b := build(t, s, nil), build(t, s, nil)
	x := newExchange()
	x.Request.ContentLength, x.Request.Body = 5, &stream{pieces: []string{"hello"}}
	serve(x, a, b)
	for range 2 {
		if got := <-s.copies; !strings.HasSuffix(got, " hello") {
			t.Errorf("%q", got)
		}
		if got := s.result(); got != sent {
			t.Error(got)
		}
	}
}

// An endpoint that never answers costs copies, and nobody waits for it.
func TestBound(t *testing.T) {
	s := newShadow(t)
	s.hold = make(chan struct{})
	f := build(t, s, nil)
	for range maxCopies + 3 {
		serve(newExchange(), f)
	}
	x := newExchange()
	x.Request.ContentLength, x.Request.Body = 5, &stream{pieces: []string{"hello"}}
	if got := serve(x, f); got != "hello" {
		t.Errorf("the endpoint got %q", got)
	}
	if len(s.results) != 4 || s.result() != dropped {
		t.Errorf("%d were dropped", len(s.results))
	}
	closed := make(chan struct{})
	go func() {
		f.Close()
		close(closed)
	}()
	runtime.Gosched()
	select {
	case <-closed:
		t.Error("Close has not waited for the copies")
	default:
	}
	close(s.hold)
	<-closed
	if n := f.busy.Load(); n != 0 {
		t.Errorf("%d copies are under way behind Close", n)
	}
	counted := map[string]int{}
	for range maxCopies + 3 {
		counted[s.result()]++
	}
	if counted[sent] != maxCopies || f.busy.Load() != 0 {
		t.Errorf("%v, %d are busy", counted, f.busy.Load())
	}
}

func TestFailures(t *testing.T) {
	for _, panics := range []bool{false, true} {
		s := newShadow(t)
		s.fail, s.panics = errors.New("on purpose"), panics
		f := build(t, s, nil)
		serve(newExchange(), f)
		if got := s.result(); got != failed {
			t.Error(got)
		}
	}
}

func TestPercent(t *testing.T) {
	for _, percent := range []int{0, 50} {
		s := newShadow(t)
		f := build(t, s, func(c *Config) { c.Percent = percent })
		n := 0
		for range 400 {
			if f.chosen() {
				n++
			}
		}
		if percent == 0 && n > 0 || percent == 50 && (n < 100 || n > 300) {
			t.Errorf("%d of 400 at %d percent", n, percent)
		}
	}
	s := newShadow(t)
	f := build(t, s, func(c *Config) { c.Percent = 0 })
	x := newExchange()
	body := &stream{pieces: []string{"hello"}}
	x.Request.ContentLength, x.Request.Body = 5, body
	f.Attempt(x)
	if x.Request.Body != exchange.Body(body) {
		t.Error("the body of a request that is not copied is wrapped")
	}
	serve(newExchange(), f)
	if len(s.results) != 0 {
		t.Error("something was sent")
	}
}

// A further try copies nothing more, and an upload can be called off through the filter.
func TestTries(t *testing.T) {
	s := newShadow(t)
	f := build(t, s, nil)
	x := newExchange()
	x.Request.ContentLength, x.Request.Body = 5, &stream{pieces: []string{"hello"}}
	f.Attempt(x)
	first := x.Request.Body
	if _, ok := first.(interface{ Cancel() }); !ok {
		t.Error("an upload that waits for the client would never end")
	}
	x.Record.Attempts = 2
	if f.Attempt(x); x.Request.Body != first {
		t.Error("the body is wrapped twice")
	}
	f.Done(x)
	if got := s.result(); got != dropped {
		t.Errorf("a body that was not read is %s", got)
	}
}

func TestValidate(t *testing.T) {
	good := Config{Owner: "o", Cluster: "c", Percent: 1, MaxBody: 1, Timeout: 1}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for _, change := range []func(*Config){
		func(c *Config) { c.Cluster = "" }, func(c *Config) { c.Percent = 101 }, func(c *Config) { c.Percent = -1 },
		func(c *Config) { c.MaxBody = -1 }, func(c *Config) { c.Timeout = 0 },
	} {
		c := good
		change(&c)
		if f, err := c.New(filter.Env{}); err == nil || f != nil {
			t.Errorf("New takes %+v", c)
		}
	}
	v := reflect.ValueOf(good)
	for i := range v.NumField() {
		changed := good
		reflect.ValueOf(&changed).Elem().Field(i).SetZero()
		if changed.Key() == good.Key() {
			t.Errorf("the key does not hold %s", v.Type().Field(i).Name)
		}
	}
}

func TestAllocates(t *testing.T) {
	s := newShadow(t)
	f := build(t, s, func(c *Config) { c.Percent = 0 })
	x := newExchange()
	if n := testing.AllocsPerRun(100, func() { serve(x, f) }); n != 0 {
		t.Errorf("%v allocations for a request that is not copied", n)
	}
}

func BenchmarkMirror(b *testing.B) {
	s := newShadow(b)
	f := build(b, s, nil)
	x := newExchange()
	b.ReportAllocs()
	for b.Loop() {
		serve(x, f)
		<-s.copies
		<-s.results
	}
}
