package integration_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// TestRoutes asks a table of requests and compares the route that the access log names. The routes stand in an order that
// is not that of their precedence.
func TestRoutes(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t, harness.Echo("o"))
	p := harness.Start(t, fmt.Sprintf(`
services:
  - name: any
    bind_address: '127.0.0.1:0'
    upstreams: ['%[1]s']
  - name: shop
    bind_address: '127.0.0.1:0'
    hosts: [shop.example, '*.shop.example', '*.deep.shop.example']
    upstreams: ['%[1]s']
    routes:
      - {name: regex, matches: [{path: {type: Regex, value: '^/api/v[0-9]+/'}}]}
      - {name: prefix, matches: [{path: {type: Prefix, value: /api}}]}
      - {name: longer-prefix, matches: [{path: {value: /api/v2/}}]}
      - {name: exact, matches: [{path: {type: Exact, value: /api/v2/exact}}]}
      - {name: any-of, matches: [{path: {value: /a}}, {path: {value: /b}, methods: [PUT]}]}
      - {name: method, matches: [{path: {value: /m}, methods: [POST, DELETE]}]}
      - {name: one-header, matches: [{path: {value: /h}, headers: [{name: X-One, value: '1'}]}]}
      - {name: two-headers, matches: [{path: {value: /h}, headers: [{name: x-one, value: '1'}, {name: X-Two, type: Regex, value: '^a+$'}]}]}
      - {name: empty-header, matches: [{path: {value: /e}, headers: [{name: X-One, value: ''}]}]}
      - {name: query, matches: [{path: {value: /q}, query: [{name: v, value: '2'}]}]}
      - {name: query-regex, matches: [{path: {value: /q}, query: [{name: v, type: Regex, value: '^3'}]}]}
      - {name: headers-before-query, matches: [{path: {value: /q}, headers: [{name: X-One, value: '1'}]}]}
      - {name: method-before-headers, matches: [{path: {value: /q}, methods: [PATCH]}]}
      - {name: tie-first, matches: [{path: {value: /t}}]}
      - {name: tie-second, hosts: [shop.example], matches: [{path: {value: /t/}, headers: [{name: X-One, value: '1'}]}]}
      - {name: any-regex, matches: [{path: {type: Regex, value: 'needle'}}]}
  - name: wild
    bind_address: '127.0.0.1:0'
    hosts: ['*.site.example']
    routes:
      - {name: only, matches: [{path: {value: /only}}], backends: [{address: '%[1]s'}]}
      - {name: deep, hosts: [deep.site.example], backends: [{address: '%[1]s'}]}
`, origin.Addr), harness.Options{})
	addr := p.Addr(t, "shop")

	type routed struct{ method, host, target, field, want string }
	asked := map[string]routed{} // by request id
	for _, c := range []routed{
		// Paths.
		{"GET", "shop.example", "/api", "", "shop/prefix"},
		{"GET", "shop.example", "/api/x", "", "shop/prefix"},
		{"GET", "shop.example", "/apix", "", "shop/default"},
		{"GET", "shop.example", "/API", "", "shop/default"},
		{"GET", "shop.example", "/api/v2", "", "shop/longer-prefix"},
		{"GET", "shop.example", "/api/v2/x", "", "shop/longer-prefix"},
		{"GET", "shop.example", "/api/v2/exact", "", "shop/exact"},
		{"GET", "shop.example", "/api/v2/exact/", "", "shop/longer-prefix"},
		{"GET", "shop.example", "/api/v3/x", "", "shop/prefix"}, // a regular expression comes behind every prefix
		{"GET", "shop.example", "/hay/needle/hay", "", "shop/any-regex"},
		{"GET", "shop.example", "/", "", "shop/default"},
		{"GET", "shop.example", "/x/../api//v2/%65xact", "", "shop/exact"}, // the path that counts is the normalised one
		{"GET", "shop.example", "/api%2fv2", "", "shop/default"},
		{"OPTIONS", "shop.example", "*", "", "shop/default"},
		{"GET", "shop.example", "/b", "", "shop/default"},
		{"PUT", "shop.example", "/b", "", "shop/any-of"},
		{"GET", "shop.example", "/a?x=/api", "", "shop/any-of"},
		// Methods.
		{"POST", "shop.example", "/m", "", "shop/method"},
		{"DELETE", "shop.example", "/m", "", "shop/method"},
		{"GET", "shop.example", "/m", "", "shop/default"},
		{"post", "shop.example", "/m", "", "shop/default"},
		// Headers.
		{"GET", "shop.example", "/h", "", "shop/default"},
		{"GET", "shop.example", "/h", "x-ONE: 1", "shop/one-header"},
		{"GET", "shop.example", "/h", "X-One: 11", "shop/default"},
		{"GET", "shop.example", "/h", "X-One: 1\r\nX-Two: aaa", "shop/two-headers"},
		{"GET", "shop.example", "/h", "X-One: 1\r\nX-Two: b", "shop/one-header"},
		{"GET", "shop.example", "/e", "X-One:", "shop/empty-header"},
		{"GET", "shop.example", "/e", "", "shop/default"},
		// Queries.
		{"GET", "shop.example", "/q?v=2", "", "shop/query"},
		{"GET", "shop.example", "/q?a=b&v=%32", "", "shop/query"},
		{"GET", "shop.example", "/q?V=2", "", "shop/default"},
		{"GET", "shop.example", "/q?v=31", "", "shop/query-regex"},
		{"GET", "shop.example", "/q?v=2", "X-One: 1", "shop/headers-before-query"},
		{"PATCH", "shop.example", "/q?v=2", "X-One: 1", "shop/method-before-headers"},
		// A longer prefix beats a header; of the same length, "/t" and "/t/" are the same prefix, and the header wins.
		{"GET", "shop.example", "/t/x", "", "shop/tie-first"},
		{"GET", "shop.example", "/t/x", "X-One: 1", "shop/tie-second"},
		// Hosts.
		{"GET", "SHOP.Example:8080", "/api", "", "shop/prefix"},
		{"GET", "shop.example.", "/api", "", "shop/prefix"},
		{"GET", "a.b.shop.example", "/api", "", "shop/prefix"},
		{"GET", "a.deep.shop.example", "/api", "", "shop/prefix"},
		{"GET", "notshop.example", "/api", "", "any/default"},
		{"GET", "a.site.example", "/only/x", "", "wild/only"},
		{"GET", "a.site.example", "/other", "", "any/default"},
		{"GET", "deep.site.example", "/other", "", "wild/deep"},
		{"GET", "127.0.0.1", "/api", "", "any/default"},
		{"GET", "other", "/", "", "any/default"},
	} {
		fields := "X-A: 1"
		if c.field != "" {
			fields = c.field
		}
		r := harness.Dial(t, addr).Do(t, c.method+" "+c.target+" HTTP/1.1\r\nHost: "+c.host+"\r\n"+fields+"\r\n\r\n")
		if r.StatusCode != http.StatusOK {
			t.Errorf("%v: %d %s", c, r.StatusCode, r.Text)
		}
		asked[r.Header.Get("X-Request-Id")] = c
	}
	harness.Eventually(t, "every request is logged", func() bool { return len(p.AccessLog()) >= len(asked) })
	for _, line := range p.AccessLog() {
		c, ok := asked[line.Text("request_id")]
		if got := line.Text("service") + "/" + line.Text("route"); !ok || got != c.want {
			t.Errorf("%v: went to %s", c, got)
		}
		delete(asked, line.Text("request_id"))
	}
	for _, c := range asked {
		t.Errorf("%v: not in the access log", c)
	}
}

