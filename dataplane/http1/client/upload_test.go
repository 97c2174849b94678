package client

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/codec"
)

const okNoBody = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

func TestUploads(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 8192)
	tests := []struct {
		name   string
		length int64
		pieces []any
		wire   string
	}{
		{"at hand", 5, []any{"hello"}, "hello"},
		{"in pieces", 6, []any{"hello", "!"}, "hello!"},
		{"nothing at hand", 5, []any{closed(), "hello"}, "hello"},
		{"large", int64(len(long)), []any{"x", long[1:]}, "x" + long[1:]},
		{"chunked", -1, []any{"hello", closed(), "!"}, "5\r\nhello\r\n1\r\n!\r\n0\r\nX-T: v\r\n\r\n"},
		{"chunked and empty", -1, nil, "0\r\nX-T: v\r\n\r\n"},
		{"chunked, not at hand", -1, []any{closed(), "hello"}, "5\r\nhello\r\n0\r\nX-T: v\r\n\r\n"},
	}
	for _, tt := range tests {
		for _, how := range []string{"tcp", "pipe"} {
			t.Run(tt.name+"/"+how, func(t *testing.T) {
				e := dial(t)
				if how == "pipe" {
					e = pipe(t)
				}
				got := make(chan string, 2)
				e.script(func() {
					got <- e.head()
					body := make([]byte, len(tt.wire))
					_, _ = io.ReadFull(e.far, body)
					got <- string(body)
					e.write(okNoBody)
				})
				x, _ := request(exchange.POST)
				newSource(x, tt.length, slices.Clone(tt.pieces)...)
				x.Request.Trailer.Add("X-T", "v")
				if err := e.conn.RoundTrip(x, in(patience)); err != nil {
					t.Fatal(err)
				}
				head := <-got
				want := "Content-Length: "
				if tt.length < 0 {
					want = "Transfer-Encoding: chunked"
				}
				if !strings.Contains(head, want) {
					t.Errorf("the head %q has no %s", head, want)
				}
				if body := <-got; body != tt.wire {
					t.Errorf("on the wire was %.60q, want %.60q", body, tt.wire)
				}
				x.ResetResponse()
				if !e.over() {
					t.Error("the connection is not reusable")
				}
			})
		}
	}
}

