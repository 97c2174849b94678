package router

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

func prefix(path string) snapshot.Match { return snapshot.Match{Path: path} }
func exact(path string) snapshot.Match {
	return snapshot.Match{PathType: snapshot.PathExact, Path: path}
}

func regex(path string) snapshot.Match {
	return snapshot.Match{PathType: snapshot.PathRegex, Path: path}
}

func value(name, v string) []snapshot.ValueMatch {
	return []snapshot.ValueMatch{{Name: name, Value: v}}
}

// request is made of "METHOD host/path?query" and header lines.
func request(line string, headers ...string) *exchange.Exchange {
	x := &exchange.Exchange{Conn: &exchange.Conn{}}
	method, target, _ := strings.Cut(line, " ")
	target, query, hasQuery := strings.Cut(target, "?")
	host, path, _ := strings.Cut(target, "/")
	q := &x.Request
	q.MethodName, q.Method = []byte(method), exchange.ParseMethod(method)
	q.Host, q.Path, q.Query, q.HasQuery = []byte(host), []byte("/"+path), []byte(query), hasQuery
	for _, h := range headers {
		name, v, _ := strings.Cut(h, ": ")
		q.Header.Add(name, v)
	}
	return x
}

func one(s *snapshot.Service, routes ...*snapshot.Route) *snapshot.Listener {
	for _, r := range routes {
		r.Service = s
	}
	return &snapshot.Listener{Address: "127.0.0.1:80", Services: []*snapshot.Service{s}, Routes: routes}
}

func TestLookup(t *testing.T) {
	l := one(&snapshot.Service{Name: "s"},
		&snapshot.Route{Name: "default"},
		&snapshot.Route{Name: "regex", Matches: []snapshot.Match{regex("^/v[0-9]+/")}},
		&snapshot.Route{Name: "api", Matches: []snapshot.Match{prefix("/api")}},
		&snapshot.Route{Name: "api-again", Matches: []snapshot.Match{prefix("/api/")}},
		&snapshot.Route{Name: "api-v2", Matches: []snapshot.Match{prefix("/api/v2/")}},
		&snapshot.Route{Name: "api-post", Matches: []snapshot.Match{{Path: "/api", Methods: []string{"POST", "PURGE"}}}},
		&snapshot.Route{Name: "api-beta", Matches: []snapshot.Match{{Path: "/api", Headers: value("x-beta", "1")}}},
		&snapshot.Route{Name: "api-query", Matches: []snapshot.Match{{Path: "/api", Query: value("v", "a b")}}},
		&snapshot.Route{Name: "api-both", Matches: []snapshot.Match{{Path: "/api", Headers: value("X-Beta", "1"), Query: value("v", "2")}}},
		&snapshot.Route{Name: "exact", Matches: []snapshot.Match{exact("/api/v2"), exact("/other")}},
		&snapshot.Route{Name: "encoded", Matches: []snapshot.Match{exact("/%7euser//x")}},
		&snapshot.Route{Name: "versioned", Matches: []snapshot.Match{prefix("/v1/x")}},
		&snapshot.Route{Name: "host-field", Matches: []snapshot.Match{{
			Path: "/api", Headers: []snapshot.ValueMatch{{Name: "Host", Value: `^h\.`, Regex: true}},
		}}},
		&snapshot.Route{Name: "cookie", Matches: []snapshot.Match{{
			Path: "/api", Headers: []snapshot.ValueMatch{{Name: "Cookie", Value: `\bx=1\b`, Regex: true}},
			Query: []snapshot.ValueMatch{{Name: "r", Value: `^a b$`, Regex: true}},
		}}},
	)
	compiled := table(t, l)
	for _, test := range []struct {
		line    string
		headers []string
		want    string
		prefix  int
	}{
		{"GET a/", nil, "default", 0},
		{"GET a/apix", nil, "default", 0},
		{"GET a/Api", nil, "default", 0},
		{"GET a/api", nil, "api", 4},
		{"GET a/api/", nil, "api", 4},
		{"GET a/api/v2", nil, "exact", 7},
		{"GET a/api/v2/", nil, "api-v2", 7},
		{"GET a/api/v2/x/y/z", nil, "api-v2", 7},
		{"GET a/api/v22", nil, "api", 4},
		{"GET a/other", nil, "exact", 6},
		{"GET a/other/", nil, "default", 0},
		{"GET a/~user/x", nil, "encoded", 8},
		{"POST a/api", nil, "api-post", 4},
		{"PURGE a/api", nil, "api-post", 4},
		{"purge a/api", nil, "api", 4},
		{"GET a/api", []string{"X-BETA: 1"}, "api-beta", 4},
		{"GET a/api", []string{"X-Beta: 0", "X-Beta: 1"}, "api-beta", 4},
		{"GET a/api", []string{"X-Beta: 11"}, "api", 4},
		{"POST a/api", []string{"X-Beta: 1"}, "api-post", 4},
		{"GET a/api?v=a+b", nil, "api-query", 4},
		{"GET a/api?x&&v=a%20b&v=2", nil, "api-query", 4},
		{"GET a/api?v=2&v=a+b", nil, "api", 4},
		{"GET a/api?V=a+b", nil, "api", 4},
		{"GET a/api?v=2", []string{"x-beta: 1"}, "api-both", 4},
		{"GET a/v1/y", nil, "regex", 0},
		{"GET a/v1/x", nil, "versioned", 5},
		{"GET h.example/api", nil, "host-field", 4},
		{"GET a/api?r=a%20b", []string{"Accept: x=1", "Cookie: y=2", "Cookie: x=1; z"}, "cookie", 4},
	} {
		x := request(test.line, test.headers...)
		got := compiled.Lookup(x)
		if got.Route == nil || got.Route.Snapshot.Name != test.want || x.PrefixLen != test.prefix || got.Health {
			t.Errorf("%s %q: %s, prefix %d; want %s, %d", test.line, test.headers, describe(got), x.PrefixLen, test.want, test.prefix)
		}
	}
}

