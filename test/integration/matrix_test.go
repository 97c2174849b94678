package integration_test

import (
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// TestEverywhere: what is oldest works in every cell, and a change of it takes effect.
func TestEverywhere(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		const services = `
  - name: shop
    bind_address: '${host}:8080'
    hosts: [shop.example, '*.shop.example']
    upstreams: ['${origin}']
    routes:
      - name: api
        matches: [{path: {value: /api}, methods: [GET]}]
        filters:
          - rewrite: {replace_prefix: /v2}
          - request_headers: {set: {X-Env: prod}, remove: [X-Debug]}
          - response_headers: {add: {X-Served-By: shop}}
      - name: old
        matches: [{path: {type: Regex, value: '^/old/(.*)'}}]
        filters: [{redirect: {path: '/new/$1', code: 308}}]
`
		c.Serve(t, services)
		r := c.Get(t, "http://shop.example:8080/api/x?q=1", "X-Debug: 1")
		e := harness.ParseEchoed(t, r.Body)
		if e.Target != "/v2/x?q=1" || e.Header.Get("X-Env") != "prod" || e.Header.Get("X-Debug") != "" || e.Host != "shop.example:8080" {
			t.Errorf("the origin has seen %+v", e)
		}
		if r.Header.Get("X-Served-By") != "shop" || r.Header.Get("X-Request-Id") == "" {
			t.Errorf("the client has seen %v", r.Header)
		}
		if r := c.Get(t, "http://a.shop.example:8080/old/y"); r.Status != 308 || r.Header.Get("Location") != "http://a.shop.example:8080/new/y" {
			t.Errorf("%d to %q", r.Status, r.Header.Get("Location"))
		}
		if r := c.Get(t, "http://other.example:8080/"); r.Status != 404 {
			t.Errorf("another host is answered with %d", r.Status)
		}
		body := harness.Pattern(100_000)
		if e := harness.ParseEchoed(t, c.Do(t, "POST", "http://shop.example:8080/up", body).Body); e.Bytes != int64(len(body)) {
			t.Errorf("the origin got %d bytes", e.Bytes)
		}
		c.Serve(t, `
  - name: shop
    bind_address: '${host}:8080'
    upstreams: ['${origin}']
`)
		if r := c.Get(t, "http://other.example:8080/"); r.Status != 200 {
			t.Errorf("after the change another host is answered with %d", r.Status)
		}
	})
}