// closed returns something to wait for that has happened.
func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// TestEarlyResponse: a response that comes while the body is sent is passed on; the rest of the body is given up, and
// the connection with it.
func TestEarlyResponse(t *testing.T) {
	for _, how := range []string{"client waits", "endpoint does not read"} {
		t.Run(how, func(t *testing.T) {
			e := dial(t)
			e.script(func() {
				e.head()
				e.write("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
			})
			x, _ := request(exchange.POST)
			if how == "client waits" {
				newSource(x, 10, "hello", make(chan struct{}))
			} else {
				newSource(x, 64<<20, "x", strings.Repeat("x", 64<<20-1))
			}
			if err := e.conn.RoundTrip(x, in(patience)); err != nil {
				t.Fatal(err)
			}
			if body, err := read(x); x.Response.Status != 413 || body != "no" || err != nil {
				t.Errorf("the response is %d %q, %v", x.Response.Status, body, err)
			}
			x.ResetResponse()
			if e.over() {
				t.Error("the connection is reusable")
			}
		})
	}
}

// TestUploadFaults: what goes wrong on the client's side of an upload is not the endpoint's fault.
func TestUploadFaults(t *testing.T) {
	tests := []struct {
		err    error
		reason exchange.Reason
	}{
		{errors.New("the client closed the connection"), exchange.ClientReset},
		{&codec.HeadError{Status: 408, Reason: exchange.RequestTimeout}, exchange.RequestTimeout},
		{&codec.HeadError{Status: 400, Reason: exchange.BadRequest}, exchange.BadRequest},
		{&exchange.Failure{Reason: exchange.BodyTooLarge}, exchange.BodyTooLarge},
	}
	for _, tt := range tests {
		for _, how := range []string{"tcp", "pipe"} {
			e := dial(t)
			if how == "pipe" {
				e = pipe(t)
			}
			e.script(func() { _, _ = io.Copy(io.Discard, e.far) })
			x, _ := request(exchange.POST)
			newSource(x, 10, "hello", tt.err)
			f := failure(t, e.conn.RoundTrip(x, in(patience)), tt.reason)
			if !f.Sent || !f.BodyRead {
				t.Errorf("%v: sent %t, body read %t; want both", tt.reason, f.Sent, f.BodyRead)
			}
			if e.over() {
				t.Errorf("%v: the connection is reusable", tt.reason)
			}
		}
	}
}

// TestBodyInMemory: what lies in memory is sent again from its start, and no failure says that it cannot be.
func TestBodyInMemory(t *testing.T) {
	x, _ := request(exchange.PUT)
	body := new(exchange.Bytes)
	body.Reset([]byte(strings.Repeat("0123456789", 5000)))
	x.Request.Body, x.Request.ContentLength, x.Record.BytesIn = body, 50_000, 50_000
	read := func(e *endpoint) string {
		e.head()
		got := make([]byte, 50_000)
		_, _ = io.ReadFull(e.far, got)
		return string(got)
	}
	first := dial(t)
	first.script(func() {
		read(first)
		_ = first.far.Close()
	})
	if f := failure(t, first.conn.RoundTrip(x, in(patience)), exchange.UpstreamReset); !f.Sent || f.BodyRead {
		t.Errorf("sent %t, body read %t", f.Sent, f.BodyRead)
	}
	second := dial(t)
	got := make(chan string, 1)
	second.script(func() {
		got <- read(second)
		second.write(okNoBody)
	})
	if err := second.conn.RoundTrip(x, in(patience)); err != nil {
		t.Fatal(err)
	}
	if text := <-got; text != string(body.Whole()) {
		t.Errorf("the second endpoint got %d bytes", len(text))
	}
	x.ResetResponse()
}

// TestUploadFailsBehindAnswer: the response that an endpoint has begun breaks off, and the reason is the upload's.
func TestUploadFailsBehindAnswer(t *testing.T) {
	e := dial(t)
	e.script(func() {
		e.head()
		e.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
		_, _ = io.Copy(io.Discard, e.far)
	})
	x, _ := request(exchange.POST)
	more := make(chan struct{})
	newSource(x, -1, "hello", more, &exchange.Failure{Reason: exchange.BodyTooLarge})
	if err := e.conn.RoundTrip(x, in(patience)); err != nil {
		t.Fatal(err)
	}
	close(more)
	_, err := read(x)
	_ = failure(t, err, exchange.BodyTooLarge)
	x.ResetResponse()
	if e.over() {
		t.Error("the connection is reusable")
	}
}

// TestEndpointStopsReading: the failure is the endpoint's, and says what became of the body.
func TestEndpointStopsReading(t *testing.T) {
	for _, how := range []string{"reset", "stalled"} {
		t.Run(how, func(t *testing.T) {
			e := dial(t)
			e.script(func() {
				e.head()
				if how == "reset" {
					_ = e.far.(*net.TCPConn).SetLinger(0)
					_ = e.far.Close()
				}
			})
			x, _ := request(exchange.PUT)
			newSource(x, 64<<20, "x", strings.Repeat("x", 64<<20-1))
			reason, try := exchange.UpstreamReset, in(patience)
			if how == "stalled" {
				reason, try.Idle = exchange.UpstreamTimeout, 50*time.Millisecond
			}
			if f := failure(t, e.conn.RoundTrip(x, try), reason); !f.Sent || !f.BodyRead {
				t.Errorf("sent %t, body read %t; want both", f.Sent, f.BodyRead)
			}
			if e.over() {
				t.Error("the connection is reusable")
			}
		})
	}
}

func TestExpect(t *testing.T) {
	const goOn, no = "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n"
	tests := []struct {
		name     string
		first    string // what the endpoint says before it has the body
		timeout  time.Duration
		interim  []int
		status   int
		reusable bool
	}{
		{"100", goOn, patience, []int{100}, 200, true},
		{"100 twice", goOn + goOn, patience, []int{100}, 200, true},
		{"102 and 100", "HTTP/1.1 102 Processing\r\n\r\n" + goOn, patience, []int{102, 100}, 200, true},
		{"silence", "", patience, []int{100}, 200, true},
		{"refused", no, patience, nil, 417, false},
		{"refused at once with a 103", "HTTP/1.1 103 Early Hints\r\n\r\n" + no, patience, []int{103}, 417, false},
		{"no time for patience", "", 50 * time.Millisecond, nil, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := dial(t)
			x, down := request(exchange.POST)
			down.told = make(chan int, 8)
			body := newSource(x, 5, "hello")
			x.Request.Expect = true
			x.Request.Header.Add("Expect", "100-continue")
			early := make(chan string, 1)
			e.script(func() {
				head := e.head()
				early <- head
				e.write(tt.first)
				got := make([]byte, 5)
				if _, err := io.ReadFull(e.far, got); err == nil && string(got) == "hello" {
					e.write(okNoBody)
				}
			})
			err := e.conn.RoundTrip(x, in(tt.timeout))
			if head := <-early; !strings.Contains(head, "\r\nExpect: 100-continue\r\n") {
				t.Errorf("the expectation is missing in %q", head)
			}
			if tt.status == 0 {
				_ = failure(t, err, exchange.UpstreamTimeout)
			} else if err != nil {
				t.Fatal(err)
			} else if x.Response.Status != tt.status {
				t.Errorf("the status is %d, want %d", x.Response.Status, tt.status)
			}
			if !slices.Equal(down.interim, tt.interim) {
				t.Errorf("the client was told %v, want %v", down.interim, tt.interim)
			}
			if asked := slices.Contains(tt.interim, 100); asked != (body.skipped == 5) {
				t.Errorf("%d bytes of the body were taken", body.skipped)
			}
			x.ResetResponse()
			if got := e.over(); got != tt.reusable {
				t.Errorf("the connection is reusable: %t, want %t", got, tt.reusable)
			}
		})
	}
}