func TestLookupHost(t *testing.T) {
	a := &snapshot.Service{Name: "a", Hosts: []string{"Example.com.", "*.example.com"}}
	b := &snapshot.Service{Name: "b", Hosts: []string{"b.example.com", "*.c.example.com", "[::1]"}}
	every := &snapshot.Service{Name: "every"}
	l := &snapshot.Listener{
		Address: "127.0.0.1:80", Services: []*snapshot.Service{every, a, b},
		Routes: []*snapshot.Route{
			{Name: "every", Service: every, Matches: []snapshot.Match{prefix("/e")}},
			{Name: "a", Service: a, Matches: []snapshot.Match{prefix("/a"), prefix("/e/a")}},
			{Name: "b", Service: b, Matches: []snapshot.Match{prefix("/b")}},
			{Name: "own", Service: a, Hosts: []string{"own.test"}},
		},
	}
	compiled := table(t, l)
	for line, want := range map[string]string{
		"GET example.com/a":             "service a route a",
		"GET EXAMPLE.COM.:8080/a":       "service a route a",
		"GET x.example.com/a":           "service a route a",
		"GET x.y.example.com/a":         "service a route a",
		"GET b.example.com/b":           "service b route b",
		"GET x.c.example.com/b":         "service b route b",
		"GET c.example.com/a":           "service a route a",
		"GET [::1]:80/b":                "service b route b",
		"GET b.example.com/a":           "service a route a",         // its own host has no such route
		"GET b.example.com/e/a":         "service a route a",         // the wildcard is more specific than every host
		"GET b.example.com/e":           "service every route every", // and every host is left
		"GET example.com/none":          "service a",
		"GET b.example.com/none":        "service b",
		"GET notexample.com/a":          "service every",
		"GET other/e":                   "service every route every",
		"GET own.test/x":                "service a route own",
		"GET .example.com/a":            "service every",
		"GET /e":                        "service every route every",
		"GET b.example.com.evil.test/b": "service every",
	} {
		if got := describe(compiled.Lookup(request(line))); got != want {
			t.Errorf("%s: %s; want %s", line, got, want)
		}
	}
}

