package client

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

func get(t testing.TB, p *Pool, path string) (string, *exchange.Exchange) {
	t.Helper()
	x, _ := request(exchange.GET, path)
	if err := p.RoundTrip(x, in(patience)); err != nil {
		t.Fatal(err)
	}
	body, err := read(x)
	if err != nil {
		t.Fatal(err)
	}
	return body, x
}

func TestRoundTrip(t *testing.T) {
	p, opened := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Two", "b")
		w.Header().Set("Content-Type", "text/plain")
		_, _ = fmt.Fprintf(w, "%s %s %s %s %q %s", r.Method, r.Host, r.URL, r.Proto, r.Header["X-One"], r.Header["Connection"])
	}, nil)
	for range 3 {
		x, _ := request(exchange.GET, "/a/b")
		x.Request.Query, x.Request.HasQuery = []byte("c=d"), true
		x.Request.Header.Add("X-One", "a")
		x.Request.Header.Add("Connection", "upgrade")
		x.Request.Header.Add("Upgrade", "other")
		x.Request.Header.Add("Keep-Alive", "1")
		if err := p.RoundTrip(x, in(patience)); err != nil {
			t.Fatal(err)
		}
		r := &x.Response
		if r.Status != 200 || r.Protocol != exchange.HTTP2 || x.Record.UpstreamStatus != 200 {
			t.Errorf("%+v", r)
		}
		if two, _ := r.Header.Get("X-Two"); string(two) != "b" {
			t.Errorf("%q", list(&r.Header))
		}
		body, err := read(x)
		if want := `GET example.com /a/b?c=d HTTP/2.0 ["a"] []`; body != want || err != nil {
			t.Errorf("%q, %v", body, err)
		}
		x.ResetResponse()
	}
	if n := opened.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestStatusesWithoutBody(t *testing.T) {
	p, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/head" {
			w.Header().Set("Content-Length", "123")
			return
		}
		var status int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d", &status)
		w.WriteHeader(status)
	}, nil)
	for _, c := range []struct {
		method exchange.Method
		path   string
		status int
		length int64
	}{
		{exchange.HEAD, "/head", 200, 123}, {exchange.GET, "/204", 204, 0}, {exchange.GET, "/304", 304, -1}, {exchange.GET, "/500", 500, 0},
	} {
		x, _ := request(c.method, c.path)
		if err := p.RoundTrip(x, in(patience)); err != nil {
			t.Fatal(err)
		}
		if body, err := read(x); x.Response.Status != c.status || x.Response.ContentLength != c.length || body != "" || err != nil {
			t.Errorf("%s: %d, length %d, %q, %v", c.path, x.Response.Status, x.Response.ContentLength, body, err)
		}
		x.ResetResponse()
	}
}

func TestLargeBodiesBothWays(t *testing.T) {
	p, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}, nil)
	text := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB: many windows
	for _, length := range []int64{int64(len(text)), -1} {
		x, _ := request(exchange.POST, "/")
		newSource(x, length, text[:1000], text[1000:])
		if err := p.RoundTrip(x, in(patience)); err != nil {
			t.Fatal(err)
		}
		body, err := read(x)
		if body != text || err != nil {
			t.Errorf("length %d: %d bytes, %v", length, len(body), err)
		}
		x.ResetResponse()
		if x.Record.BytesIn != int64(len(text)) {
			t.Errorf("%d bytes in", x.Record.BytesIn)
		}
	}
}

func TestTrailers(t *testing.T) {
	p, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Trailer", "X-After")
		_, _ = io.WriteString(w, "body")
		w.Header().Set("X-After", r.Trailer.Get("X-Sent"))
	}, nil)
	x, _ := request(exchange.POST, "/")
	x.Request.Header.Add("Trailer", "X-Sent")
	newSource(x, -1, "some")
	x.Request.Trailer.Add("X-Sent", "yes")
	if err := p.RoundTrip(x, in(patience)); err != nil {
		t.Fatal(err)
	}
	if body, err := read(x); body != "body" || err != nil {
		t.Errorf("%q, %v", body, err)
	}
	if got := list(&x.Response.Trailer); !slices.Equal(got, []string{"x-after: yes"}) {
		t.Errorf("%q", got)
	}
	x.ResetResponse()
}

