package claims_test

import (
	"testing"

	"github.com/pingora-proxy/pingora-proxy/controllers/translate/claims"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

func TestHosts(t *testing.T) {
	h := claims.NewHosts()
	h.Claim("a.x.example", "one")
	h.Claim("*.y.example", "one")
	for _, c := range []struct{ host, namespace, by string }{
		{"a.x.example", "one", ""},
		{"a.x.example", "two", "a.x.example"},
		{"b.x.example", "two", ""},
		{"*.x.example", "two", "a.x.example"},
		{"*.x.example", "one", ""},
		{"*.example", "two", "*.y.example"},
		{"a.b.y.example", "two", "*.y.example"},
		{"a.b.y.example", "one", ""},
		{"y.example", "two", ""},
		{"xy.example", "two", ""},
	} {
		by, owner, taken := h.Taken(c.host, c.namespace)
		if by != c.by || taken != (c.by != "") || taken && owner != "one" {
			t.Errorf("%s of %s: %q, %q, %t; want %q", c.host, c.namespace, by, owner, taken, c.by)
		}
	}
}

func TestRequests(t *testing.T) {
	const at = "0.0.0.0:80"
	r := claims.NewRequests(0, func(service int) string { return []string{"a/one", "a/two"}[service] })
	one := claims.Claim{Service: 0, Field: "routes[0]", Route: "api"}
	two := claims.Claim{Service: 1}
	api := snapshot.Match{Path: "/api", Methods: []string{"GET", "PUT"}, Headers: []snapshot.ValueMatch{{Name: "X-A", Value: "b"}}}
	take := func(hosts []string, m snapshot.Match, mine claims.Claim) (string, bool, bool) {
		other, part, all := r.Take(at, hosts, m, mine)
		if !part {
			return "", part, all
		}
		return r.Name(&other), part, all
	}
	for _, c := range []struct {
		name      string
		hosts     []string
		match     snapshot.Match
		mine      claims.Claim
		other     string
		part, all bool
	}{
		{"the first", []string{"a.example", "b.example"}, api, one, "", false, false},
		{"in other words", []string{"a.example"}, snapshot.Match{
			Path: "/api/", Methods: []string{"PUT", "GET"}, Headers: []snapshot.ValueMatch{{Name: "x-a", Value: "b"}},
		}, two, "route `api` of service `a/one`", true, true},
		{"one of two hosts", []string{"b.example", "c.example"}, api, two, "route `api` of service `a/one`", true, false},
		{"which was new", []string{"c.example"}, api, one, "service `a/two`", true, true},
		{"exactly the path", []string{"a.example"}, snapshot.Match{Path: "/api", PathType: snapshot.PathExact}, two, "", false, false},
		{"every host", nil, api, two, "", false, false},
		{"every host again", []string{"*"}, api, one, "service `a/two`", true, true},
	} {
		if other, part, all := take(c.hosts, c.match, c.mine); other != c.other || part != c.part || all != c.all {
			t.Errorf("%s: %q, %t, %t; want %q, %t, %t", c.name, other, part, all, c.other, c.part, c.all)
		}
	}
	if other, part, _ := r.Take("0.0.0.0:81", []string{"a.example"}, api, two); part {
		t.Errorf("at another address it is taken by %s", r.Name(&other))
	}
}

// A route that takes more than it was meant to yields to others, but not to its own service's.
func TestWeakYields(t *testing.T) {
	r, route := claims.NewRequests(0, nil), &snapshot.Route{}
	weak := claims.Claim{Service: 0, Field: "routes[0]", Weak: route}
	r.Take("a", nil, snapshot.Match{}, weak)
	if _, part, all := r.Take("a", nil, snapshot.Match{}, claims.Claim{Service: 0}); !part || !all || r.Yields(route) {
		t.Error("it yields to its own service")
	}
	if _, part, all := r.Take("a", nil, snapshot.Match{}, claims.Claim{Service: 1, Weak: &snapshot.Route{}}); !part || !all || r.Yields(route) {
		t.Error("it yields to another that is weak")
	}
	if _, part, all := r.Take("a", nil, snapshot.Match{}, claims.Claim{Service: 1}); part || all || !r.Yields(route) {
		t.Error("it does not yield")
	}
}