func TestLookupHealth(t *testing.T) {
	a := &snapshot.Service{Name: "a", Hosts: []string{"a.test"}, HealthPath: "/health"}
	b := &snapshot.Service{Name: "b", Hosts: []string{"b.test"}}
	every := &snapshot.Service{Name: "every", HealthPath: "/%68ealth"}
	l := &snapshot.Listener{
		Address: "127.0.0.1:80", Services: []*snapshot.Service{a, b, every},
		Routes: []*snapshot.Route{
			{Name: "all", Service: a, Matches: []snapshot.Match{prefix("/health"), regex(".")}},
			{Name: "post", Service: a, Matches: []snapshot.Match{{PathType: snapshot.PathExact, Path: "/health", Methods: []string{"POST"}}}},
			{Name: "beta", Service: a, Matches: []snapshot.Match{{PathType: snapshot.PathExact, Path: "/health", Headers: value("X", "1")}}},
			{Name: "b", Service: b, Matches: []snapshot.Match{prefix("/")}},
			{Name: "every", Service: every, Matches: []snapshot.Match{prefix("/")}},
		},
	}
	compiled := table(t, l)
	for _, test := range []struct{ line, header, want string }{
		{"GET a.test/health", "", "service a health"},
		{"HEAD A.test:80/health", "", "service a health"},
		{"GET a.test/health", "X: 1", "service a route beta"},
		{"POST a.test/health", "", "service a route post"},
		{"PUT a.test/health", "", "service a route all"},
		{"GET a.test/health/", "", "service a route all"},
		{"GET a.test/healthz", "", "service a route all"},
		{"GET b.test/health", "", "service b route b"}, // turned off, though every host has one
		{"GET c.test/health", "", "service every health"},
	} {
		x := request(test.line)
		if name, v, ok := strings.Cut(test.header, ": "); ok {
			x.Request.Header.Add(name, v)
		}
		if got := describe(compiled.Lookup(x)); got != test.want {
			t.Errorf("%s %s: %s; want %s", test.line, test.header, got, test.want)
		}
	}
}

func TestLookupSlot(t *testing.T) {
	var in []Listener
	for _, slot := range []int{3, 1} {
		l := one(&snapshot.Service{Name: fmt.Sprint("s", slot)}, &snapshot.Route{Name: "r"})
		in = append(in, Listener{Slot: slot, Snapshot: l, Routes: []*Route{{Snapshot: l.Routes[0]}}})
	}
	compiled, err := Compile(in)
	if err != nil {
		t.Fatal(err)
	}
	for slot, want := range map[int]string{-1: "nothing", 0: "nothing", 1: "service s1 route r", 2: "nothing", 3: "service s3 route r", 4: "nothing"} {
		x := request("GET a/")
		x.Conn.Listener = slot
		if got := describe(compiled.Lookup(x)); got != want {
			t.Errorf("slot %d: %s; want %s", slot, got, want)
		}
	}
	if _, err := Compile([]Listener{in[0], in[0]}); err == nil {
		t.Error("two listeners with one slot are accepted")
	}
	if got := describe((&Table{}).Lookup(request("GET a/"))); got != "nothing" {
		t.Errorf("an empty table: %s", got)
	}
}

func TestService(t *testing.T) {
	s := &snapshot.Service{Name: "s", Hosts: []string{"a.test", "b.test"}}
	compiled := table(t, one(s, &snapshot.Route{Name: "x", Matches: []snapshot.Match{prefix("/x")}}, &snapshot.Route{Name: "y"}))
	res := compiled.Lookup(request("GET b.test/x"))
	if res.Service.Snapshot != s || len(res.Service.Routes) != 2 || res.Service.Routes[0] != res.Route {
		t.Errorf("%+v", res.Service)
	}
}