func TestRequestsThatNoRouteTakes(t *testing.T) {
	t.Parallel()
	origin := harness.StartRawOrigin(t, harness.Answer(ok))
	p := harness.Start(t, fmt.Sprintf(`
services:
  - name: web
    bind_address: '127.0.0.1:0'
    hosts: [web.example]
    routes: [{name: only, matches: [{path: {value: /only}}], backends: [{address: '%s'}]}]
    health_check: {type: Disabled}
`, origin.Addr), harness.Options{})
	addr := p.Addr(t, "web")
	for _, c := range []struct {
		host, path string
		service    string
	}{{"web.example", "/other", "web"}, {"other.example", "/only", ""}, {"web.example.evil", "/only", ""}} {
		conn := harness.Dial(t, addr)
		r := conn.Do(t, "GET "+c.path+" HTTP/1.1\r\nHost: "+c.host+"\r\n\r\n")
		id := r.Header.Get("X-Request-Id")
		want := fmt.Sprintf(`{"type":"about:blank","title":"Not Found","status":404,"reason":"no_route","request_id":"%s"}`+"\n", id)
		expect(t, r, 404, want)
		if r.Header.Get("Content-Type") != "application/problem+json" || r.Header.Get("Cache-Control") != "no-store" || r.Close {
			t.Error(r.Header)
		}
		line := p.AwaitAccess(t, id, func(l harness.Line) bool { return l.Text("request_id") == id })
		if line.Text("reason") != "no_route" || line.Text("service") != c.service || line.Text("route") != "" || line.Text("host") != c.host ||
			line.Text("path") != c.path || line.Number("attempts") != 0 {
			t.Error(line)
		}
	}
	expect(t, harness.Dial(t, addr).Do(t, "GET /only HTTP/1.1\r\nHost: web.example\r\n\r\n"), 200, "ok")
	if n := len(origin.Conns()); n != 1 {
		t.Errorf("%d connections to the origin", n)
	}
}

// Each service has its address, its routes and its endpoints.
func TestServicesOnSeveralAddresses(t *testing.T) {
	t.Parallel()
	a, b := harness.StartOrigin(t, harness.Echo("a")), harness.StartOrigin(t, harness.Echo("b"))
	p := harness.Start(t, fmt.Sprintf(`
services:
  - {name: a, bind_address: '127.0.0.1:0', upstreams: ['%s']}
  - {name: b, bind_address: '127.0.0.2:0', upstreams: ['%s']}
`, a.Addr, b.Addr), harness.Options{})
	for _, name := range []string{"a", "b"} {
		r := harness.Dial(t, p.Addr(t, name)).Do(t, request("GET", "/"))
		if e := harness.ParseEchoed(t, r.Text); e.Origin != name {
			t.Errorf("%s is answered by %s", name, e.Origin)
		}
	}
}
