package integration_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// TestMirror: a copy is what the endpoint got, and nothing of it comes back.
func TestMirror(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		record := func(to chan string, answer int) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				to <- fmt.Sprintf("%s %s%s from %s, proto %s, id %s, %s, cookie %s: %d bytes %.10s %v", r.Method, r.Host, r.RequestURI,
					r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Forwarded-Proto"), r.Header.Get("X-Request-Id"),
					r.Header.Get("Authorization"), r.Header.Get("X-Env"), len(body), body, err)
				w.WriteHeader(answer)
			})
		}
		asked, copies := make(chan string, 100), make(chan string, 100)
		origin, shadow := c.Origin(t, record(asked, 200)), c.Origin(t, record(copies, 500))
		hold := make(chan struct{})
		stuck := c.Origin(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-hold:
			case <-r.Context().Done():
			}
		}))
		t.Cleanup(func() { close(hold) })
		c.Serve(t, strings.NewReplacer("ORIGIN", origin, "SHADOW", shadow, "STUCK", stuck).Replace(`
  - name: shop
    bind_address: '${host}:8080'
    upstreams: ['ORIGIN']
    timeouts: {request_ms: 5000}
    routes:
      - name: all
        matches: [{path: {value: /all}}]
        filters:
          - mirror: {backend: {address: 'SHADOW'}, max_body_bytes: 1000}
          - rewrite: {replace_prefix: /new}
          - request_headers: {set: {X-Env: prod}}
      - name: none
        matches: [{path: {value: /none}}]
        filters: [{mirror: {backend: {address: 'SHADOW'}, percent: 0}}]
      - name: buffered
        matches: [{path: {value: /buffered}}]
        filters: [{mirror: {backend: {address: 'SHADOW'}}}, {buffer: {}}]
      - name: stuck
        matches: [{path: {value: /stuck}}]
        filters: [{mirror: {backend: {address: 'STUCK'}}}]
      - name: refused
        matches: [{path: {value: /refused}}]
        filters: [{mirror: {backend: {address: '127.0.0.1:1'}}}]
`))
		const url = "http://shop.example:8080"
		same := func(method, path, body string) {
			t.Helper()
			if r := c.Do(t, method, url+path, body, "Authorization: Bearer x"); r.Status != 200 {
				t.Errorf("%s %s: the answer is %d", method, path, r.Status)
			}
			want := <-asked
			select {
			case got := <-copies:
				if got != want {
					t.Errorf("%s %s: the copy is\n%s, the request was\n%s", method, path, got, want)
				}
			case <-time.After(harness.Patience):
				t.Errorf("%s %s: there is no copy", method, path)
			}
		}
		same("GET", "/all/x?q=1", "")
		same("DELETE", "/all", "")
		same("POST", "/all/x", "hello")
		same("PUT", "/all/x", strings.Repeat("0123456789", 100))
		same("POST", "/buffered", "hello")

		for _, one := range [...]struct{ method, path, body string }{
			{"GET", "/none", ""},
			{"POST", "/none", "hello"},
			{"GET", "/", ""},
			{"PUT", "/all/x", strings.Repeat("0", 1001)},
			{"GET", "/stuck", ""},
			{"POST", "/stuck", "hello"},
			{"GET", "/refused", ""},
			{"POST", "/refused", "hello"},
		} {
			if r := c.Do(t, one.method, url+one.path, one.body); r.Status != 200 {
				t.Errorf("%s %s: the answer is %d", one.method, one.path, r.Status)
			}
			<-asked
		}
		same("GET", "/all/last", "") // behind it nothing of the others is on its way
		if len(copies) > 0 {
			t.Errorf("a copy that nobody wanted: %s", <-copies)
		}
	})
}
