package integration_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// TestSecurityHeaders: every answer has the fields, but for those that the endpoint wrote itself.
func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		origin := c.Origin(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/own" {
				w.Header().Set("X-Frame-Options", "DENY")
				w.Header().Set("Content-Security-Policy", "default-src 'none'")
				w.Header().Set("Strict-Transport-Security", "max-age=1")
			}
		}))
		chain, key := harness.NewAuthority(t, "test").Issue(t, nil, "shop.example")
		c.Write(t, "tls.crt", chain)
		c.Write(t, "tls.key", key)
		c.Serve(t, strings.ReplaceAll(`
  - name: shop
    bind_address: '${host}:8080'
    hosts: [shop.example]
    upstreams: ['ORIGIN']
    client_ip: {trusted_proxies: [10.99.0.0/16]}
    routes:
      - name: bare
        matches: [{path: {value: /bare}}]
        filters: [{security_headers: {frame_options: 'off', referrer_policy: 'off', hsts_max_age_secs: 0}}]
      - name: answer
        matches: [{path: {value: /answer}}]
        filters: [{respond: {body: ok}}, {security_headers: {}}]
      - name: moved
        matches: [{path: {value: /moved}}]
        filters: [{redirect: {path: /}}, {security_headers: {}}, {response_headers: {set: {Referrer-Policy: origin}}}]
      - name: limited
        matches: [{path: {value: /limited}}]
        limits: {max_body_bytes: 0}
        filters: [{security_headers: {}}]
      - name: all
        filters: [{security_headers: {hsts_include_sub_domains: true, content_security_policy: "default-src 'self'", permissions_policy: 'camera=()'}}]
  - name: secure
    bind_address: '${host}:8443'
    hosts: [shop.example]
    tls: true
    tls_config: {certificates: [{cert_file: '${dir}/tls.crt', key_file: '${dir}/tls.key'}]}
    upstreams: ['ORIGIN']
    routes: [{name: all, filters: [{security_headers: {}}]}]
`, "ORIGIN", origin))
		const url = "http://shop.example:8080"
		names := []string{"X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "Content-Security-Policy", "Permissions-Policy", "Strict-Transport-Security"}
		check := func(what string, r *matrix.Response, status int, want ...string) {
			t.Helper()
			if r.Status != status {
				t.Errorf("%s: the status is %d, want %d", what, r.Status, status)
			}
			for i, name := range names {
				if got := strings.Join(r.Header.Values(name), " | "); got != want[i] {
					t.Errorf("%s: %s is %q, want %q", what, name, got, want[i])
				}
			}
		}
		const usual = "strict-origin-when-cross-origin"
		check("plain", c.Get(t, url+"/"), 200, "nosniff", "SAMEORIGIN", usual, "default-src 'self'", "camera=()", "")
		check("TLS in front", c.Get(t, url+"/", "X-Forwarded-Proto: https"), 200,
			"nosniff", "SAMEORIGIN", usual, "default-src 'self'", "camera=()", "max-age=31536000; includeSubDomains")
		check("the endpoint's own", c.Get(t, url+"/own", "X-Forwarded-Proto: https"), 200,
			"nosniff", "DENY", usual, "default-src 'none'", "camera=()", "max-age=1")
		check("bare", c.Get(t, url+"/bare", "X-Forwarded-Proto: https"), 200, "nosniff", "", "", "", "", "")
		check("TLS", c.Get(t, "https://shop.example:8443/", "X-Forwarded-Proto: http"), 200, "nosniff", "SAMEORIGIN", usual, "", "", "max-age=31536000")
		check("a fixed answer", c.Get(t, url+"/answer"), 200, "nosniff", "SAMEORIGIN", usual, "", "", "")
		check("a redirection", c.Get(t, url+"/moved", "X-Forwarded-Proto: https"), 302, "nosniff", "SAMEORIGIN", "origin", "", "", "max-age=31536000")
		check("a refusal", c.Do(t, "POST", url+"/limited", "x"), 413, "nosniff", "SAMEORIGIN", usual, "", "", "")
	})
}
