package router

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// naive finds the route as the documentation says it, by looking at every match of every route and keeping the best:
// no index, nothing compiled.
func naive(l *snapshot.Listener, x *exchange.Exchange) (want Result, prefixLen int) {
	var best rank
	var route *snapshot.Route
	for order, r := range l.Routes {
		hosts := r.Hosts
		if len(hosts) == 0 {
			hosts = r.Service.Hosts
		}
		matches := r.Matches
		if len(matches) == 0 {
			matches = []snapshot.Match{{PathType: 99}}
		}
		for _, host := range orEvery(hosts) {
			specific := naiveHost(host, string(x.Request.Host))
			if specific == 0 {
				continue
			}
			for _, m := range matches {
				k, n := naivePath(m, string(x.Request.Path))
				if k == 0 || !naiveConditions(m, x) {
					continue
				}
				method := 0
				if len(m.Methods) > 0 {
					method = 1
				}
				now := rank{specific, k, n, method, len(m.Headers), len(m.Query), -order - 1}
				if best.less(now) {
					best, route = now, r
					prefixLen = n
				}
			}
		}
	}
	// The most specific host says whose health is asked.
	var health *snapshot.Service
	mostSpecific := 0
	claim := func(hosts []string, s *snapshot.Service) {
		for _, host := range orEvery(hosts) {
			switch specific := naiveHost(host, string(x.Request.Host)); {
			case specific == 0 || specific < mostSpecific:
			case specific > mostSpecific:
				mostSpecific, health = specific, nil
				want.Service = &Service{Snapshot: s}
				fallthrough
			default:
				if health == nil && s.HealthPath == string(x.Request.Path) {
					health = s
				}
			}
		}
	}
	for _, s := range l.Services {
		claim(s.Hosts, s)
	}
	for _, r := range l.Routes {
		if len(r.Hosts) > 0 {
			claim(r.Hosts, r.Service)
		}
	}
	if m := x.Request.Method; health != nil && (m == exchange.GET || m == exchange.HEAD) && (best[0] < mostSpecific || best[1] != exactRank) {
		return Result{Service: &Service{Snapshot: health}, Health: true}, 0
	}
	if route == nil {
		return want, 0
	}
	return Result{Route: &Route{Snapshot: route}, Service: &Service{Snapshot: route.Service}}, prefixLen
}

// A rank compares by its first number that differs; more is better. All are 0 for no match.
type rank [7]int

func (a rank) less(b rank) bool {
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}

func orEvery(hosts []string) []string {
	if len(hosts) == 0 {
		return []string{"*"}
	}
	return hosts
}

// naiveHost returns how specific a match is: 1 for every host, then the length of a wildcard, then a name.
func naiveHost(pattern, authority string) int {
	name := strings.ToLower(authority)
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, ']') {
		name = name[:i]
	}
	name = strings.TrimSuffix(name, ".")
	pattern = strings.TrimSuffix(strings.ToLower(pattern), ".")
	switch {
	case pattern == "*":
		return 1
	case len(name) > 256: // no name is that long
		return 0
	case pattern == name:
		return 1000
	case strings.HasPrefix(pattern, "*.") && strings.HasSuffix(name, pattern[1:]) && len(name) > len(pattern)-1:
		return len(pattern)
	}
	return 0
}

const exactRank = 4

func naivePath(m snapshot.Match, path string) (class, n int) {
	switch m.PathType {
	case 99:
		return 1, 0
	case snapshot.PathRegex:
		if regexp.MustCompile(m.Path).MatchString(path) {
			return 2, 0
		}
	case snapshot.PathExact:
		if m.Path == path {
			return exactRank, len(path)
		}
	case snapshot.PathPrefix:
		prefix := strings.TrimSuffix(m.Path, "/")
		if prefix == "" || path == prefix || strings.HasPrefix(path, prefix+"/") {
			return 3, len(prefix)
		}
	}
	return 0, 0
}

