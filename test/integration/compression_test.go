package integration_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// inflate reads a body of that coding.
func inflate(t testing.TB, coding string, r io.Reader) io.Reader {
	t.Helper()
	switch coding {
	case "":
		return r
	case "br":
		return brotli.NewReader(r)
	case "gzip":
		d, err := gzip.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		return d
	case "zstd":
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(d.Close)
		return d
	}
	t.Fatalf("the coding is %q", coding)
	return nil
}

// TestCompression: responses get smaller for who can read that, and stay what they are.
func TestCompression(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		text := harness.Pattern(300_000)
		next := make(chan struct{})
		origin := c.Origin(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h.Set("Content-Type", "text/plain; charset=utf-8")
			switch r.URL.Path {
			case "/file":
				h.Set("ETag", `"v1"`)
				http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
			case "/small":
				_, _ = io.WriteString(w, "small")
			case "/medium":
				_, _ = io.WriteString(w, text[:1500])
			case "/encoded":
				h.Set("Content-Encoding", "gzip")
				z := gzip.NewWriter(w)
				_, _ = io.WriteString(z, text)
				_ = z.Close()
			case "/image":
				h.Set("Content-Type", "image/png")
				_, _ = io.WriteString(w, text)
			case "/fixed":
				h.Set("Cache-Control", "no-transform")
				_, _ = io.WriteString(w, text)
			case "/trailer":
				h.Set("Trailer", "X-Sum")
				_, _ = io.WriteString(w, text)
				h.Set("X-Sum", "42")
			case "/broken":
				_, _ = io.WriteString(w, text)
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			default: // a stream
				if r.URL.Path == "/events" {
					h.Set("Content-Type", "text/event-stream")
				}
				for _, piece := range []string{"one\n", "two\n"} {
					_, _ = io.WriteString(w, piece)
					_ = http.NewResponseController(w).Flush()
					select {
					case <-next:
					case <-r.Context().Done():
						return
					}
				}
			}
		}))
		c.Serve(t, strings.ReplaceAll(`
  - name: shop
    bind_address: '${host}:8080'
    upstreams: ['ORIGIN']
    routes:
      - name: all
        filters: [{compression: {}}, {request_headers: {remove: [Accept-Encoding]}}]
`, "ORIGIN", origin))
		const url = "http://shop.example:8080"
		read := func(path, accept, want string) *matrix.Response {
			t.Helper()
			r := c.Get(t, url+path, "Accept-Encoding: "+accept)
			coding := r.Header.Get("Content-Encoding")
			if coding != want {
				t.Errorf("%s for %q: Content-Encoding %q, want %q", path, accept, coding, want)
			}
			body, err := io.ReadAll(inflate(t, coding, strings.NewReader(r.Body)))
			if err != nil {
				t.Errorf("%s for %q: %v", path, accept, err)
			}
			r.Body = string(body)
			return r
		}
		for accept, want := range map[string]string{
			"gzip": "gzip", "br": "br", "zstd": "zstd", "gzip, deflate, br, zstd": "zstd", "gzip;q=1, *;q=0.5": "gzip", "x-gzip, br;q=0": "gzip",
			"deflate": "", "gzip;q=0": "", "identity": "", "*": "zstd",
		} {
			r := read("/file", accept, want)
			if r.Status != 200 || r.Body != text {
				t.Errorf("%q: %d, %d bytes", accept, r.Status, len(r.Body))
			}
			if vary := r.Header.Values("Vary"); len(vary) != 1 || vary[0] != "Accept-Encoding" {
				t.Errorf("%q: Vary %q", accept, vary)
			}
			etag, ranges := `"v1"`, "bytes"
			if want != "" {
				etag, ranges = `W/"v1"`, ""
			}
			if r.Header.Get("ETag") != etag || r.Header.Get("Accept-Ranges") != ranges {
				t.Errorf("%q: ETag %s, Accept-Ranges %q", accept, r.Header.Get("ETag"), r.Header.Get("Accept-Ranges"))
			}
		}
		if r := read("/small", "gzip", ""); r.Body != "small" || r.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("small: %q, Vary %q", r.Body, r.Header.Get("Vary"))
		}
		if r := read("/small", "gzip, identity;q=0", "gzip"); r.Body != "small" {
			t.Errorf("small, and nothing else is taken: %q", r.Body)
		}
		if r := read("/medium", "gzip", "gzip"); r.Body != text[:1500] || r.Header.Get("Content-Length") == "" {
			t.Errorf("a body at hand: %d bytes, Content-Length %q", len(r.Body), r.Header.Get("Content-Length"))
		}
		if r := read("/encoded", "gzip", "gzip"); r.Body != text {
			t.Errorf("encoded: %d bytes", len(r.Body))
		}
		for _, path := range []string{"/image", "/fixed"} {
			if r := read(path, "gzip", ""); r.Body != text {
				t.Errorf("%s: %d bytes", path, len(r.Body))
			}
		}
		if r := read("/trailer", "gzip", "gzip"); r.Body != text || r.Trailer.Get("X-Sum") != "42" {
			t.Errorf("trailer: %d bytes, %v", len(r.Body), r.Trailer)
		}
		if r := c.Do(t, "HEAD", url+"/file", "", "Accept-Encoding: gzip"); r.Header.Get("Content-Encoding") != "" || r.Header.Get("Vary") == "" {
			t.Errorf("HEAD: %v", r.Header)
		}
		if r := c.Get(t, url+"/file", "Accept-Encoding: gzip", "Range: bytes=0-9"); r.Status != 206 || r.Body != text[:10] {
			t.Errorf("range: %d %q", r.Status, r.Body)
		}
		if r := c.Get(t, url+"/file", "Accept-Encoding: gzip", `If-None-Match: W/"v1"`); r.Status != 304 || r.Header.Get("ETag") != `W/"v1"` {
			t.Errorf("not modified: %d, ETag %s", r.Status, r.Header.Get("ETag"))
		}
		if _, err := c.Try(c.Client(t, nil), matrix.Request(t, "GET", url+"/broken", "", "Accept-Encoding: gzip")); err == nil {
			t.Error("a body that was cut off looks complete")
		}

		for path, coding := range map[string]string{"/stream": "gzip", "/events": ""} {
			response, err := c.Client(t, nil).Do(matrix.Request(t, "GET", url+path, "", "Accept-Encoding: gzip"))
			if err != nil {
				t.Fatal(err)
			}
			if got := response.Header.Get("Content-Encoding"); got != coding {
				t.Errorf("%s: Content-Encoding %q", path, got)
			}
			body := inflate(t, coding, response.Body)
			for _, want := range []string{"one\n", "two\n"} {
				p := make([]byte, 4)
				if _, err := io.ReadFull(body, p); err != nil || string(p) != want {
					t.Errorf("%s: %q, %v; want %q", path, p, err, want)
				}
				next <- struct{}{} // only now the origin goes on
			}
			if rest, err := io.ReadAll(body); len(rest) > 0 || err != nil {
				t.Errorf("%s: %q, %v", path, rest, err)
			}
			_ = response.Body.Close()
		}
	})
}
