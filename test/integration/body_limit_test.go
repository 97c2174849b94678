package integration_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// unknown is a body whose length the client does not tell.
func unknown(text string) io.Reader {
	return io.MultiReader(strings.NewReader(text), strings.NewReader(""))
}

// TestBodyLimit: what is too long is refused, however it is framed, and never looks complete to an endpoint.
func TestBodyLimit(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		type upload struct {
			path string
			n    int64
			err  error
		}
		uploads := make(chan upload, 100)
		origin := c.Origin(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			n, err := io.Copy(io.Discard, r.Body)
			uploads <- upload{r.URL.Path, n, err}
		}))
		c.Serve(t, strings.ReplaceAll(`
  - name: shop
    bind_address: '${host}:8080'
    upstreams: ['ORIGIN']
    limits: {max_body_bytes: 100000}
    routes:
      - name: small
        matches: [{path: {value: /small}}]
        limits: {max_body_bytes: 10}
      - name: none
        matches: [{path: {value: /none}}]
        limits: {max_body_bytes: 0}
      - name: buffered
        matches: [{path: {value: /buffered}}]
        filters: [{buffer: {max_bytes: 1000000}}]
`, "ORIGIN", origin))
		const url = "http://shop.example:8080"
		client := c.Client(t, nil)
		for _, test := range []struct {
			path    string
			size    int
			refused bool
		}{
			{"/small", 10, false},
			{"/small", 11, true},
			{"/small", 500_000, true},
			{"/x", 100_000, false},
			{"/x", 100_001, true},
			{"/none", 0, false},
			{"/none", 1, true},
			{"/buffered", 100_000, false},
			{"/buffered", 100_001, true},
		} {
			for _, known := range []bool{true, false} {
				what := fmt.Sprintf("%s, %d bytes, known %v", test.path, test.size, known)
				body := unknown(harness.Pattern(test.size)[:test.size])
				if known {
					body = strings.NewReader(harness.Pattern(test.size)[:test.size])
				}
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+test.path, body)
				if err != nil {
					t.Fatal(err)
				}
				response, err := c.Try(client, r)
				if err != nil {
					t.Errorf("%s: %v", what, err)
					continue
				}
				if !test.refused {
					up := <-uploads
					for up.path != test.path { // an earlier one that was cut off
						up = <-uploads
					}
					if response.Status != 200 || up.n != int64(test.size) || up.err != nil || up.path != test.path {
						t.Errorf("%s: %d, the origin has %+v", what, response.Status, up)
					}
					continue
				}
				if response.Status != 413 || !strings.Contains(response.Body, `"reason":"body_too_large"`) {
					t.Errorf("%s: %d %s", what, response.Status, response.Body)
				}
				if !known && !c.HTTP2 && test.path != "/buffered" { // it was begun; a stream may have told how long it is
					select {
					case up := <-uploads:
						if up.err == nil {
							t.Errorf("%s: to the origin it looks complete: %+v", what, up)
						}
					case <-time.After(harness.Patience):
						t.Errorf("%s: the origin waits for the rest", what)
					}
				}
			}
		}
		for len(uploads) > 0 {
			if up := <-uploads; up.err == nil {
				t.Errorf("to the origin it looks complete: %+v", up)
			}
		}
	})
}

// TestBodyLimitConnection: a client that asks before it sends is told at once; and the next request on a connection whose
// body was refused is never taken for the rest of that body.
func TestBodyLimitConnection(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t, harness.Echo("o"))
	p := harness.Start(t, fmt.Sprintf(`
services:
  - name: web
    bind_address: '127.0.0.1:0'
    upstreams: ['%s']
    limits: {max_body_bytes: 5}
`, origin.Addr), harness.Options{})
	addr := p.Addr(t, "web")

	c := harness.Dial(t, addr)
	c.Send(t, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\n")
	if r := c.Response(t, "POST"); r.StatusCode != http.StatusRequestEntityTooLarge || !r.Close {
		t.Errorf("expecting 100: %d %v", r.StatusCode, r.Header)
	}
	c.Closed(t)

	c = harness.Dial(t, addr)
	c.Send(t, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n123456GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
	if r := c.Response(t, "POST"); r.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("%d", r.StatusCode)
	}
	if r, err := c.TryResponse("GET"); err == nil { // read away, or closed: either way
		if e := harness.ParseEchoed(t, r.Text); e.Target != "/next" {
			t.Errorf("%+v", e)
		}
	} else if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}

	c = harness.Dial(t, addr)
	c.Send(t, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n4\r\nefgh\r\n")
	if r := c.Response(t, "POST"); r.StatusCode != http.StatusRequestEntityTooLarge || !r.Close {
		t.Errorf("chunked: %d %v", r.StatusCode, r.Header)
	}
	if line := p.AccessOf(t, "/"); line.Text("reason") != "body_too_large" {
		t.Error(line)
	}
}
