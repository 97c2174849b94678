package http1

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
)

const get = " HTTP/1.1\r\nHost: a\r\n\r\n"

// TestExchanges sends what a connection carries, and reads the answers to its end.
func TestExchanges(t *testing.T) {
	type want = answer
	big := strings.Repeat("b", 100<<10)
	tests := []struct {
		name string
		send string
		want []want
		ends bool // the server ends the connection
	}{
		{"keep-alive", "GET /1" + get + "GET /2" + get, []want{{200, "/1", false, nil}, {200, "/2", false, nil}}, false},
		{"Connection: close", "GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /2" + get, []want{{200, "/1", true, nil}}, true},
		{"HTTP/1.0", "GET /1 HTTP/1.0\r\n\r\n", []want{{200, "/1", true, nil}}, true},
		{"HTTP/1.0 keep-alive", "GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /2 HTTP/1.0\r\n\r\n", []want{{200, "/1", false, nil}, {200, "/2", true, nil}}, true},
		{"HTTP/1.0 until close", "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", []want{{200, "abc", true, nil}}, true},
		{"chunked response", "GET /stream" + get + "GET /2" + get, []want{{200, "abc", false, nil}, {200, "/2", false, nil}}, false},
		{"torn response", "GET /torn" + get, []want{{200, "ab", false, io.ErrUnexpectedEOF}}, true},
		{"HEAD", "HEAD /1" + get + "GET /2" + get, []want{{200, "", false, nil}, {200, "/2", false, nil}}, false},
		{"body", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /2" + get, []want{{200, "hello", false, nil}, {200, "/2", false, nil}}, false},
		{"chunked body", "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /2" + get, []want{{200, "hello", false, nil}, {200, "/2", false, nil}}, false},
		{"unwanted body", "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /2" + get, []want{{200, "/1", false, nil}, {200, "/2", false, nil}}, false},
		{"unwanted large body", "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 102400\r\n\r\n" + big, []want{{200, "/1", true, nil}}, true},
		{"malformed chunk", "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", []want{{400, "", true, nil}}, true},
		{"malformed head", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", []want{{400, "", true, nil}}, true},
		{"large head", "GET / HTTP/1.1\r\nHost: a\r\nX: " + big + "\r\n\r\n", []want{{431, "", true, nil}}, true},
		{"expects, and is told", "POST /continue HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nokGET /2" + get, []want{{100, "", false, nil}, {200, "ok", false, nil}, {200, "/2", false, nil}}, false},
		{"expects, and is not told", "POST /1 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", []want{{200, "/1", true, nil}}, true},
		{"panic", "GET /panic" + get + "GET /2" + get, []want{{500, "", true, nil}}, true},
		{"no answer", "GET /silent" + get + "GET /2" + get, nil, true},
		{"nothing", "", nil, false},
		{"large head and chunked body", "POST /echo HTTP/1.1\r\nHost: a\r\nX: " + big[:40000] + "\r\nTransfer-Encoding: chunked\r\n\r\n5000\r\n" + big[:0x5000] + "\r\n0\r\n\r\nGET /2" + get, []want{{200, big[:0x5000], false, nil}, {200, "/2", false, nil}}, false},
	}
	for _, tt := range tests {
		for _, how := range []string{"tcp", "tls", "loop"} {
			t.Run(tt.name+"/"+how, func(t *testing.T) {
				r := newRig(t, ServerOptions{})
				nc := r.dial(how)
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					_, _ = io.WriteString(nc, tt.send)
				}()
				answers := bufio.NewReader(nc)
				for _, want := range tt.want {
					method := "GET"
					if strings.HasPrefix(tt.send, "HEAD") && want.body == "" {
						method = "HEAD"
					}
					got := next(t, answers, method)
					if got.status >= 400 {
						got.body = ""
					}
					if got.status != want.status || got.body != want.body || got.close != want.close || !errors.Is(got.err, want.err) {
						t.Fatalf("the answer is %d %.60q close %t, %v; want %d %.60q close %t, %v",
							got.status, got.body, got.close, got.err, want.status, want.body, want.close, want.err)
					}
				}
				if tt.ends {
					ended(t, answers)
				}
				_ = nc.Close()
				<-sent
				r.serving.Wait()
			})
		}
	}
}

// TestPipelineSplitEverywhere sends three requests in two parts, cut at each place: the answers are the same.
func TestPipelineSplitEverywhere(t *testing.T) {
	const send = "GET /1" + get + "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /3" + get
	r := newRig(t, ServerOptions{})
	for at := 1; at < len(send); at++ {
		nc := r.dial("tcp")
		answers := bufio.NewReader(nc)
		if _, err := io.WriteString(nc, send[:at]); err != nil {
			t.Fatal(err)
		}
		first := 0
		if at >= len("GET /1"+get) { // the answer shows that the first part was read apart from the second
			if got := next(t, answers, "GET"); got.body != "/1" {
				t.Fatalf("cut at %d: the first answer is %+v", at, got)
			}
			first = 1
		}
		if _, err := io.WriteString(nc, send[at:]); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"/1", "abc", "/3"}[first:] {
			if got := next(t, answers, "GET"); got.status != 200 || got.body != want || got.err != nil {
				t.Fatalf("cut at %d: the answer is %+v, want %s", at, got, want)
			}
		}
		_ = nc.Close()
	}
}

