package proxy

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/router"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// serving is a configuration of services, each with one route of that path.
func serving(t *testing.T, path string, services ...*snapshot.Service) *Configuration {
	t.Helper()
	l := &snapshot.Listener{Address: "a", Services: services}
	in := router.Listener{Snapshot: l}
	for _, s := range services {
		in.Routes = append(in.Routes, &router.Route{Snapshot: &snapshot.Route{
			Service: s, Name: "r", Matches: []snapshot.Match{{Path: path}},
		}})
	}
	table, err := router.Compile([]router.Listener{in})
	if err != nil {
		t.Fatal(err)
	}
	return &Configuration{Table: table}
}

// Which fields that may speak for a proxy reach the endpoint.
func TestForgedFields(t *testing.T) {
	sent := []string{
		"X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil", "X-Forwarded-User: root", "x-real-ip: 6.6.6.6",
		"X-Original-URI: /admin", "True-Client-IP: 6.6.6.6", "X_Forwarded_For: 6.6.6.6", "X_Real-IP: 6.6.6.6", "Content_Length: 7", "X_Mine: 1", "X-Mine: 2",
	}
	ours := []string{"X-Forwarded-For: 192.0.2.1", "X-Forwarded-Host: example.com", "X-Forwarded-Proto: http"}
	for _, test := range []struct {
		name    string
		service snapshot.Service
		more    []string // beside ours and X-Mine
	}{
		{"as it is", snapshot.Service{}, nil},
		{"kept", snapshot.Service{KeepHeaders: []string{"x-original-uri", "X-Forwarded-User"}}, []string{"X-Original-URI: /admin", "X-Forwarded-User: root"}},
		{"what the proxy writes is not kept", snapshot.Service{KeepHeaders: []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"}}, nil},
		{"underscores", snapshot.Service{Underscores: true}, []string{"X_Mine: 1"}},
		{"an alias is not kept by the name that it stands for", snapshot.Service{Underscores: true, KeepHeaders: []string{"X-Real-IP"}}, []string{"X_Mine: 1", "x-real-ip: 6.6.6.6"}},
	} {
		x, _ := newExchange("192.0.2.1", sent...)
		x.Request.Header.MarkUnderscored()
		if find(x, serving(t, "/", &test.service)) == nil {
			t.Errorf("%s: answered %d", test.name, x.Response.Status)
		}
		h := &x.Request.Header
		h.DelID(exchange.XRequestID)
		want := append(slices.Concat(ours, test.more), "X-Mine: 2")
		slices.Sort(want)
		if got := fieldsOf(h); !slices.Equal(got, want) {
			t.Errorf("%s:\n%q, want\n%q", test.name, got, want)
		}
	}
}

// A trusted proxy is believed, but nobody has fields with underscores in their names who must not.
func TestUnderscoresOfTrustedProxies(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		x, _ := newExchange("10.0.0.1", "X-Forwarded-For: 1.1.1.1", "X_Forwarded_For: 6.6.6.6", "X_Mine: 1")
		x.Request.Header.MarkUnderscored()
		find(x, serving(t, "/", &snapshot.Service{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Underscores: allowed}))
		h := &x.Request.Header
		if v := h.Value(exchange.XForwardedFor); string(v) != "1.1.1.1, 10.0.0.1" {
			t.Errorf("X-Forwarded-For: %q", v)
		}
		if _, has := h.Get("X_Forwarded_For"); has {
			t.Error("its alias passes")
		}
		if _, has := h.Get("X_Mine"); has != allowed {
			t.Errorf("X_Mine passes: %v, want %v", has, allowed)
		}
	}
}

// The path that is matched is the one that is sent.
func TestKeptSlashes(t *testing.T) {
	keeps, merges := &snapshot.Service{Name: "a", KeepSlashes: true}, &snapshot.Service{Name: "b"}
	for _, test := range []struct {
		name, match, raw string
		services         []*snapshot.Service
		path             string // of the request that is forwarded; empty: there is no route
		status           int
	}{
		{"merged", "/a", "/a//b", []*snapshot.Service{merges}, "/a/b", 0},
		{"kept", "/a", "/a//b", []*snapshot.Service{keeps}, "/a//b", 0},
		{"kept in front", "/a", "//a/b", []*snapshot.Service{keeps}, "", 404},
		{"merged in front", "/a", "//a/b", []*snapshot.Service{merges}, "/a/b", 0},
		{"a route of two slashes", "/a//b", "/a//b/c", []*snapshot.Service{keeps}, "/a//b/c", 0},
		{"the same, merged", "/a//b", "/a//b/c", []*snapshot.Service{merges}, "/a/b/c", 0},
		{"two services of a host", "/a", "/a//b", []*snapshot.Service{keeps, merges}, "/a/b", 0},
		{"hidden dots", "/a", "/a//../b", []*snapshot.Service{keeps}, "", 400},
	} {
		x, _ := newExchange("192.0.2.1")
		x.Request.RawPath = []byte(test.raw)
		route := find(x, serving(t, test.match, test.services...))
		if (route != nil) != (test.path != "") || route != nil && string(x.Request.Path) != test.path || x.Response.Status != test.status {
			t.Errorf("%s: route %v, path %q, status %d; want %q and %d", test.name, route != nil, x.Request.Path, x.Response.Status, test.path, test.status)
		}
	}
}
