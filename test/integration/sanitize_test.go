package integration_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// TestSanitize: which fields reach the endpoint, and which the client.
func TestSanitize(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		origin := c.Origin(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Server", "secret/1.2.3")
			w.Header().Set("X-Powered-By", "magic")
			w.Header().Set("X-Other", "1")
			harness.Echo("o").ServeHTTP(w, r)
		}))
		serve := func(sanitize string) {
			t.Helper()
			c.Serve(t, `
  - name: shop
    bind_address: '${host}:8080'
    upstreams: ['`+origin+`']
    `+sanitize+`
    routes:
      - name: set
        matches: [{path: {value: /set}}]
        filters: [{request_headers: {set: {X-Internal-User: proxy}}}, {response_headers: {set: {Server: shop}}}]
`)
		}
		get := func(path string, names ...string) (passed, response []string) {
			t.Helper()
			fields := []string{
				"X-Internal-User: root", "X-Forwarded-User: root", "X-Original-URI: /admin", "X-Real-IP: 6.6.6.6", "X-Forwarded-For: 6.6.6.6",
				"True-Client-IP: 6.6.6.6", "Proxy: http://evil", "X_Forwarded_For: 6.6.6.6", "X_Original-URI: /admin", "X_Mine: 1", "X_Internal_User: root",
				"X-Kept: 1",
			}
			r := c.Get(t, "http://shop.example:8080"+path, fields...)
			e := harness.ParseEchoed(t, r.Body)
			for _, name := range names {
				for key, values := range e.Header {
					if strings.EqualFold(key, name) {
						passed = append(passed, name+"="+strings.Join(values, ","))
					}
				}
			}
			for _, name := range []string{"Server", "X-Powered-By", "X-Other"} {
				if v := r.Header.Get(name); v != "" {
					response = append(response, name+"="+v)
				}
			}
			for key, values := range e.Header {
				if strings.Contains(strings.Join(values, ","), "6.6.6.6") || key == "Proxy" {
					t.Errorf("%s: the endpoint gets %s: %v", path, key, values)
				}
			}
			return passed, response
		}
		all := []string{"X-Internal-User", "X-Forwarded-User", "X-Original-URI", "X_Original-URI", "X_Mine", "X_Internal_User", "X-Kept"}
		check := func(what, path, wantPassed, wantResponse string) {
			t.Helper()
			passed, response := get(path, all...)
			if got := strings.Join(passed, " "); got != wantPassed {
				t.Errorf("%s: the endpoint gets %q, want %q", what, got, wantPassed)
			}
			if got := strings.Join(response, " "); got != wantResponse {
				t.Errorf("%s: the client gets %q, want %q", what, got, wantResponse)
			}
		}
		const theirs = "Server=secret/1.2.3 X-Powered-By=magic X-Other=1"
		serve("")
		check("by default", "/", "X-Internal-User=root X-Kept=1", theirs)
		serve("sanitize: {request_headers: [x-internal-user], response_headers: [server, X-Powered-By]}")
		check("removed", "/", "X-Kept=1", "X-Other=1")
		check("removed and set", "/set", "X-Internal-User=proxy X-Kept=1", "Server=shop X-Other=1")
		serve("sanitize: {keep_request_headers: [X-Original-URI, x-forwarded-user]}")
		check("kept", "/", "X-Internal-User=root X-Forwarded-User=root X-Original-URI=/admin X-Kept=1", theirs)
		serve("sanitize: {allow_underscores: true}")
		check("underscores", "/", "X-Internal-User=root X_Mine=1 X_Internal_User=root X-Kept=1", theirs)
		serve("sanitize: {allow_underscores: true, request_headers: [X-Internal-User]}")
		check("underscores, removed", "/", "X_Mine=1 X-Kept=1", theirs)
		check("underscores, set", "/set", "X-Internal-User=proxy X_Mine=1 X-Kept=1", "Server=shop X-Powered-By=magic X-Other=1")
		c.Refused(t, `
  - name: shop
    bind_address: '${host}:8080'
    upstreams: ['${origin}']
    sanitize: {keep_request_headers: [X-Forwarded-For]}
`, "the proxy writes the field itself")
	})
}

// TestMergeSlashes: one form of the path for matching, access, rewriting and forwarding.
func TestMergeSlashes(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		const more = `
    routes:
      - name: guarded
        matches: [{path: {value: /guarded}}]
        access: {allow: [192.0.2.1]}
      - name: cut
        matches: [{path: {value: /cut}}]
        filters: [{rewrite: {replace_prefix: /}}]
      - name: pattern
        matches: [{path: {type: Regex, value: '^/two//slashes$'}}]
        filters: [{respond: {body: two}}]
`
		serve := func(services string) { t.Helper(); c.Serve(t, services) }
		check := func(what string, want map[string]string) {
			t.Helper()
			for path, target := range want {
				r := c.Get(t, "http://files.store.example:8080"+path)
				got := r.Body
				if r.Status == 200 && strings.HasPrefix(got, "{") {
					got = harness.ParseEchoed(t, r.Body).Target
				} else if r.Status != 200 {
					got = http.StatusText(r.Status)
				}
				if got != target {
					t.Errorf("%s: %s is sent as %s, want %s", what, path, got, target)
				}
			}
		}
		merges := `
  - name: store
    bind_address: '${host}:8080'
    hosts: [files.store.example]
    upstreams: ['${origin}']` + more
		serve(merges)
		check("merged", map[string]string{
			"/a//b": "/a/b", "//guarded": "Forbidden", "/guarded//x": "Forbidden", "/cut//x": "/x", "/two//slashes": "/two/slashes", "/a//../b": "/b",
		})
		keeps := strings.Replace(merges, "hosts:", "sanitize: {merge_slashes: false}\n    hosts:", 1)
		serve(keeps)
		check("kept", map[string]string{
			"/a//b": "/a//b", "/a///": "/a///", "/guarded//x": "Forbidden", "/cut//x": "//x", "/two//slashes": "two", "/two/slashes": "/two/slashes",
			"/a//../b": "Bad Request", "//guarded": "//guarded", "/a/%2E/b//c": "/a/b//c",
		})
		// Another service of the host that merges: both do.
		serve(keeps + `
  - name: other
    bind_address: '${host}:8080'
    hosts: ['*.store.example']
    upstreams: ['${origin}']
`)
		check("disagreed", map[string]string{"/a//b": "/a/b", "//guarded": "Forbidden"})
	})
}