func TestManyAtOnceShareConnections(t *testing.T) {
	p, opened := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.URL.Path)
	}, nil)
	var running sync.WaitGroup
	for i := range 50 {
		running.Go(func() {
			for j := range 20 {
				path := fmt.Sprintf("/%d/%d", i, j)
				body, x := get(t, p, path)
				if body != path {
					t.Errorf("%q, want %q", body, path)
				}
				x.ResetResponse()
			}
		})
	}
	running.Wait()
	if n := opened.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestStreamLimitOpensAnotherConnection(t *testing.T) {
	arrived, answer := make(chan struct{}), make(chan struct{})
	p, opened := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/first" {
			return
		}
		arrived <- struct{}{}
		<-answer
	}, func(s *http.Server) { s.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 2} })
	_, x := get(t, p, "/first") // now the limit is known
	x.ResetResponse()
	var running sync.WaitGroup
	for range 6 {
		running.Go(func() {
			_, x := get(t, p, "/")
			x.ResetResponse()
		})
	}
	for range 6 {
		<-arrived
	}
	close(answer)
	running.Wait()
	if n := opened.Load(); n < 3 || n > 4 {
		t.Errorf("%d connections for 6 requests, 2 on each", n)
	}
}

// A request that arrives before the limit is known may be refused: it is offered anew.
func TestRefusedIsOfferedAnew(t *testing.T) {
	p, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}, func(s *http.Server) { s.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 1} })
	var running sync.WaitGroup
	for range 10 {
		running.Go(func() {
			x, _ := request(exchange.POST, "/")
			newSource(x, 4, "body")
			if err := p.RoundTrip(x, in(patience)); err != nil {
				fails(t, err, exchange.UpstreamReset)
				return
			}
			x.ResetResponse()
		})
	}
	running.Wait()
}

func TestInterim(t *testing.T) {
	p, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a.css>")
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.Copy(io.Discard, r.Body)
	}, nil)
	x, c := request(exchange.POST, "/")
	x.Request.Expect = true
	x.Request.Header.Add("Expect", "100-continue")
	newSource(x, 4, "body")
	if err := p.RoundTrip(x, in(patience)); err != nil {
		t.Fatal(err)
	}
	x.ResetResponse()
	slices.Sort(c.interim)
	if !slices.Equal(c.interim, []int{100, 103}) || !slices.Equal(c.fields, []string{"link: </a.css>"}) {
		t.Errorf("%d %q", c.interim, c.fields)
	}
}

// A response that comes while the body is being sent does not wait for it.
func TestEarlyResponse(t *testing.T) {
	p, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		_, _ = io.WriteString(w, "no")
	}, nil)
	x, _ := request(exchange.POST, "/")
	never := make(chan struct{})
	newSource(x, 1000, "begin", never)
	if err := p.RoundTrip(x, in(patience)); err != nil {
		t.Fatal(err)
	}
	if body, err := read(x); x.Response.Status != 413 || body != "no" || err != nil || !x.Response.Close {
		t.Errorf("%d %q %v", x.Response.Status, body, err)
	}
	x.ResetResponse()
	if body, x := get(t, p, "/"); body != "no" { // the connection lives
		t.Errorf("%q", body)
	} else {
		x.ResetResponse()
	}
}

// Both sides talk at once, as streaming RPCs do.
func TestConversation(t *testing.T) {
	p, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		buf := make([]byte, 10)
		for {
			n, err := r.Body.Read(buf)
			if err != nil {
				return
			}
			_, _ = w.Write(buf[:n])
			_ = http.NewResponseController(w).Flush()
		}
	}, nil)
	x, _ := request(exchange.POST, "/")
	a, b := make(chan struct{}), make(chan struct{})
	newSource(x, -1, a, "one", b, "two")
	if err := p.RoundTrip(x, in(patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 10)
	close(a)
	if n, err := x.Response.Body.Read(buf); string(buf[:n]) != "one" || err != nil {
		t.Errorf("%q, %v", buf[:n], err)
	}
	close(b)
	if rest, err := read(x); rest != "two" || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
	x.ResetResponse()
}

