package admin

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream"
)

func TestExplain(t *testing.T) {
	s, clusters := world()
	shop := s.Listeners[1]
	shop.Routes[0].Clusters[0].Override = snapshot.Override{Header: "X-Canary", Value: "canary"}
	bound := func(address string) string { return strings.Replace(address, ":0", ":40000", 1) }
	e, err := Explain(s, nil, bound, Question{
		Method: "GET", URL: "http://shop.example:40000/%78?token=canary", Headers: []string{"x-api-key:canary"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if e.Outcome != OutcomeRoute || e.Route.Name != "web" || e.Path != "/x" || e.Host != "shop.example" || e.Listener != "0.0.0.0:0" || e.Service != "ns/shop" {
		t.Errorf("%+v", e)
	}
	if e.Match == nil || e.Match.PathType != "Exact" || !cmp.Equal(e.Route.Filters, []string{"admin", "admin"}) {
		t.Errorf("%+v", e)
	}
	if diff := cmp.Diff([]Candidate{{"ns/shop/web", true, ""}, {"ns/shop/api", false, "the host is not api.example"}}, e.Candidates); diff != "" {
		t.Error(diff)
	}
	if c := e.Clusters; len(c) != 2 || c[0].Weight != 3 || c[0].Override != "header X-Canary" || len(c[0].Endpoints) != 1 ||
		c[0].Endpoints[0].Serving != nil || !c[1].Backup || c[1].DNS != "db.example:80" {
		t.Errorf("%+v", c)
	}
	// The values are good for one match, and without them the other takes the request.
	e, err = Explain(s, clusters, bound, Question{Method: "POST", URL: "http://shop.example:40000/x#part", Headers: []string{"Host: shop.example."}})
	if err != nil || e.Outcome != OutcomeRoute || e.Match.Path != "/" {
		t.Fatalf("%+v %v", e, err)
	}
	if endpoints := e.Clusters[0].Endpoints; len(endpoints) == 0 || endpoints[0].Serving == nil {
		t.Errorf("the health of live endpoints is not there: %+v", endpoints)
	}
	for _, c := range []struct{ method, url, outcome string }{
		{"GET", "http://shop.example:40000/health", OutcomeHealth},
		{"GET", "http://nobody:40000/", OutcomeNone},
		{"GET", "http://shop.example:40000/..", OutcomeRefused},
		{"CONNECT", "http://shop.example:40000/", OutcomeRefused},
		{"TRACE", "http://shop.example:40000/", OutcomeRefused},
		{"PURGE", "http://api.example:40000", OutcomeRoute},
	} {
		e, err := Explain(s, nil, bound, Question{Method: c.method, URL: c.url})
		if err != nil || e.Outcome != c.outcome || e.Outcome == OutcomeRefused && len(e.Notes) == 0 {
			t.Errorf("%s %s: %+v %v, want %s", c.method, c.url, e, err, c.outcome)
		}
	}
	e, err = Explain(s, []upstream.ClusterStatus{}, nil, Question{Method: "GET", URL: "http://x:6189/"})
	if err != nil || e.Route.Name != "main" || len(e.Notes) != 1 || !strings.Contains(e.Notes[0], "503: no regex") {
		t.Errorf("%+v %v", e, err)
	}
}

func TestExplainRefusesQuestions(t *testing.T) {
	s, _ := world()
	for _, c := range []struct {
		q    Question
		want string
	}{
		{Question{URL: "http://a/"}, "is no method"},
		{Question{Method: "G T", URL: "http://a/"}, "is no method"},
		{Question{Method: "GET", URL: "/path"}, "must be a URL"},
		{Question{Method: "GET", URL: "ftp://a/"}, "must be a URL"},
		{Question{Method: "GET", URL: "http://"}, "is no host with"},
		{Question{Method: "GET", URL: "http://user:letmein@a:6189/"}, "is no host with"},
		{Question{Method: "GET", URL: "http://a:6189/", Headers: []string{"no colon letmein"}}, "must be like 'Name: value'"},
		{Question{Method: "GET", URL: "http://a:6189/", Headers: []string{"A: letmein\r\nB: 1"}}, "header A: the value has control"},
		{Question{Method: "GET", URL: "http://a:6189/", Headers: []string{"Host: a b"}}, "is no host"},
		{Question{Method: "GET", URL: "http://a:1/"}, "no listener has port 1: say which one; there are: 0.0.0.0:6189, 0.0.0.0:0"},
		{Question{Method: "GET", URL: "http://a/", Listener: ":1"}, "0 listeners are :1"},
		{Question{Method: "GET", URL: "http://a/"}, "no listener has port 80"},
	} {
		q := c.q
		e, err := Explain(s, nil, nil, q)
		if q.Method == "" {
			q.Method = "(none)"
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %+v %v", q, e, err)
		} else if strings.Contains(err.Error(), "letmein") {
			t.Errorf("%+v: the error tells a value: %v", q, err)
		}
	}
	if _, err := Explain(&snapshot.Snapshot{}, nil, nil, Question{Method: "GET", URL: "http://a/"}); err == nil {
		t.Error("there is no listener")
	}
}

func TestExplainChoosesListeners(t *testing.T) {
	l := func(address string, secure bool) *snapshot.Listener {
		s := &snapshot.Service{Name: "s"}
		return &snapshot.Listener{Address: address, TLS: secure, Services: []*snapshot.Service{s}, Routes: []*snapshot.Route{{Service: s, Name: "r"}}}
	}
	stream := &snapshot.Listener{Address: "0.0.0.0:5432", Streams: []*snapshot.Stream{{Name: "db", Clusters: []snapshot.WeightedCluster{{Cluster: "c"}}}}}
	s := &snapshot.Snapshot{Clusters: []*snapshot.Cluster{{ID: "c", Endpoints: []snapshot.Endpoint{{Addr: netip.MustParseAddrPort("192.0.2.1:1")}}}}}
	for _, c := range []struct {
		listeners []*snapshot.Listener
		url, ask  string
		want      string
		notes     int
	}{
		{[]*snapshot.Listener{l("0.0.0.0:80", false), l("0.0.0.0:443", true)}, "http://a/", "", "0.0.0.0:80", 0},
		{[]*snapshot.Listener{l("0.0.0.0:80", false), l("0.0.0.0:443", true)}, "https://a/", "", "0.0.0.0:443", 0},
		{[]*snapshot.Listener{l("0.0.0.0:80", false), l("0.0.0.0:443", true)}, "https://a:80/", "", "0.0.0.0:80", 1},
		{[]*snapshot.Listener{l("0.0.0.0:8080", false), l("0.0.0.0:8443", true)}, "https://a/", "", "0.0.0.0:8443", 1},
		{[]*snapshot.Listener{l("0.0.0.0:8080", false)}, "https://a/", "", "0.0.0.0:8080", 2},
		{[]*snapshot.Listener{l("10.0.0.1:80", false), l("10.0.0.2:80", false)}, "http://10.0.0.2/", "", "10.0.0.2:80", 0},
		{[]*snapshot.Listener{l("10.0.0.1:80", false), l("0.0.0.0:80", false)}, "http://a/", "", "0.0.0.0:80", 0},
		{[]*snapshot.Listener{l("10.0.0.1:80", false), l("10.0.0.2:80", false)}, "http://a/", "", "", 0},
		{[]*snapshot.Listener{l("10.0.0.1:80", false), l("10.0.0.2:80", false)}, "http://a/", "10.0.0.1:80", "10.0.0.1:80", 0},
		{[]*snapshot.Listener{l("10.0.0.1:80", false), l("10.0.0.2:80", false)}, "http://a/", "80", "", 0},
		{[]*snapshot.Listener{l("10.0.0.1:80", false), l("10.0.0.2:81", false)}, "https://a/", "81", "10.0.0.2:81", 1},
		{[]*snapshot.Listener{stream, l("10.0.0.1:80", false)}, "http://a/", "5432", "0.0.0.0:5432", 1},
	} {
		s.Listeners = c.listeners
		e, err := Explain(s, nil, nil, Question{Method: "GET", URL: c.url, Listener: c.ask})
		if c.want == "" {
			if err == nil {
				t.Errorf("%s %s: %+v", c.url, c.ask, e)
			}
			continue
		}
		if err != nil || e.Listener != c.want || len(e.Notes) != c.notes {
			t.Errorf("%s %s: %+v %v, want %s and %d notes", c.url, c.ask, e, err, c.want, c.notes)
		}
	}
}

func FuzzExplain(f *testing.F) {
	f.Add("GET", "http://shop.example:6189/x?a=b", "X: y")
	f.Add("POST", "https://[::1]:6189/%2e%2e/", "Host: a")
	f.Add("", "http://:1", ":")
	s, clusters := world()
	f.Fuzz(func(t *testing.T, method, url, header string) {
		e, err := Explain(s, clusters, nil, Question{Method: method, URL: url, Headers: []string{header}, Listener: "6189"})
		if (e == nil) == (err == nil) {
			t.Error(e, err)
		}
	})
}
