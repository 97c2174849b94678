package translate_test

import (
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/router"
)

// TestPreflights asks the route table for preflight requests: each must come to the route that takes the request which it
// asks for.
func TestPreflights(t *testing.T) {
	s, problems := translate.Translate(load(t, `
services:
  - name: a
    bind_address: ':80'
    upstreams: ['10.0.0.1:80']
    routes:
      - name: read
        matches: [{path: {value: /x}, methods: [GET, HEAD]}]
        filters: [{cors: {allow_origins: ['*']}}]
      - name: write
        matches: [{path: {value: /x}, methods: [PUT, X-M.N]}]
        filters: [{cors: {allow_origins: ['*']}}]
      - name: closed
        matches: [{path: {value: /x}, methods: [DELETE]}]
      - name: own
        matches: [{path: {value: /own}, methods: [GET, OPTIONS]}]
        filters: [{cors: {allow_origins: ['*']}}]
      - name: beta
        matches: [{path: {value: /b}, headers: [{name: X-Beta, value: '1'}]}]
        filters: [{cors: {allow_origins: ['*']}}]
      - name: query
        matches: [{path: {value: /q}, query: [{name: v, value: '2'}], methods: [GET], headers: [{name: Cookie, type: Regex, value: a}, {name: User-Agent, type: Regex, value: curl}]}]
        filters: [{cors: {allow_origins: ['*']}}]
      - name: every
        matches: [{path: {value: /every}}]
        filters: [{cors: {allow_origins: ['*']}}]
`))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	l := router.Listener{Snapshot: s.Listeners[0]}
	for _, r := range s.Listeners[0].Routes {
		l.Routes = append(l.Routes, &router.Route{Snapshot: r})
	}
	table, err := router.Compile([]router.Listener{l})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path, method, headers, want string
	}{
		{"/x", "GET", "", "read"},
		{"/x/y", "HEAD", "", "read"},
		{"/x", "PUT", "x-a, x-b", "write"},
		{"/x", "X-M.N", "", "write"},
		{"/x", "X-MMN", "", "default"},
		{"/x", "PUTT", "", "default"},
		{"/x", "DELETE", "", "default"}, // which then answers without a word of origins
		{"/x", "", "", "default"},       // no preflight request
		{"/own", "GET", "", "own"},
		{"/b", "PUT", "x-beta", "beta"},
		{"/b", "PUT", "x-a,x-beta ,x-c", "beta"},
		{"/b", "PUT", "x-beta2", "default"},
		{"/b", "PUT", "", "default"},
		{"/q?v=2", "GET", "", "query"},
		{"/q?v=3", "GET", "", "default"},
		{"/every", "PATCH", "", "every"},
		{"/every", "", "", "every"},
	} {
		x := exchange.Exchange{Conn: &exchange.Conn{}}
		r := &x.Request
		r.Method, r.Host, r.Path = exchange.OPTIONS, []byte("a"), []byte(test.path)
		if path, query, found := strings.Cut(test.path, "?"); found {
			r.Path, r.Query, r.HasQuery = []byte(path), []byte(query), true
		}
		r.Header.Add("Origin", "https://example.com")
		r.Header.Add("User-Agent", "curl/8")
		if test.method != "" {
			r.Header.Add("Access-Control-Request-Method", test.method)
		}
		if test.headers != "" {
			r.Header.Add("Access-Control-Request-Headers", test.headers)
		}
		got := ""
		if found := table.Lookup(&x); found.Route != nil {
			got = found.Route.Snapshot.Name
		}
		if got != test.want {
			t.Errorf("%+v comes to %q", test, got)
		}
	}
}
