package integration_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// TestBuffer: the endpoint gets the body with its length, and another endpoint gets it when the first one fails.
func TestBuffer(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		var broken atomic.Int64
		fails := func(r *http.Request) bool {
			switch r.URL.Path {
			case "/reset", "/status":
				return broken.Add(-1) >= 0
			}
			return false
		}
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if fails(r) {
				if r.URL.Path == "/status" {
					w.WriteHeader(http.StatusServiceUnavailable)
					return
				}
				panic(http.ErrAbortHandler)
			}
			_, _ = fmt.Fprintf(w, "%s %d %v %d %v", r.Method, r.ContentLength, r.TransferEncoding, len(body), err)
		})
		c.Serve(t, strings.NewReplacer("ONE", c.Origin(t, handler), "TWO", c.Origin(t, handler)).Replace(`
  - name: shop
    bind_address: '${host}:8080'
    upstreams: ['ONE', 'TWO']
    retry: {attempts: 2, codes: [503], budget_percent: 100}
    routes:
      - name: all
        filters: [{buffer: {max_bytes: 200000}}]
`))
		const url = "http://shop.example:8080"
		client := c.Client(t, nil)
		do := func(method, path string, body io.Reader) *matrix.Response {
			t.Helper()
			r, err := http.NewRequestWithContext(t.Context(), method, url+path, body)
			if err != nil {
				t.Fatal(err)
			}
			response, err := c.Try(client, r)
			if err != nil {
				t.Fatal(err)
			}
			return response
		}
		for _, size := range []int{1, 5000, 200_000} {
			text := harness.Pattern(size)[:size]
			want := fmt.Sprintf("PUT %d [] %d <nil>", size, size)
			if r := do("PUT", "/", strings.NewReader(text)); r.Status != 200 || r.Body != want {
				t.Errorf("%d bytes: %d %q", size, r.Status, r.Body)
			}
			if r := do("PUT", "/", unknown(text)); r.Status != 200 || r.Body != want {
				t.Errorf("%d bytes of unknown length: %d %q", size, r.Status, r.Body)
			}
			for _, path := range []string{"/reset", "/status"} {
				broken.Store(1)
				if r := do("PUT", path, unknown(text)); r.Status != 200 || r.Body != want {
					t.Errorf("%s, %d bytes: %d %q", path, size, r.Status, r.Body)
				}
			}
		}
		broken.Store(1)
		if r := do("POST", "/reset", strings.NewReader("x")); r.Status != 502 {
			t.Errorf("a POST was sent again: %d %q", r.Status, r.Body)
		}
		if r := do("PUT", "/", unknown("")); r.Status != 200 || r.Body != "PUT 0 [] 0 <nil>" {
			t.Errorf("nothing: %d %q", r.Status, r.Body)
		}
		for range 2 { // the connection goes on, or another one is opened
			if r := do("PUT", "/", unknown(harness.Pattern(300_000))); r.Status != 413 || !strings.Contains(r.Body, "body_too_large") {
				t.Errorf("too long: %d %q", r.Status, r.Body)
			}
			if r := do("PUT", "/", strings.NewReader(harness.Pattern(300_000))); r.Status != 413 {
				t.Errorf("too long: %d %q", r.Status, r.Body)
			}
		}
	})
}

// TestBufferConnection: who waits to be told is told, what ends in the middle reaches nobody, and what follows is served.
func TestBufferConnection(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t, harness.Echo("o"))
	p := harness.Start(t, fmt.Sprintf(`
services:
  - name: web
    bind_address: '127.0.0.1:0'
    upstreams: ['%s']
    routes:
      - name: all
        filters: [{buffer: {max_bytes: 1000}}]
`, origin.Addr), harness.Options{})
	addr := p.Addr(t, "web")

	c := harness.Dial(t, addr)
	c.Send(t, "POST /expect HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
	if got := c.Read(t, 25); got != "HTTP/1.1 100 Continue\r\n\r\n" {
		t.Fatalf("%q", got)
	}
	c.Send(t, "hello")
	if e := harness.ParseEchoed(t, c.Response(t, "POST").Text); e.Bytes != 5 || e.Header.Get("Expect") != "" {
		t.Errorf("%+v", e)
	}
	for _, body := range []string{"0\r\n\r\n", "5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"} {
		c.Send(t, "POST /chunked HTTP/1.1\r\nHost: a\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n"+body)
		e := harness.ParseEchoed(t, c.Response(t, "POST").Text)
		if e.Header.Get("Trailer") != "" || len(e.Trailer) > 0 || e.Target != "/chunked" {
			t.Errorf("%+v", e)
		}
	}
	before := origin.Requests.Load()
	c.Send(t, "POST /bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")
	if r := c.Response(t, "POST"); r.StatusCode != http.StatusBadRequest {
		t.Errorf("%d", r.StatusCode)
	}
	c.Closed(t)
	c = harness.Dial(t, addr)
	c.Send(t, "POST /half HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
	c.CloseWrite(t)
	c.Closed(t)
	if line := p.AccessOf(t, "/half"); line.Number("status") != 499 || line.Text("reason") != "client_reset" {
		t.Error(line)
	}
	if origin.Requests.Load() != before {
		t.Error("half a request reached the origin")
	}
}