// TestRequestLargerThanTheSocketTakes: a first write that is cut short is finished.
func TestRequestLargerThanTheSocketTakes(t *testing.T) {
	e := dial(t)
	_ = e.near.(*net.TCPConn).SetWriteBuffer(4096)
	value := strings.Repeat("v", 8<<20)
	got := make(chan int, 1)
	e.script(func() {
		var all bytes.Buffer
		buf := make([]byte, 1<<20)
		for !bytes.HasSuffix(all.Bytes(), []byte("\r\n\r\n")) {
			n, err := e.far.Read(buf)
			if err != nil {
				break
			}
			all.Write(buf[:n])
		}
		got <- strings.Count(all.String(), "v")
		e.write(okNoBody)
	})
	x, _ := request(exchange.GET)
	x.Request.Header.Add("X-Big", value)
	if err := e.conn.RoundTrip(x, in(patience)); err != nil {
		t.Fatal(err)
	}
	if n := <-got; n < len(value) {
		t.Errorf("%d of %d bytes arrived", n, len(value))
	}
	x.ResetResponse()
	if !e.over() {
		t.Error("the connection is not reusable")
	}
}

func TestRequestHead(t *testing.T) {
	e := dial(t)
	got := make(chan string, 1)
	e.script(func() {
		got <- e.head()
		e.write(okNoBody)
	})
	x, _ := request(exchange.GET)
	x.Request.Path, x.Request.Query, x.Request.HasQuery = []byte("/a"), []byte("b=c"), true
	x.Request.Header.Add("X-A", "1")
	if err := e.conn.RoundTrip(x, in(patience)); err != nil {
		t.Fatal(err)
	}
	want := []string{"GET /a?b=c HTTP/1.1", "Host: example.com", "X-A: 1"}
	if l := lines(<-got); !slices.Equal(l, want) {
		t.Errorf("the head is %q, want %q", l, want)
	}
	if x.Record.UpstreamStatus != 200 {
		t.Errorf("the record says %d", x.Record.UpstreamStatus)
	}
	x.ResetResponse()
	e.over()
}

// BenchmarkRoundTrip is a small exchange over the loopback interface, without a body.
func BenchmarkRoundTrip(b *testing.B) {
	e := dial(b)
	e.script(func() {
		_ = e.far.SetDeadline(time.Time{})
		buf := make([]byte, 4096)
		answer := []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		for {
			if _, err := e.far.Read(buf); err != nil {
				return
			}
			if _, err := e.far.Write(answer); err != nil {
				return
			}
		}
	})
	x, _ := request(exchange.GET)
	b.ReportAllocs()
	for b.Loop() {
		if err := e.conn.RoundTrip(x, Try{}); err != nil {
			b.Fatal(err)
		}
		x.Response.Body.Skip(len(x.Response.Body.Buffered()))
		x.ResetResponse()
		if !<-e.done {
			b.Fatal("the connection is not reusable")
		}
	}
}