func TestTimeouts(t *testing.T) {
	const short = 30 * time.Millisecond
	tests := []struct {
		name    string
		options ServerOptions
		send    string
		answers int
		status  int // of a last answer; 0: none
	}{
		{"nothing is sent", ServerOptions{HeaderTimeout: short}, "", 0, 0},
		{"half a head", ServerOptions{HeaderTimeout: short}, "GET / HTTP/1.1\r\nHo", 0, 408},
		{"half a second head", ServerOptions{HeaderTimeout: short}, "GET /1" + get + "GET /", 1, 408},
		{"idle", ServerOptions{IdleTimeout: short}, "GET /1" + get, 1, 0},
		{"idle for longer than the probe", ServerOptions{IdleTimeout: 2 * probeDelay}, "GET /1" + get, 1, 0},
		{"half a body", ServerOptions{IdleTimeout: short}, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhell", 0, 400},
	}
	for _, tt := range tests {
		for _, how := range []string{"tcp", "tls", "loop"} {
			t.Run(tt.name+"/"+how, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, tt.options)
				nc := r.dial(how)
				go func() { _, _ = io.WriteString(nc, tt.send) }()
				answers := bufio.NewReader(nc)
				for range tt.answers {
					if got := next(t, answers, "GET"); got.status != 200 {
						t.Fatalf("the answer is %+v", got)
					}
				}
				if tt.status != 0 {
					if got := next(t, answers, "GET"); got.status != tt.status || !got.close {
						t.Errorf("the answer is %+v, want %d and the end", got, tt.status)
					}
				}
				ended(t, answers)
			})
		}
	}
}

// TestEndWithTheRequest: an end that arrives together with a later request is found by looking again.
func TestEndWithTheRequest(t *testing.T) {
	r := newRig(t, ServerOptions{})
	nc := r.dial("tcp")
	answers := bufio.NewReader(nc)
	for i := range 3 {
		if _, err := fmt.Fprintf(nc, "GET /%d%s", i, get); err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			if err := nc.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
		}
		if got := next(t, answers, "GET"); got.body != fmt.Sprintf("/%d", i) {
			t.Fatalf("the answer is %+v", got)
		}
	}
	ended(t, answers)
	r.serving.Wait()
}

// TestEndWithAPartOfAHead: so is one that arrives together with the beginning of one.
func TestEndWithAPartOfAHead(t *testing.T) {
	r := newRig(t, ServerOptions{HeaderTimeout: time.Hour, IdleTimeout: time.Hour})
	for range 200 {
		nc := r.dial("tcp")
		answers := bufio.NewReader(nc)
		if _, err := fmt.Fprintf(nc, "GET /1%s", get); err != nil {
			t.Fatal(err)
		}
		if got := next(t, answers, "GET"); got.body != "/1" {
			t.Fatalf("the answer is %+v", got)
		}
		if _, err := io.WriteString(nc, "G"); err != nil {
			t.Fatal(err)
		}
		if err := nc.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		ended(t, answers)
	}
	r.serving.Wait()
}

