package integration_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

const limitedURL = "http://shop.example:8080"

// served sends n requests and counts those that were served; the others must be answered as limited.
func served(t *testing.T, c *matrix.Cell, n int, path string, fields ...string) (passed int) {
	t.Helper()
	for range n {
		switch r := c.Get(t, limitedURL+path, fields...); r.Status {
		case 200:
			passed++
		case 429:
			wait, err := strconv.Atoi(r.Header.Get("Retry-After"))
			if err != nil || wait < 1 || !strings.Contains(r.Body, `"reason":"rate_limited"`) {
				t.Errorf("%s: Retry-After %q, %s", path, r.Header.Get("Retry-After"), r.Body)
			}
		default:
			t.Errorf("%s: %d", path, r.Status)
		}
	}
	return passed
}

// TestRateLimits: who is counted together, who is not, and what a reload changes. A day is longer than any test.
func TestRateLimits(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		const head = `
  - name: shop
    bind_address: '${host}:8080'
    upstreams: ['${origin}']
    client_ip: {trusted_proxies: [127.0.0.0/8, 10.99.0.0/16]}
`
		const routes = `
    routes:
      - {name: a, matches: [{path: {value: /a}}]}
      - {name: b, matches: [{path: {value: /b}}]}
      - name: c
        matches: [{path: {value: /c}}]
        rate_limits: [{name: narrow, key: ClientIP, requests: 2, period_secs: 86400}]
`
		client := func(address string) string { return "X-Forwarded-For: " + address }
		const perClient = `    rate_limits: [{name: per-client, key: ClientIP, requests: 5, period_secs: 86400}]`
		c.Serve(t, head+perClient+routes)

		// The service's limit counts over its routes; each address has its own.
		if n := served(t, c, 3, "/a", client("192.0.2.1")) + served(t, c, 4, "/b", client("192.0.2.1")); n != 5 {
			t.Errorf("%d of 7 over two routes are served, want 5", n)
		}
		if n := served(t, c, 6, "/", client("192.0.2.2")); n != 5 {
			t.Errorf("another client: %d of 6 are served, want 5", n)
		}
		for i := range 6 { // a network of IPv6 is one client
			n := served(t, c, 1, "/", client(fmt.Sprintf("2001:db8:0:1:%x::1", i)))
			if want := min(1, max(0, 5-i)); n != want {
				t.Errorf("address %d of a network: %d served, want %d", i, n, want)
			}
		}
		if n := served(t, c, 3, "/c", client("192.0.2.3")); n != 2 {
			t.Errorf("the route's own limit: %d of 3 are served, want 2", n)
		}
		if n := served(t, c, 5, "/", client("192.0.2.3")); n != 2 { // three were counted for the service
			t.Errorf("what the route refused counts for the service: %d of 5 are served, want 2", n)
		}

		// The same limit goes on counting after a reload; one of another number as well; one of another period begins anew.
		c.Serve(t, head+perClient+strings.Replace(routes, "/b}", "/bb}", 1))
		if n := served(t, c, 2, "/a", client("192.0.2.1")); n != 0 {
			t.Errorf("after a reload %d are served", n)
		}
		c.Serve(t, head+strings.Replace(perClient, "86400}", "86400, burst: 8}", 1)+routes)
		if n := served(t, c, 6, "/a", client("192.0.2.1")); n != 3 {
			t.Errorf("with a wider burst %d of 6 are served, want the 3 more", n)
		}
		c.Serve(t, head+strings.Replace(perClient, "86400", "43200", 1)+routes)
		if n := served(t, c, 6, "/a", client("192.0.2.1")); n != 5 {
			t.Errorf("of another period %d of 6 are served, want 5", n)
		}

		// What else may be counted for.
		c.Serve(t, head+`    rate_limits: [{name: all, requests: 4, period_secs: 86400}]`)
		n := 0
		for i := range 6 {
			n += served(t, c, 1, "/", client(fmt.Sprintf("192.0.2.%d", i)))
		}
		if n != 4 {
			t.Errorf("the whole service: %d of 6 are served, want 4", n)
		}
		c.Serve(t, head+`    rate_limits: [{name: tenants, key: Header, key_name: X-Tenant, requests: 3, period_secs: 86400}]`)
		if n := served(t, c, 4, "/", "X-Tenant: a") + 10*served(t, c, 4, "/", "x-tenant: b") + 100*served(t, c, 4, "/"); n != 333 {
			t.Errorf("by header: %d, want 333", n)
		}
		c.Serve(t, head+`    rate_limits: [{name: sessions, key: Cookie, key_name: sid, requests: 3, period_secs: 86400}]`)
		if n := served(t, c, 4, "/", "Cookie: a=1; sid=a") + 10*served(t, c, 4, "/", "Cookie: sid=b") + 100*served(t, c, 4, "/", "Cookie: a=1"); n != 333 {
			t.Errorf("by cookie: %d, want 333", n)
		}
	})
}

