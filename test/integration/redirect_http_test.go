package integration_test

import (
	"net/http"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// TestRedirectHTTP: several services redirect from one address, beside one of plain HTTP.
func TestRedirectHTTP(t *testing.T) {
	t.Parallel()
	ours := harness.NewAuthority(t, "ours")
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		chain, key := ours.Issue(t, nil, "a.test", "b.test")
		c.Write(t, "site.crt", chain)
		c.Write(t, "site.key", key)
		c.Serve(t, `
  - name: a
    bind_address: '${host}:8443'
    hosts: [a.test, '*.a.test']
    tls: true
    tls_config:
      certificates: [{cert_file: '${dir}/site.crt', key_file: '${dir}/site.key'}]
      redirect_http_from: '${host}:8080'
    upstreams: ['${origin}']
  - name: b
    bind_address: '${host}:443'
    hosts: [b.test]
    tls: true
    tls_config:
      certificates: [{cert_file: '${dir}/site.crt', key_file: '${dir}/site.key'}]
      redirect_http_from: '${host}:8080'
    upstreams: ['${origin}']
  - name: plain
    bind_address: '${host}:8080'
    hosts: [plain.test]
    upstreams: ['${origin}']
`)
		for _, tt := range []struct {
			url, location string
			status        int
		}{
			{"http://a.test:8080/x/y?z=1&z=2", "https://a.test:8443/x/y?z=1&z=2", 308},
			{"http://www.a.test:8080/", "https://www.a.test:8443/", 308},
			{"http://b.test:8080/x", "https://b.test/x", 308},
			{"http://a.test:8080/health", "https://a.test:8443/health", 308},
			{"http://a.test:8080/.well-known/acme-challenge/x", "https://a.test:8443/.well-known/acme-challenge/x", 308},
			{"http://plain.test:8080/x", "", 200},
			{"http://nobody.test:8080/", "", 404},
			{"https://a.test:8443/x", "", 200},
			{"https://b.test/x", "", 200},
		} {
			r := c.Get(t, tt.url)
			if r.Status != tt.status || r.Header.Get("Location") != tt.location {
				t.Errorf("%s: %d %q, want %d %q", tt.url, r.Status, r.Header.Get("Location"), tt.status, tt.location)
			}
		}
		if r := c.Do(t, http.MethodPost, "http://a.test:8080/form", "a=b"); r.Status != 308 {
			t.Errorf("POST: %d", r.Status)
		}
	})
}