func TestCompileErrors(t *testing.T) {
	for _, test := range []struct {
		name  string
		s     snapshot.Service
		route snapshot.Route
		want  string
	}{
		{"regex", snapshot.Service{}, snapshot.Route{Matches: []snapshot.Match{prefix("/"), regex("(")}}, "route n/s/r: match 1: path: error parsing regexp"},
		{"path", snapshot.Service{}, snapshot.Route{Matches: []snapshot.Match{exact("/..")}}, `match 0: path: "/.." is not a path`},
		{"empty exact path", snapshot.Service{}, snapshot.Route{Matches: []snapshot.Match{exact("")}}, "is not a path"},
		{"star", snapshot.Service{}, snapshot.Route{Matches: []snapshot.Match{exact("*")}}, "is not a path"},
		{"header regex", snapshot.Service{}, snapshot.Route{Matches: []snapshot.Match{{
			Headers: []snapshot.ValueMatch{{Name: "X", Value: "(", Regex: true}},
		}}}, `header "X": error parsing regexp`},
		{"query name", snapshot.Service{}, snapshot.Route{Matches: []snapshot.Match{{Query: value("", "x")}}}, "has no name"},
		{"host of the route", snapshot.Service{}, snapshot.Route{Hosts: []string{"a:80"}}, `route n/s/r: host "a:80" must be`},
		{"host of the service", snapshot.Service{Hosts: []string{"*.*.a"}}, snapshot.Route{}, `host "*.*.a" must be`},
		{"health path", snapshot.Service{HealthPath: "health"}, snapshot.Route{}, `service n/s: health path: "health" is not a path`},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.s.Namespace, test.s.Name, test.route.Name = "n", "s", "r"
			l := one(&test.s, &test.route)
			compiled, err := Compile([]Listener{{Snapshot: l, Routes: []*Route{{Snapshot: &test.route}}}})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v; want %q in it", err, test.want)
			}
			if compiled != nil {
				t.Error("there is a table")
			}
		})
	}
	l := one(&snapshot.Service{Name: "s"})
	stray := &Route{Snapshot: &snapshot.Route{Service: &snapshot.Service{}, Name: "stray"}}
	if _, err := Compile([]Listener{{Snapshot: l, Routes: []*Route{stray}}}); err == nil || !strings.Contains(err.Error(), `route "stray": its service`) {
		t.Errorf("a route of no service: %v", err)
	}
}

