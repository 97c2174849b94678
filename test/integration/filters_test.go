package integration_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

func TestFilters(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t, harness.Echo("o"))
	p := harness.Start(t, fmt.Sprintf(`
services:
  - name: web
    bind_address: '127.0.0.1:0'
    upstreams: ['%s']
    routes:
      - name: replace-prefix
        matches: [{path: {value: /api/v2}}]
        filters: [{rewrite: {replace_prefix: /, host: 'internal.example:8080'}}]
      - name: prefix-to-prefix
        matches: [{path: {value: /old}}]
        filters: [{rewrite: {replace_prefix: /new/place}}]
      - name: path
        matches: [{path: {type: Exact, value: /index}}]
        filters: [{rewrite: {path: /index.html}}]
      - name: groups
        matches: [{path: {type: Regex, value: '^/user/([a-z]+)/(\d+)$'}}]
        filters: [{rewrite: {path: '/u/$2/${1}/$$'}}]
      - name: headers
        matches: [{path: {value: /headers}}]
        filters:
          - request_headers: {set: {X-Env: prod, X-Forwarded-Proto: https}, add: {X-Two: b}, remove: [X-Debug, x-secret]}
          - request_headers: {add: {X-Two: c}, remove: [X-Env]}
          - response_headers: {set: {X-Origin: hidden}, add: {Set-Cookie: 'a=1'}, remove: [Content-Type]}
      - name: redirect
        matches: [{path: {type: Regex, value: '^/v1/(.*)'}}]
        filters: [{redirect: {scheme: https, host: www.example.com, port: 8443, path: '/api/v2/$1', code: 308}}]
      - name: to-https
        matches: [{path: {value: /secure}}]
        filters: [{redirect: {scheme: https}}]
      - name: to-path
        matches: [{path: {value: /moved}}]
        filters: [{redirect: {path: /here, code: 303}}]
`, origin.Addr), harness.Options{})
	addr := p.Addr(t, "web")
	get := func(t *testing.T, target string, fields ...string) (*harness.Response, harness.Echoed) {
		t.Helper()
		r := harness.Dial(t, addr).Do(t, request("GET", target, fields...))
		if r.StatusCode != http.StatusOK {
			return r, harness.Echoed{}
		}
		return r, harness.ParseEchoed(t, r.Text)
	}

	for target, want := range map[string][2]string{
		"/api/v2/x?y=1":      {"/x?y=1", "internal.example:8080"},
		"/api/v2":            {"/", "internal.example:8080"},
		"/api/v2/":           {"/", "internal.example:8080"},
		"/old/x/y":           {"/new/place/x/y", "site.example"},
		"/old":               {"/new/place", "site.example"},
		"/index?a=b":         {"/index.html?a=b", "site.example"},
		"/user/ann/42?x":     {"/u/42/ann/$?x", "site.example"},
		"/user/ANN/42":       {"/user/ANN/42", "site.example"},
		"/api/v2/%2e%2e/old": {"/api/old", "site.example"}, // the dots go first: that is in no prefix
		"/x/%2e%2e/old/a":    {"/new/place/a", "site.example"},
	} {
		t.Run(target, func(t *testing.T) {
			if _, e := get(t, target); e.Target != want[0] || e.Host != want[1] {
				t.Errorf("the origin was asked for %q of %q, want %q of %q", e.Target, e.Host, want[0], want[1])
			}
		})
	}
	t.Run("the host that the client asked for", func(t *testing.T) {
		_, e := get(t, "/api/v2/x")
		seen(t, e, map[string]string{"X-Forwarded-Host": "site.example"})
		if line := p.AccessOf(t, "/api/v2/x"); line.Text("host") != "site.example" || line.Text("route") != "replace-prefix" {
			t.Error(line)
		}
	})
	t.Run("headers", func(t *testing.T) {
		r, e := get(t, "/headers", "X-Two: a", "X-Debug: 1", "X-Debug: 2", "X-Secret: 1", "X-Env: mine")
		seen(t, e, map[string]string{"X-Two": "a | b | c", "X-Debug": "", "X-Secret": "", "X-Env": "", "X-Forwarded-Proto": "https"})
		if r.Header.Get("X-Origin") != "hidden" || r.Header.Get("Content-Type") != "" || !cmp.Equal(r.Header["Set-Cookie"], []string{"a=1"}) {
			t.Error(r.Header)
		}
	})
	before := origin.Requests.Load()
	for target, want := range map[string]struct {
		status   int
		location string
	}{
		"/v1/a/b?q=1":   {308, "https://www.example.com:8443/api/v2/a/b?q=1"},
		"/secure/x?q=1": {302, "https://site.example/secure/x?q=1"},
		"/moved/x?q=1":  {303, "http://site.example/here?q=1"},
	} {
		t.Run(target, func(t *testing.T) {
			c := harness.Dial(t, addr)
			for range 2 {
				r := c.Do(t, request("GET", target))
				if r.StatusCode != want.status || r.Header.Get("Location") != want.location {
					t.Errorf("%d %q, want %d %q", r.StatusCode, r.Header.Get("Location"), want.status, want.location)
				}
			}
		})
	}
	if line := p.AccessOf(t, "/secure/x"); line.Text("reason") != "redirect" || line.Text("route") != "to-https" || line.Number("attempts") != 0 {
		t.Error(line)
	}
	if origin.Requests.Load() != before {
		t.Error("a redirection reached the origin")
	}
}