func naiveConditions(m snapshot.Match, x *exchange.Exchange) bool {
	if len(m.Methods) > 0 && !strings.Contains(" "+strings.Join(m.Methods, " ")+" ", " "+string(x.Request.MethodName)+" ") {
		return false
	}
	compare := func(c snapshot.ValueMatch, value string) bool {
		if c.Regex {
			return regexp.MustCompile(c.Value).MatchString(value)
		}
		return c.Value == value
	}
	for _, c := range m.Headers {
		found := false
		for i := range x.Request.Header.Len() {
			if _, name, value, ok := x.Request.Header.At(i); ok && strings.EqualFold(string(name), c.Name) && compare(c, string(value)) {
				found = true
			}
		}
		if !found {
			return false
		}
	}
	query, err := url.ParseQuery(string(x.Request.Query))
	if err != nil {
		panic(err) // the tests make no such queries
	}
	for _, c := range m.Query {
		if !query.Has(c.Name) || !compare(c, query.Get(c.Name)) {
			return false
		}
	}
	return true
}

// A maker draws tables and requests from few words, so that they meet.
type maker struct{ *rand.Rand }

func (m maker) pick(words ...string) string { return words[m.IntN(len(words))] }

func (m maker) some(words ...string) []string {
	var out []string
	for _, w := range words {
		if m.IntN(len(words)) == 0 {
			out = append(out, w)
		}
	}
	return out
}

func (m maker) path() string {
	path := ""
	for range m.IntN(4) {
		path += "/" + m.pick("a", "b", "ab")
	}
	if path == "" || m.IntN(4) == 0 {
		path += "/"
	}
	return path
}

func (m maker) values(names ...string) []snapshot.ValueMatch {
	var out []snapshot.ValueMatch
	for _, name := range m.some(names...) {
		if m.IntN(3) == 0 {
			out = append(out, snapshot.ValueMatch{Name: name, Value: m.pick("^1", "2$", "^$", "."), Regex: true})
		} else {
			out = append(out, snapshot.ValueMatch{Name: name, Value: m.pick("1", "2", "a b", "")})
		}
	}
	return out
}

var hostWords = []string{"a.example.com", "B.a.example.com", "*.example.com", "*.a.example.com", "example.com.", "*.com", "10.0.0.1", "[::1]", "*"}

func (m maker) listener() *snapshot.Listener {
	l := &snapshot.Listener{Address: "127.0.0.1:0"}
	for i := range 1 + m.IntN(3) {
		s := &snapshot.Service{Namespace: "n", Name: fmt.Sprint("s", i), Hosts: m.some(hostWords...)}
		if m.IntN(2) == 0 {
			s.HealthPath = m.pick("/a", "/b")
		}
		l.Services = append(l.Services, s)
	}
	for i := range m.IntN(12) {
		r := &snapshot.Route{Service: l.Services[m.IntN(len(l.Services))], Name: fmt.Sprint("r", i), Hosts: m.some(hostWords...)}
		for range m.IntN(3) {
			match := snapshot.Match{Headers: m.values("X-One", "Cookie"), Query: m.values("q", "r s"), Methods: m.some("GET", "POST", "PURGE")}
			switch match.PathType = snapshot.PathType(m.IntN(3)); match.PathType {
			case snapshot.PathRegex:
				match.Path = m.pick("^/a", "b$", "/ab/", "^/$")
			case snapshot.PathPrefix:
				if m.IntN(4) > 0 {
					match.Path = m.path()
				}
			default:
				match.Path = m.path()
			}
			r.Matches = append(r.Matches, match)
		}
		l.Routes = append(l.Routes, r)
	}
	return l
}