func TestDeadlineEndsTheStreamAlone(t *testing.T) {
	ended, canceled := make(chan struct{}), make(chan struct{})
	p, opened := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-r.Context().Done()
			close(canceled)
			<-ended
		}
	}, nil)
	x, _ := request(exchange.GET, "/slow")
	f := failure(t, p.RoundTrip(x, in(100*time.Millisecond)), exchange.UpstreamTimeout)
	if !f.Sent {
		t.Error("it says that nothing was sent")
	}
	<-canceled // by RST_STREAM
	_, x = get(t, p, "/")
	x.ResetResponse()
	if n := opened.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
	close(ended)
}

func TestClientGoesAway(t *testing.T) {
	started, canceled := make(chan struct{}, 1), make(chan struct{}, 1)
	p, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
		}
		started <- struct{}{}
		<-r.Context().Done()
		canceled <- struct{}{}
	}, nil)
	t.Run("before the head", func(t *testing.T) {
		x, c := request(exchange.GET, "/")
		go func() {
			<-started
			c.leave()
		}()
		fails(t, p.RoundTrip(x, in(patience)), exchange.ClientReset)
		<-canceled
	})
	t.Run("in the body", func(t *testing.T) {
		x, c := request(exchange.GET, "/body")
		if err := p.RoundTrip(x, in(patience)); err != nil {
			t.Fatal(err)
		}
		<-started
		go c.leave()
		if _, err := read(x); err == nil {
			t.Error("the body ended cleanly")
		}
		x.ResetResponse()
		<-canceled
	})
}

func TestIdleBody(t *testing.T) {
	ended := make(chan struct{})
	p, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "some")
		_ = http.NewResponseController(w).Flush()
		<-ended
	}, nil)
	defer close(ended)
	x, _ := request(exchange.GET, "/")
	if err := p.RoundTrip(x, Try{Idle: 100 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	body, err := read(x)
	if body != "some" {
		t.Errorf("%q", body)
	}
	fails(t, err, exchange.UpstreamIdle)
	x.ResetResponse()
}

func TestClientFailsInTheMiddleOfABody(t *testing.T) {
	var finished atomic.Bool
	done := make(chan struct{})
	p, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		defer close(done)
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			finished.Store(true)
		}
	}, nil)
	x, _ := request(exchange.POST, "/")
	newSource(x, 100, "half", io.ErrUnexpectedEOF)
	f := failure(t, p.RoundTrip(x, in(patience)), exchange.ClientReset)
	if !f.BodyRead {
		t.Error("it says that the body can be sent again")
	}
	<-done
	if finished.Load() {
		t.Error("the endpoint saw a whole body")
	}
}

// A body that lies in memory can be sent again, however much of it was sent.
func TestBodyInMemory(t *testing.T) {
	p, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	}, nil)
	var body exchange.Bytes
	text := strings.Repeat("x", 200_000)
	body.Reset([]byte(text))
	for range 3 {
		x, _ := request(exchange.PUT, "/")
		x.Request.Body, x.Request.ContentLength = &body, int64(len(text))
		if err := p.RoundTrip(x, in(patience)); err != nil {
			t.Fatal(err)
		}
		if got, err := read(x); got != text || err != nil {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		x.ResetResponse()
	}
}

// A client that fails while the response comes cuts it off, for what went wrong on its side.
func TestClientFailsWhileTheResponseComes(t *testing.T) {
	p, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		_, _ = io.Copy(w, r.Body)
	}, nil)
	x, _ := request(exchange.POST, "/")
	next := make(chan struct{})
	newSource(x, 100, "half", next, &exchange.Failure{Reason: exchange.RequestTimeout, Err: io.ErrUnexpectedEOF})
	if err := p.RoundTrip(x, in(patience)); err != nil {
		t.Fatal(err)
	}
	close(next)
	_, err := read(x)
	fails(t, err, exchange.RequestTimeout)
	x.ResetResponse()
}
