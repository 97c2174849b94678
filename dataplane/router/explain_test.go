package router

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// TestExplainLikeLookup: whatever is asked, the route that is said to win is the one that takes the request, and each of
// the others has its reason.
func TestExplainLikeLookup(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	m := maker{rand.New(rand.NewPCG(seed, 0))}
	won := 0
	for range 200 {
		l := m.listener()
		compiled := table(t, l)
		for range 20 {
			x := m.request()
			want := compiled.Lookup(x)
			e := compiled.Explain(x)
			if describe(e.Result) != describe(want) {
				t.Fatalf("%s, want %s", describe(e.Result), describe(want))
			}
			if len(e.Candidates) != len(l.Routes) {
				t.Fatalf("%d candidates, %d routes", len(e.Candidates), len(l.Routes))
			}
			winners := 0
			for _, c := range e.Candidates {
				if c.Won {
					winners++
					if want.Route == nil || c.Route != want.Route.Snapshot || c.Why != "" || e.Host == "" {
						t.Fatalf("%+v, want %s", c, describe(want))
					}
				} else if c.Why == "" {
					t.Fatalf("there is no reason why %s has lost to %s", c.Route.Name, describe(want))
				} else if strings.HasPrefix(c.Why, "takes the request too") && want.Route == nil && !want.Health {
					t.Fatalf("%s %s and has not got it", c.Route.Name, c.Why)
				}
			}
			if (want.Route != nil) != (winners == 1) || winners > 1 {
				t.Fatalf("%d have won, want %s", winners, describe(want))
			}
			won += winners
		}
	}
	if won < 100 {
		t.Errorf("only %d requests had a route", won)
	}
}

func TestExplain(t *testing.T) {
	s := &snapshot.Service{Name: "shop", Hosts: []string{"shop.example", "*.shop.example"}, HealthPath: "/health"}
	route := func(name string, m ...snapshot.Match) *snapshot.Route {
		return &snapshot.Route{Service: s, Name: name, Matches: m}
	}
	other := route("other", snapshot.Match{Path: "/"})
	other.Hosts = []string{"a.example", "b.example"}
	header := []snapshot.ValueMatch{{Name: "X-Beta", Value: "letmein"}}
	l := &snapshot.Listener{Address: "127.0.0.1:0", Services: []*snapshot.Service{s}, Routes: []*snapshot.Route{
		route("login", snapshot.Match{PathType: snapshot.PathExact, Path: "/login"}, snapshot.Match{PathType: snapshot.PathExact, Path: "/logout"}),
		route("beta", snapshot.Match{Path: "/api", Headers: header}),
		route("api", snapshot.Match{Path: "/api"}),
		route("post", snapshot.Match{Path: "/api", Methods: []string{"POST", "PUT"}}),
		route("query", snapshot.Match{Path: "/api", Query: []snapshot.ValueMatch{{Name: "v", Value: "2"}}}),
		route("deep", snapshot.Match{Path: "/api/v2"}),
		route("regex", snapshot.Match{PathType: snapshot.PathRegex, Path: "^/a"}),
		route("again", snapshot.Match{Path: "/api/"}),
		route("all"),
		other,
	}}
	compiled := table(t, l)
	whys := func(line string, headers ...string) map[string]string {
		out := map[string]string{}
		for _, c := range compiled.Explain(request(line, headers...)).Candidates {
			out[c.Route.Name] = c.Why
		}
		return out
	}
	if diff := cmp.Diff(map[string]string{
		"login": "the path is not /logout; the path is not /login",
		"beta":  "the header X-Beta has another value",
		"api":   "",
		"post":  "the method is not POST or PUT",
		"query": "the query parameter v is missing or has another value",
		"deep":  "the path is not /api/v2 or below it",
		"regex": "takes the request too, but shop/api comes first: a prefix goes before a regular expression",
		"again": "takes the request too, but shop/api comes first: of equal ones the first",
		"all":   "takes the request too, but shop/api comes first: a prefix goes before no path at all",
		"other": "the host is not a.example, b.example",
	}, whys("GET shop.example/api/x", "X-Beta: 1")); diff != "" {
		t.Error(diff)
	}
	for _, c := range []struct{ line, header, route, why string }{
		{"GET shop.example/api", "", "beta", "there is no header X-Beta"},
		{"GET shop.example/api", "x-beta: letmein", "api", "takes the request too, but shop/beta comes first: it asks for 1 header, not 0"},
		{"POST shop.example/api", "x-beta: letmein", "beta", "takes the request too, but shop/post comes first: it names methods"},
		{"GET shop.example/api?v=2", "", "api", "takes the request too, but shop/query comes first: it asks for 1 query parameter, not 0"},
		{"GET shop.example/api/v2", "", "api", "takes the request too, but shop/deep comes first: its path /api/v2 is longer than /api"},
		{"GET shop.example/health", "", "all", "takes the request too, but it asks for the health path"},
		{"GET x/api", "", "api", "the host is not shop.example, *.shop.example"},
		{"GET b.example/", "", "other", ""},
		{"GET x.shop.example/nothing", "", "all", ""},
	} {
		var headers []string
		if c.header != "" {
			headers = append(headers, c.header)
		}
		if got := whys(c.line, headers...)[c.route]; got != c.why {
			t.Errorf("%s %s: %s: %q, want %q", c.line, c.header, c.route, got, c.why)
		}
	}
	e := compiled.Explain(request("GET shop.example/login"))
	if e.Host != "shop.example" || e.Match.Path != "/login" {
		t.Errorf("%+v", e)
	}
	x := request("GET shop.example/")
	x.Conn.Listener = 7
	if e := compiled.Explain(x); e.Result.Route != nil || e.Candidates != nil {
		t.Errorf("a listener that is not there: %+v", e)
	}
}