func (m maker) request() *exchange.Exchange {
	x := &exchange.Exchange{Conn: &exchange.Conn{}}
	q := &x.Request
	q.MethodName = []byte(m.pick("GET", "HEAD", "POST", "PURGE", "purge"))
	q.Method = exchange.ParseMethod(q.MethodName)
	q.Host = []byte(m.pick("a.example.com", "A.EXAMPLE.COM:80", "b.a.example.com.", "c.b.a.example.com", "x.example.com.:1", "example.com",
		"com", ".com", ".example.com", "10.0.0.1:8080", "[::1]:80", "[::1]", "other", "", strings.Repeat("a", 300)+".example.com"))
	q.Path = []byte(m.path())
	if m.IntN(20) == 0 {
		q.Path = []byte("*")
	}
	for range m.IntN(3) {
		q.Header.Add(m.pick("x-one", "X-ONE", "cookie", "X-Two"), m.pick("1", "2", "12", ""))
	}
	var query []string
	for range m.IntN(3) {
		query = append(query, m.pick("q", "r+s", "r%20s", "%71", "z")+m.pick("=1", "=2", "=%31", "=a+b", "=a%20b", "=", "", "=12"))
	}
	q.Query = []byte(strings.Join(query, "&"))
	return x
}

func table(t testing.TB, l *snapshot.Listener) *Table {
	t.Helper()
	in := Listener{Snapshot: l}
	for _, r := range l.Routes {
		in.Routes = append(in.Routes, &Route{Snapshot: r})
	}
	compiled, err := Compile([]Listener{in})
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// compare looks one request up in both ways.
func compare(t *testing.T, l *snapshot.Listener, compiled *Table, x *exchange.Exchange) Result {
	t.Helper()
	want, prefixLen := naive(l, x)
	x.PrefixLen = -1
	got := compiled.Lookup(x)
	if describe(got) != describe(want) || x.PrefixLen != prefixLen {
		t.Errorf("%s %s %s?%s: got %s and prefix %d, want %s and %d", x.Request.MethodName, x.Request.Host, x.Request.Path,
			x.Request.Query, describe(got), x.PrefixLen, describe(want), prefixLen)
		for _, r := range l.Routes {
			t.Errorf("route %s of %s: hosts %q of %q, matches %+v", r.Name, r.Service.Name, r.Hosts, r.Service.Hosts, r.Matches)
		}
		t.FailNow()
	}
	return got
}

func describe(r Result) string {
	out := "nothing"
	if r.Service != nil {
		out = "service " + r.Service.Snapshot.Name
	}
	if r.Route != nil {
		out += " route " + r.Route.Snapshot.Name
	}
	if r.Health {
		out += " health"
	}
	return out
}

func TestLookupLikeNaive(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	m := maker{rand.New(rand.NewPCG(seed, 0))}
	var routes, healths, empty int
	for range 300 {
		l := m.listener()
		compiled := table(t, l)
		for range 50 {
			switch got := compare(t, l, compiled, m.request()); {
			case got.Health:
				healths++
			case got.Route != nil:
				routes++
			default:
				empty++
			}
		}
	}
	if routes < 1000 || healths < 100 || empty < 100 {
		t.Errorf("the tables are no test: %d routes, %d of health, %d without a route", routes, healths, empty)
	}
}

func FuzzLookup(f *testing.F) {
	f.Add(uint64(1), uint64(2), []byte("a.example.com:80"), []byte("/a/b"), []byte("q=1&r+s=2"))
	f.Add(uint64(3), uint64(4), []byte("[::1]"), []byte("/"), []byte("%71=%31"))
	f.Add(uint64(5), uint64(6), []byte("B.A.example.com."), []byte("//a/%2e"), []byte("%zz"))
	f.Fuzz(func(t *testing.T, a, b uint64, host, raw, query []byte) {
		m := maker{rand.New(rand.NewPCG(a, b))}
		l := m.listener()
		compiled := table(t, l)
		x := m.request()
		x.Request.Host, x.Request.RawPath, x.Request.Query = host, raw, query
		if !x.NormalizePath() {
			return
		}
		if name, _ := exchange.SplitPort(host); !exchange.ValidHost(name) {
			compiled.Lookup(x) // an engine lets none through; no panic all the same
			return
		}
		if _, err := url.ParseQuery(string(query)); err != nil {
			compiled.Lookup(x) // net/url drops what it cannot read
			return
		}
		compare(t, l, compiled, x)
	})
}
