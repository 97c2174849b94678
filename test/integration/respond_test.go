package integration_test

import (
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// TestRespond: fixed answers need no endpoints, and may have fields of their own.
func TestRespond(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		c.Write(t, "keys", "a:sha256:"+strings.Repeat("0a", 32)+"\n")
		c.Serve(t, `
  - name: shop
    bind_address: '${host}:8080'
    health_path: /healthz
    routes:
      - name: status
        matches: [{path: {type: Exact, value: /status}}]
        filters: [{respond: {body: ok}}]
      - name: maintenance
        matches: [{path: {value: /shop}}]
        filters:
          - respond: {code: 503, body: '{"down":true}', content_type: application/json}
          - response_headers: {set: {Retry-After: '60'}}
      - name: private
        matches: [{path: {value: /private}}]
        auth: {api_key: {keys_ref: {file: '${dir}/keys'}}}
        filters: [{respond: {body: secret}}]
      - name: nothing
        matches: [{path: {value: /nothing}}]
        filters: [{respond: {code: 204}}]
`)
		const url = "http://shop.example:8080"
		if r := c.Get(t, url+"/status"); r.Status != 200 || r.Body != "ok" || r.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%d %q %v", r.Status, r.Body, r.Header)
		}
		if r := c.Do(t, "HEAD", url+"/status", ""); r.Status != 200 || r.Body != "" || r.Header.Get("Content-Length") != "2" {
			t.Errorf("HEAD: %d %q %v", r.Status, r.Body, r.Header)
		}
		for _, body := range []string{"", "some body"} { // which is read away
			r := c.Do(t, "POST", url+"/shop/x", body)
			if r.Status != 503 || r.Body != `{"down":true}` || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Retry-After") != "60" {
				t.Errorf("%d %q %v", r.Status, r.Body, r.Header)
			}
		}
		if r := c.Get(t, url+"/nothing"); r.Status != 204 || r.Body != "" || r.Header.Get("Content-Type") != "" {
			t.Errorf("%d %q %v", r.Status, r.Body, r.Header)
		}
		if r := c.Get(t, url+"/healthz"); r.Status != 200 {
			t.Errorf("a service that needs no endpoint is not healthy: %d %s", r.Status, r.Body)
		}
		if r := c.Get(t, url+"/private"); r.Status != 401 || strings.Contains(r.Body, "secret") {
			t.Errorf("without a key: %d %q", r.Status, r.Body)
		}
		if r := c.Get(t, url+"/else"); r.Status != 404 {
			t.Errorf("%d", r.Status)
		}
	})
}