func TestDrain(t *testing.T) {
	for _, how := range []string{"tcp", "tls", "loop"} {
		t.Run(how, func(t *testing.T) {
			r := newRig(t, ServerOptions{})
			fresh, idle, busy := r.dial(how), r.dial(how), r.dial(how)
			idleAnswers, busyAnswers := bufio.NewReader(idle), bufio.NewReader(busy)
			go func() { _, _ = io.WriteString(idle, "GET /1"+get) }()
			if got := next(t, idleAnswers, "GET"); got.status != 200 || got.close {
				t.Fatalf("the answer is %+v", got)
			}
			go func() { _, _ = io.WriteString(busy, "GET /wait"+get) }()
			<-r.h.waiting
			r.srv.Drain(10 * time.Millisecond)
			ended(t, idleAnswers)
			ended(t, bufio.NewReader(fresh))
			close(r.h.release)
			if got := next(t, busyAnswers, "GET"); got.status != 200 || !got.close {
				t.Errorf("the answer is %+v, want 200 and the end", got)
			}
			ended(t, busyAnswers)
			r.serving.Wait()
		})
	}
}

// TestDrainLeavesTime: who asks within the grace is answered.
func TestDrainLeavesTime(t *testing.T) {
	r := newRig(t, ServerOptions{})
	nc := r.dial("tcp")
	answers := bufio.NewReader(nc)
	for i, closes := range []bool{false, true} {
		if i == 1 {
			r.srv.Drain(testPatience)
		}
		if _, err := io.WriteString(nc, "GET /1"+get); err != nil {
			t.Fatal(err)
		}
		if got := next(t, answers, "GET"); got.status != 200 || got.close != closes {
			t.Errorf("answer %d is %+v", i, got)
		}
	}
	ended(t, answers)
}

// An owner is an endpoint's connection that a request waits on.
type owner chan struct{}

func (o owner) Wake() { close(o) }

func TestClose(t *testing.T) {
	r := newRig(t, ServerOptions{})
	idle, busy := r.dial("tcp"), r.dial("tcp")
	idleAnswers := bufio.NewReader(idle)
	if _, err := io.WriteString(idle, "GET /1"+get); err != nil {
		t.Fatal(err)
	}
	next(t, idleAnswers, "GET")
	if _, err := io.WriteString(busy, "GET /wait"+get); err != nil {
		t.Fatal(err)
	}
	client := (<-r.h.waiting).Downstream.(wire.Client)
	woken := make(owner)
	client.Attach(&wire.Timer{Owner: woken})
	if client.Aborted() {
		t.Error("aborted before Close")
	}
	if n := r.srv.Close(); n != 2 {
		t.Errorf("Close ended %d connections, want 2", n)
	}
	select {
	case <-woken:
	case <-time.After(testPatience):
		t.Error("the endpoint's side was not woken")
	}
	if !client.Aborted() {
		t.Error("the client is not aborted")
	}
	client.Attach(nil)
	close(r.h.release)
	if _, err := io.ReadAll(busy); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Logf("the busy connection ended with %v", err)
	}
	ended(t, idleAnswers)
	r.serving.Wait()
}

// TestLingeringClose: a client that is still sending reads the whole refusal and the end, not a reset.
func TestLingeringClose(t *testing.T) {
	r := newRig(t, ServerOptions{})
	nc := r.dial("tcp")
	answers := bufio.NewReader(nc)
	if _, err := io.WriteString(nc, "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if got := next(t, answers, "GET"); got.status != 200 || !got.close {
		t.Fatalf("the answer is %+v", got)
	}
	ended(t, answers) // the server's side is closed, and it goes on reading
	if _, err := nc.Write(make([]byte, 500000)); err != nil {
		t.Errorf("what the client still sent was not taken: %v", err)
	}
}