// TestRateLimitFields: clients learn of every limit that counts them.
func TestRateLimitFields(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		c.Serve(t, `
  - name: shop
    bind_address: '${host}:8080'
    upstreams: ['${origin}']
    rate_limits:
      - {name: day, requests: 2, period_secs: 86400}
      - {name: watched, requests: 1, period_secs: 86400, mode: Observe}
    routes:
      - name: a
        matches: [{path: {value: /}}]
        rate_limits: [{name: hour, key: ClientIP, requests: 10, period_secs: 3600}]
`)
		for i, want := range []struct {
			status         int
			policy, limits string
			retry          string
		}{
			{200, `"day";q=2;w=86400, "hour";q=10;w=3600`, `"day";r=1;t=43200, "hour";r=9;t=360`, ""},
			{200, `"day";q=2;w=86400, "hour";q=10;w=3600`, `"day";r=0;t=43200, "hour";r=8;t=360`, ""},
			{429, `"day";q=2;w=86400`, `"day";r=0;t=43200`, "43"},
		} {
			r := c.Get(t, limitedURL+"/")
			policy, limits := strings.Join(r.Header["Ratelimit-Policy"], ", "), strings.Join(r.Header["Ratelimit"], ", ")
			// Some of the time until one more may come has passed already.
			if r.Status != want.status || policy != want.policy || !sameButForSeconds(limits, want.limits) || !strings.HasPrefix(r.Header.Get("Retry-After"), want.retry) {
				t.Errorf("request %d: %d, %s, %s, Retry-After %s; want %+v", i, r.Status, policy, limits, r.Header.Get("Retry-After"), want)
			}
			if i == 2 && r.Header.Get("Retry-After") != limits[strings.LastIndex(limits, "=")+1:] {
				t.Errorf("Retry-After %s, but %s", r.Header.Get("Retry-After"), limits)
			}
		}
		line := c.Proxy.AwaitAccess(t, "a request above the limit", func(l harness.Line) bool { return l.Text("reason") == "rate_limited" })
		if line.Text("rate_limited") != "day" {
			t.Errorf("the log says %q", line.Text("rate_limited"))
		}
		c.Proxy.AwaitAccess(t, "a request above the limit that is watched", func(l harness.Line) bool { return l.Text("rate_limited") == "watched" })
		c.Proxy.AwaitMetric(t, 1, "rate_limited_total", "limit", "day", "mode", "Enforce")
		c.Proxy.AwaitMetric(t, 1, "rate_limited_total", "limit", "watched", "mode", "Observe")
	})
}

// sameButForSeconds compares lists of limits, of which the second has the times when a test begins.
func sameButForSeconds(got, want string) bool {
	g, w := strings.Split(got, ", "), strings.Split(want, ", ")
	if len(g) != len(w) {
		return false
	}
	for i := range g {
		name, at, _ := strings.Cut(g[i], ";t=")
		rest, same := strings.CutPrefix(w[i], name+";t=")
		seconds, err := strconv.Atoi(at)
		whole, _ := strconv.Atoi(rest)
		if !same || err != nil || seconds > whole || seconds < whole-100 {
			return false
		}
	}
	return true
}

// TestRateLimitByToken: users have their own limits, wherever they come from; who comes without a token is not counted with
// them, and authentication answers him.
func TestRateLimitByToken(t *testing.T) {
	t.Parallel()
	key := newTokenKey(t, "k")
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		c.Write(t, "jwks.json", jwks(t, key))
		c.Serve(t, `
  - name: shop
    bind_address: '${host}:8080'
    upstreams: ['${origin}']
    client_ip: {trusted_proxies: [127.0.0.0/8, 10.99.0.0/16]}
    auth: {jwt: [{name: corp, issuer: corp, audiences: [shop], jwks_ref: {file: '${dir}/jwks.json'}}]}
    rate_limits: [{name: per-user, key: JWTClaim, key_name: sub, requests: 3, period_secs: 86400}]
    routes:
      - {name: open, matches: [{path: {value: /open}}], auth: {mode: None}}
`)
		bearer := func(sub string) string {
			return "Authorization: Bearer " + key.token(t, map[string]any{"iss": "corp", "aud": "shop", "sub": sub})
		}
		n := 0
		for i := range 5 {
			n += served(t, c, 1, "/", bearer("ann"), fmt.Sprintf("X-Forwarded-For: 192.0.2.%d", i))
		}
		if n != 3 {
			t.Errorf("%d of 5 of one user are served, want 3", n)
		}
		if n := served(t, c, 4, "/", bearer("bob")); n != 3 {
			t.Errorf("%d of 4 of another user are served, want 3", n)
		}
		for range 5 {
			if r := c.Get(t, limitedURL+"/"); r.Status != 401 {
				t.Errorf("without a token: %d", r.Status)
			}
		}
		if n := served(t, c, 4, "/open"); n != 3 { // counted for the address
			t.Errorf("%d of 4 without a token are served, want 3", n)
		}
	})
}
