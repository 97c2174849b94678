package integration_test

import (
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// TestRewriteRegex: what an expression matches in the path is replaced, and what comes out is a path or refused.
func TestRewriteRegex(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		c.Serve(t, `
  - name: shop
    bind_address: '${host}:8080'
    upstreams: ['${origin}']
    routes:
      - name: users
        matches: [{path: {value: /users}}]
        filters: [{rewrite: {regex: {pattern: '^/users/([0-9]+)(/.*)?$', substitution: '/people$2/$1'}, host: people.internal}}]
      - name: everywhere
        matches: [{path: {value: /old}}]
        filters: [{rewrite: {regex: {pattern: old, substitution: new}}}]
      - name: up
        matches: [{path: {value: /up}}]
        filters: [{rewrite: {regex: {pattern: '^/up/(.*)$', substitution: '/x/..$1'}}}]
      - name: relative
        matches: [{path: {value: /relative}}]
        filters: [{rewrite: {regex: {pattern: '^/relative/', substitution: ''}}}]
      - name: long
        matches: [{path: {value: /long}}]
        filters: [{rewrite: {regex: {pattern: x, substitution: '/yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy'}}}]
`)
		const url = "http://shop.example:8080"
		for path, want := range map[string]string{
			"/users/42?q=1":          "/people/42?q=1",
			"/users/42/orders":       "/people/orders/42",
			"/users/ann":             "/users/ann",
			"/x/../users/%34%32":     "/people/42",
			"/old/older/x?old=old":   "/new/newer/x?old=old",
			"/up/%2F":                "", // dots beside an escaped slash
			"/up//etc":               "/x/..etc",
			"/relative/x":            "",
			"/users/1/%2e%2e/2/last": "/people/last/2",
		} {
			r := c.Get(t, url+path)
			if want == "" {
				if r.Status != 400 {
					t.Errorf("%s: %d %s", path, r.Status, r.Body)
				}
				continue
			}
			if r.Status != 200 {
				t.Errorf("%s: %d %s", path, r.Status, r.Body)
				continue
			}
			e := harness.ParseEchoed(t, r.Body)
			if e.Target != want {
				t.Errorf("%s became %s, want %s", path, e.Target, want)
			}
		}
		if r := c.Get(t, url+"/users/1"); harness.ParseEchoed(t, r.Body).Host != "people.internal" {
			t.Error(r.Body)
		}
		if r := c.Get(t, url+"/long/"+harness.Pattern(0)+"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"); r.Status != 414 {
			t.Errorf("a path that grew too long: %d", r.Status)
		}
		c.Refused(t, `
  - name: shop
    bind_address: '${host}:8080'
    upstreams: ['${origin}']
    routes: [{name: a, filters: [{rewrite: {regex: {pattern: '(a)', substitution: '/$2'}}}]}]
`, "$2")
	})
}
