package integration_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// TestCORS: pages of other origins ask, and read what they may.
func TestCORS(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		asked := make(chan string, 100)
		origin := c.Origin(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked <- r.Method + " " + r.URL.Path
			w.Header().Set("Access-Control-Allow-Origin", "*")
			w.Header().Set("Access-Control-Allow-Credentials", "true")
			w.Header().Set("Vary", "Accept-Encoding")
			w.Header().Set("X-Total", "5")
		}))
		c.Write(t, "htpasswd", "carol:"+hashOfPassword+"\n")
		c.Serve(t, strings.ReplaceAll(`
  - name: shop
    bind_address: '${host}:8080'
    upstreams: ['ORIGIN']
    routes:
      - name: api
        matches: [{path: {value: /api}, methods: [GET, PUT]}]
        limits: {max_body_bytes: 3}
        filters:
          - request_headers: {remove: [Origin]}
          - cors: {allow_origins: ['https://example.com', 'https://*.example.org:8443'], allow_credentials: true, expose_headers: [X-Total], max_age_secs: 600}
      - name: open
        matches: [{path: {value: /open}}]
        filters: [{cors: {allow_origins: ['*'], allow_methods: [GET, PATCH], allow_headers: [X-A]}}]
      - name: closed
        matches: [{path: {value: /closed}, methods: [DELETE]}]
        auth: {basic: {users_ref: {file: '${dir}/htpasswd'}}}
        filters: [{cors: {allow_origins: ['https://example.com']}}]
`, "ORIGIN", origin))
		const url = "http://shop.example:8080"
		preflight := func(path, from, method string, fields ...string) *matrix.Response {
			t.Helper()
			return c.Do(t, "OPTIONS", url+path, "", append(fields, "Origin: "+from, "Access-Control-Request-Method: "+method)...)
		}
		check := func(what string, r *matrix.Response, status int, want map[string]string) {
			t.Helper()
			if r.Status != status {
				t.Errorf("%s: the status is %d, want %d", what, r.Status, status)
			}
			for _, name := range []string{"Allow-Origin", "Allow-Credentials", "Allow-Methods", "Allow-Headers", "Expose-Headers", "Max-Age"} {
				if got := strings.Join(r.Header.Values("Access-Control-"+name), " | "); got != want[name] {
					t.Errorf("%s: Access-Control-%s is %q, want %q", what, name, got, want[name])
				}
			}
			if vary := r.Header.Values("Vary"); len(vary) != 1 || !strings.Contains(vary[0], "Origin") {
				t.Errorf("%s: Vary is %q", what, vary)
			}
		}
		const vary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"

		r := preflight("/api/x", "https://example.com", "PUT", "Access-Control-Request-Headers: x-a, content-type")
		check("preflight", r, 204, map[string]string{
			"Allow-Origin": "https://example.com", "Allow-Credentials": "true", "Allow-Methods": "GET, PUT", "Allow-Headers": "x-a, content-type", "Max-Age": "600",
		})
		if r.Header.Get("Vary") != vary {
			t.Errorf("Vary: %q", r.Header.Get("Vary"))
		}
		check("preflight of a subdomain", preflight("/api/x", "https://a.b.example.org:8443", "GET"), 204, map[string]string{
			"Allow-Origin": "https://a.b.example.org:8443", "Allow-Credentials": "true", "Allow-Methods": "GET, PUT", "Max-Age": "600",
		})
		check("preflight of a stranger", preflight("/api/x", "https://evil.example", "PUT"), 204, nil)
		check("preflight to all", preflight("/open", "null", "PATCH"), 204, map[string]string{
			"Allow-Origin": "*", "Allow-Methods": "GET, PATCH", "Allow-Headers": "X-A", "Max-Age": "5",
		})
		check("preflight before authentication", preflight("/closed", "https://example.com", "DELETE"), 204, map[string]string{
			"Allow-Origin": "https://example.com", "Allow-Methods": "DELETE", "Max-Age": "5",
		})
		check("who is not let in", c.Do(t, "DELETE", url+"/closed", "", "Origin: https://example.com"), 401, map[string]string{"Allow-Origin": "https://example.com"})
		if len(asked) != 0 {
			t.Errorf("the origin was asked: %s", <-asked)
		}

		check("response", c.Get(t, url+"/api/x", "Origin: https://example.com"), 200, map[string]string{
			"Allow-Origin": "https://example.com", "Allow-Credentials": "true", "Expose-Headers": "X-Total",
		})
		check("response to a stranger", c.Get(t, url+"/api/x", "Origin: https://evil.example"), 200, nil)
		check("response without an origin", c.Get(t, url+"/api/x"), 200, nil)
		check("response to all", c.Get(t, url+"/open", "Origin: https://evil.example"), 200, map[string]string{"Allow-Origin": "*"})
		check("refusal", c.Do(t, "PUT", url+"/api/x", "long", "Origin: https://example.com"), 413, map[string]string{
			"Allow-Origin": "https://example.com", "Allow-Credentials": "true", "Expose-Headers": "X-Total",
		})

		// What is no preflight request is the route's own matter, or nobody's.
		if r := preflight("/api/x", "https://example.com", "DELETE"); r.Header.Get("Access-Control-Allow-Methods") != "" {
			t.Errorf("a method that the route does not take is allowed: %v", r.Header)
		}
		if r := c.Do(t, "OPTIONS", url+"/open", ""); r.Status != 200 {
			t.Errorf("OPTIONS is answered with %d", r.Status)
		}
	})
}