func TestRoutes(t *testing.T) {
	l := one(&snapshot.Service{Name: "s", Hosts: []string{"*", "b.test", "*.test", "*.b.test"}},
		&snapshot.Route{Name: "default"},
		&snapshot.Route{Name: "r", Hosts: []string{"b.test"}, Matches: []snapshot.Match{
			regex("x"), prefix("/"), prefix("/a"), prefix("/a/b"), exact("/z"), exact("/zz"),
		}},
		&snapshot.Route{Name: "m", Hosts: []string{"b.test"}, Matches: []snapshot.Match{{Path: "/a", Methods: []string{"GET"}}}},
	)
	var got []string
	for _, d := range table(t, l).Routes() {
		path := "any"
		if d.Match != nil {
			path = fmt.Sprint(d.Match.PathType, " ", d.Match.Path)
		}
		got = append(got, strings.Join([]string{d.Address, d.Host, path, d.Route.Snapshot.Name}, " "))
	}
	want := []string{
		"127.0.0.1:80 b.test 1 /zz r",
		"127.0.0.1:80 b.test 1 /z r",
		"127.0.0.1:80 b.test 0 /a/b r",
		"127.0.0.1:80 b.test 0 /a m",
		"127.0.0.1:80 b.test 0 /a r",
		"127.0.0.1:80 b.test 0 / r",
		"127.0.0.1:80 b.test 2 x r",
		"127.0.0.1:80 b.test any default",
		"127.0.0.1:80 *.b.test any default",
		"127.0.0.1:80 *.test any default",
		"127.0.0.1:80 * any default",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRecord(t *testing.T) {
	for _, compiled := range []*Table{{}, table(t, one(&snapshot.Service{Name: "s"}, &snapshot.Route{Name: "r"}))} {
		x := request("GET A.test:80/x/y")
		compiled.Lookup(x)
		x.Request.Host, x.Request.Path = []byte("b"), []byte("/z")
		if string(x.Record.Host) != "A.test:80" || string(x.Record.Path) != "/x/y" {
			t.Errorf("%q, %q", x.Record.Host, x.Record.Path)
		}
	}
}

// A path of many segments costs as much as the configuration's longest prefix, not as much as a client likes.
func TestDeepPath(t *testing.T) {
	compiled := table(t, one(&snapshot.Service{Name: "s"}, &snapshot.Route{Name: "r", Matches: []snapshot.Match{prefix("/a/a/b"), prefix("/a/a")}}))
	x := request("GET h/" + strings.TrimPrefix(strings.Repeat("/a", 30000), "/"))
	for range 10000 { // at a hash a segment this would take minutes
		if got := compiled.Lookup(x); got.Route == nil || x.PrefixLen != 4 {
			t.Fatalf("%s, %d", describe(got), x.PrefixLen)
		}
	}
}

// Regular expressions are left out: package regexp keeps its memory in a sync.Pool, which forgets some of it on purpose
// under the race detector.
func TestLookupAllocates(t *testing.T) {
	match := snapshot.Match{
		Path: "/api", Methods: []string{"GET"},
		Headers: []snapshot.ValueMatch{{Name: "X-Beta", Value: "1"}, {Name: "Cookie", Value: "x=1"}},
		Query:   []snapshot.ValueMatch{{Name: "v w", Value: "a b"}, {Name: "r", Value: "12"}},
	}
	l := one(&snapshot.Service{Name: "s", Hosts: []string{"*.example.com", "example.com"}, HealthPath: "/health"},
		&snapshot.Route{Name: "r", Matches: []snapshot.Match{match, exact("/x")}})
	compiled := table(t, l)
	for _, x := range []*exchange.Exchange{
		request("GET a.b.EXAMPLE.com:80/api/x?z&v+w=a%20b&r=12", "Accept: x", "x-beta: 1", "Cookie: x=1"),
		request("GET example.com/x"),
		request("GET example.com/health"),
		request("GET other/x"),
	} {
		if n := testing.AllocsPerRun(100, func() { compiled.Lookup(x) }); n != 0 {
			t.Errorf("%s%s: %v allocations", x.Request.Host, x.Request.Path, n)
		}
	}
}

// TestOwner: names belong to services by the rule that requests are matched with, hosts of routes included.
func TestOwner(t *testing.T) {
	a := &snapshot.Service{Name: "a"}
	b := &snapshot.Service{Name: "b", Hosts: []string{"*.example", "b.test"}}
	c := &snapshot.Service{Name: "c", Hosts: []string{"*.deep.example", "exact.example"}}
	compiled := table(t, &snapshot.Listener{
		Address: "127.0.0.1:80", Services: []*snapshot.Service{a, b, c},
		Routes: []*snapshot.Route{{Service: a, Name: "own", Hosts: []string{"own.example"}}, {Service: b, Name: "all"}, {Service: c, Name: "all"}},
	})
	for host, want := range map[string]string{
		"": "a", "exact.example": "c", "EXACT.example.": "c", "exact.example:443": "c", "x.example": "b", "x.deep.example": "c",
		"x.y.deep.example": "c", "deep.example": "b", "own.example": "a", "b.test": "b", "elsewhere": "a", strings.Repeat("x", 300): "a",
	} {
		if got := compiled.Owner(0, []byte(host)); got == nil || got.Snapshot.Name != want {
			t.Errorf("%.40s: %v, want %s", host, got, want)
		}
	}
	for _, slot := range []int{-1, 1} {
		if compiled.Owner(slot, nil) != nil {
			t.Errorf("slot %d has an owner", slot)
		}
	}
	alone := table(t, &snapshot.Listener{Address: "127.0.0.1:80", Services: []*snapshot.Service{b}, Routes: nil})
	if got := alone.Owner(0, []byte("elsewhere")); got != nil {
		t.Errorf("a name that nobody has belongs to %s", got.Snapshot.Name)
	}
}