// TestLingeringCloseOfAnUpload: a client that sends much more than is dropped is held up, and not reset before it has read
// the answer. Clients that learn of the reset in writing tell of that instead of the answer.
func TestLingeringCloseOfAnUpload(t *testing.T) {
	for _, how := range []string{"tcp", "tls", "loop"} {
		t.Run(how, func(t *testing.T) {
			r := newRig(t, ServerOptions{})
			nc := r.dial(how)
			if _, err := io.WriteString(nc, "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if err := nc.SetWriteDeadline(time.Now().Add(lingerTime / 4)); err != nil {
				t.Fatal(err)
			}
			var err error
			for piece := make([]byte, 1<<20); err == nil; {
				_, err = nc.Write(piece)
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the client's writing ended with %v", err)
			}
			if got := next(t, bufio.NewReader(nc), "GET"); got.status != 200 || !got.close {
				t.Errorf("the answer is %+v", got)
			}
			_ = nc.Close()
		})
	}
}

// TestInterim: what a client is told before the answer, and that HTTP/1.0 has no such thing.
func TestInterim(t *testing.T) {
	r := newRig(t, ServerOptions{})
	for _, version := range []string{"1.0", "1.1"} {
		nc := r.dial("tcp")
		if _, err := io.WriteString(nc, "GET /wait HTTP/"+version+"\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		x := <-r.h.waiting
		var h exchange.Header
		h.Add("Link", "</a>")
		if err := x.Downstream.Interim(x, 103, &h); err != nil {
			t.Fatal(err)
		}
		r.h.release <- struct{}{}
		line, err := bufio.NewReader(nc).ReadString('\n')
		if err != nil || strings.Contains(line, "103") != (version == "1.1") {
			t.Errorf("HTTP/%s: the first line is %q, %v", version, line, err)
		}
		_ = nc.Close()
	}
}

// TestInterimLeavesTheBodyItsTime: an endpoint that sends hints does not lend a client time that stalls in its body.
func TestInterimLeavesTheBodyItsTime(t *testing.T) {
	r := newRig(t, ServerOptions{IdleTimeout: 100 * time.Millisecond})
	nc := r.dial("tcp")
	if _, err := io.WriteString(nc, "POST /hints HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello"); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, nc) }()
	select {
	case err := <-r.h.errs:
		if !errors.Is(err, errBodyTimeout) {
			t.Errorf("the body ended with %v, want its time-out", err)
		}
	case <-time.After(testPatience):
		t.Error("the body has all the time of the world")
		_ = nc.Close()
		if err := <-r.h.errs; err == nil {
			t.Error("a body that was cut off ended well")
		}
	}
}

// TestInterimToAClientThatTakesNothing: behind half an interim response there is no place for another.
func TestInterimToAClientThatTakesNothing(t *testing.T) {
	for _, how := range []string{"tcp", "tls"} {
		t.Run(how, func(t *testing.T) { interimToNobody(t, how) })
	}
}

func interimToNobody(t *testing.T, how string) {
	r := newRig(t, ServerOptions{IdleTimeout: 50 * time.Millisecond})
	nc := r.dial(how)
	if _, err := io.WriteString(nc, "GET /wait"+get); err != nil {
		t.Fatal(err)
	}
	x := <-r.h.waiting
	var hint exchange.Header
	hint.Add("Link", strings.Repeat("x", 60<<10))
	var err error
	for range 1000 { // until all buffers on the way are full
		if err = x.Downstream.Interim(x, 103, &hint); err != nil {
			break
		}
	}
	if err == nil {
		t.Error("nobody reads, and no error")
	}
	if !x.Downstream.(wire.Client).Aborted() {
		t.Error("the exchange goes on")
	}
	r.h.release <- struct{}{}
	if _, err := io.Copy(io.Discard, nc); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection stays open")
	}
}

// BenchmarkServe is a small exchange over the loopback interface, answered here.
func BenchmarkServe(b *testing.B) {
	r := newRig(b, ServerOptions{})
	nc := r.dial("tcp")
	_ = nc.SetDeadline(time.Time{})
	request := []byte("GET /1" + get)
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := nc.Write(request); err != nil {
			b.Fatal(err)
		}
		if _, err := nc.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
}
