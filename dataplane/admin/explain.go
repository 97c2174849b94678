package admin

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/router"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream"
)

// A Question is a request that nobody sends: what would become of it?
type Question struct {
	Method   string
	URL      string   // http:// or https://, with a path
	Headers  []string // "Name: value"; Host stands in for the URL's
	Listener string   // an address or a port; empty: the URL's port says which
}

// The outcomes of a Question.
const (
	OutcomeRoute   = "route"   // Explanation.Route takes it
	OutcomeHealth  = "health"  // it asks for the service's health
	OutcomeNone    = "none"    // no route takes it: 404
	OutcomeRefused = "refused" // before a route is looked for; Notes say why
)

// An Explanation says what would become of a request.
type Explanation struct {
	Method     string             `json:"method"`
	URL        string             `json:"url"`
	Path       string             `json:"path,omitempty"` // in its normal form
	Listener   string             `json:"listener"`
	TLS        bool               `json:"tls,omitempty"` // the listener speaks it
	Outcome    string             `json:"outcome"`
	Service    string             `json:"service,omitempty"` // the one that the host belongs to
	Host       string             `json:"host,omitempty"`    // under which the route was found
	Match      *Match             `json:"match,omitempty"`   // that the request fulfils
	Route      *Route             `json:"route,omitempty"`
	Clusters   []ExplainedCluster `json:"clusters,omitempty"`
	Candidates []Candidate        `json:"candidates"` // the listener's routes, in the order in which they are tried
	Notes      []string           `json:"notes,omitempty"`
}

// A Candidate is a route that was asked.
type Candidate struct {
	Route string `json:"route"`
	Won   bool   `json:"won"`
	Why   string `json:"why,omitempty"` // it did not win
}

// An ExplainedCluster is where a route's requests may go.
type ExplainedCluster struct {
	ID        string              `json:"id"`
	Weight    uint32              `json:"weight"`
	Backup    bool                `json:"backup,omitempty"`
	Override  string              `json:"override,omitempty"` // what sends a request here whatever the weights
	Algorithm string              `json:"algorithm,omitempty"`
	DNS       string              `json:"dns,omitempty"`
	Origin    string              `json:"origin,omitempty"` // the Kubernetes Service that the endpoints are those of
	Endpoints []ExplainedEndpoint `json:"endpoints"`
}

// An ExplainedEndpoint is one address of a cluster. Its health is there where a running proxy was asked.
type ExplainedEndpoint struct {
	Address      string     `json:"address"`
	Weight       uint32     `json:"weight"`
	Serving      *bool      `json:"serving,omitempty"`
	EjectedUntil *time.Time `json:"ejected_until,omitempty"`
	LastError    string     `json:"last_error,omitempty"`
}

// Explain answers a Question from a snapshot. clusters is the live state of its clusters, nil where none lives; bound gives
// the address that a configured one is bound to, nil where none is. An error says what is wrong with the question.
func Explain(s *snapshot.Snapshot, clusters []upstream.ClusterStatus, bound func(string) string, q Question) (*Explanation, error) {
	r, err := readURL(q)
	if err != nil {
		return nil, err
	}
	l, notes, err := chooseListener(s, bound, q.Listener, r)
	if err != nil {
		return nil, err
	}
	e := &Explanation{
		Method: r.method, URL: q.URL, Listener: l.Address, TLS: l.TLS, Outcome: OutcomeRefused, Notes: notes, Candidates: []Candidate{},
	}
	note := func(format string, args ...any) { e.Notes = append(e.Notes, fmt.Sprintf(format, args...)) }
	x, err := r.exchange(q.Headers)
	switch {
	case err != nil:
		return nil, err
	case len(l.Streams) > 0:
		note("the listener passes bytes on and knows no requests")
		return e, nil
	case x.Request.Method == exchange.CONNECT || x.Request.Method == exchange.TRACE:
		note("%s is refused", r.method)
		return e, nil
	}
	in := router.Listener{Snapshot: l}
	for _, route := range l.Routes {
		in.Routes = append(in.Routes, &router.Route{Snapshot: route})
	}
	table, err := router.Compile([]router.Listener{in})
	if err != nil {
		return nil, err
	}
	x.Request.KeepSlashes = table.KeepsSlashes(x.Conn.Listener, x.Request.Host)
	if !x.NormalizePath() {
		note("the path is refused with 400: it is no path, or an endpoint could read another one in it")
		return e, nil
	}
	e.Path = string(x.Request.Path)
	found := table.Explain(x)
	if service := found.Result.Service; service != nil {
		e.Service = path.Join(service.Snapshot.Namespace, service.Snapshot.Name)
	}
	for _, c := range found.Candidates {
		e.Candidates = append(e.Candidates, Candidate{Route: routeName(c.Route), Won: c.Won, Why: c.Why})
	}
	switch {
	case found.Result.Health:
		e.Outcome = OutcomeHealth
	case found.Result.Route == nil:
		e.Outcome = OutcomeNone
	default:
		won := found.Result.Route.Snapshot
		route := describeRoute(l, won)
		e.Outcome, e.Host, e.Route = OutcomeRoute, found.Host, &route
		if found.Match != nil {
			m := describeMatch(found.Match)
			e.Match = &m
		}
		for _, c := range won.Clusters {
			e.Clusters = append(e.Clusters, explainCluster(s, clusters, c))
		}
		if won.Invalid != "" {
			note("the route could not be built and answers 503: %s", won.Invalid)
		}
	}
	return e, nil
}

func routeName(r *snapshot.Route) string {
	return path.Join(r.Service.Namespace, r.Service.Name, r.Name)
}

func explainCluster(s *snapshot.Snapshot, live []upstream.ClusterStatus, share snapshot.WeightedCluster) ExplainedCluster {
	c := ExplainedCluster{ID: share.Cluster, Weight: share.Weight, Backup: share.Backup, Endpoints: []ExplainedEndpoint{}}
	switch o := share.Override; {
	case o.Header != "":
		c.Override = "header " + o.Header
	case o.Cookie != "":
		c.Override = "cookie " + o.Cookie
	}
	for _, plain := range s.Clusters {
		if plain.ID != share.Cluster {
			continue
		}
		view := describeCluster(plain)
		c.Algorithm, c.DNS = view.Algorithm, view.DNS
		if o := plain.Origin; o != nil {
			c.Origin = fmt.Sprintf("%s/%s, port %s", o.Namespace, o.Name, cmp.Or(o.Port, "(the only one)"))
		}
		if live == nil {
			for _, e := range plain.Endpoints {
				c.Endpoints = append(c.Endpoints, ExplainedEndpoint{Address: e.Addr.String(), Weight: e.Weight})
			}
		}
	}
	for _, status := range live {
		if status.ID != share.Cluster {
			continue
		}
		for _, e := range DescribeEndpoints([]upstream.ClusterStatus{status}) {
			c.Endpoints = append(c.Endpoints, ExplainedEndpoint{
				Address: e.Address, Weight: e.Weight, Serving: &e.Serving, EjectedUntil: e.EjectedUntil, LastError: e.LastError,
			})
		}
	}
	return c
}

// An asked request in its parts.
type asked struct {
	method, scheme, authority, path, query string
	hasQuery                               bool
}

// readURL takes a URL apart without making anything else of its path than what stands there.
func readURL(q Question) (asked, error) {
	r := asked{method: q.Method}
	if r.method == "" || !token(r.method) {
		return r, fmt.Errorf("%q is no method", r.method)
	}
	scheme, rest, ok := strings.Cut(q.URL, "://")
	r.scheme = strings.ToLower(scheme)
	if !ok || r.scheme != "http" && r.scheme != "https" {
		return r, fmt.Errorf("%q: must be a URL such as https://shop.example.com/path", q.URL)
	}
	rest, _, _ = strings.Cut(rest, "#")
	rest, r.query, r.hasQuery = strings.Cut(rest, "?")
	end := strings.IndexByte(rest, '/')
	if end < 0 {
		end = len(rest)
	}
	r.authority, r.path = rest[:end], cmp.Or(rest[end:], "/")
	if name, _ := exchange.SplitPort(r.authority); !exchange.ValidHost(name) || strings.ContainsRune(r.authority, '@') {
		return r, errors.New("what the URL has between // and the path is no host with or without a port")
	}
	return r, nil
}

// exchange makes the request that an engine would make of it.
func (r asked) exchange(headers []string) (*exchange.Exchange, error) {
	x := &exchange.Exchange{Conn: &exchange.Conn{Secure: r.scheme == "https"}}
	q := &x.Request
	q.MethodName, q.Method = []byte(r.method), exchange.ParseMethod(r.method)
	q.Host, q.RawPath, q.Query, q.HasQuery = []byte(r.authority), []byte(r.path), []byte(r.query), r.hasQuery
	for _, line := range headers {
		name, value, ok := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		control := func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }
		switch { // what is wrong is not repeated: it may be a secret
		case !ok || !token(name):
			return nil, errors.New("a header must be like 'Name: value'")
		case strings.ContainsFunc(value, control):
			return nil, fmt.Errorf("header %s: the value has control characters", name)
		}
		if strings.EqualFold(name, "Host") {
			if host, _ := exchange.SplitPort(value); !exchange.ValidHost(host) {
				return nil, fmt.Errorf("header Host: %q is no host", value)
			}
			q.Host = []byte(value)
			continue
		}
		q.Header.Add(name, value)
	}
	return x, nil
}

// token reports whether a text may be a method or the name of a field (RFC 9110 §5.6.2).
func token(s string) bool {
	return s != "" && len(s) <= 256 && !strings.ContainsFunc(s, func(c rune) bool {
		return c <= ' ' || c >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
	})
}

// chooseListener finds the listener that a request would come to.
func chooseListener(s *snapshot.Snapshot, bound func(string) string, wanted string, r asked) (*snapshot.Listener, []string, error) {
	var all []string
	for _, l := range s.Listeners {
		all = append(all, l.Address)
	}
	fail := func(what string) error {
		return fmt.Errorf("%s; there are: %s", what, strings.Join(all, ", "))
	}
	if len(all) == 0 {
		return nil, nil, errors.New("there is no listener")
	}
	among := s.Listeners
	var notes []string
	name, port := exchange.SplitPort(r.authority)
	if wanted != "" {
		among = filterListeners(among, func(l *snapshot.Listener) bool {
			_, port := ends(l, bound)
			return wanted == l.Address || bound != nil && wanted == bound(l.Address) || strings.TrimPrefix(wanted, ":") == port
		})
		if len(among) != 1 {
			return nil, nil, fail(fmt.Sprintf("%d listeners are %s", len(among), wanted))
		}
	} else {
		secure := r.scheme == "https"
		usual := cmp.Or(port, map[bool]string{false: "80", true: "443"}[secure])
		at := filterListeners(among, func(l *snapshot.Listener) bool { _, own := ends(l, bound); return own == usual })
		if len(at) > 1 { // the same port of several addresses: the one that the URL names, else the one for all
			exact := filterListeners(at, func(l *snapshot.Listener) bool { host, _ := ends(l, bound); return host == strings.Trim(name, "[]") })
			everywhere := filterListeners(at, func(l *snapshot.Listener) bool {
				host, _ := ends(l, bound)
				ip, err := netip.ParseAddr(host)
				return err == nil && ip.IsUnspecified()
			})
			at = slices.Concat(exact, everywhere)
			if len(exact) == 0 && len(everywhere) != 1 {
				return nil, nil, fail("several listeners have port " + usual + ": say which one")
			}
		}
		switch {
		case len(at) > 0:
			among = at[:1]
		case port != "":
			return nil, nil, fail("no listener has port " + port + ": say which one")
		default: // something in front of the proxy has the usual port
			like := filterListeners(among, func(l *snapshot.Listener) bool { return l.TLS == secure && len(l.Streams) == 0 })
			switch {
			case len(like) == 1:
				among = like
			case len(among) != 1:
				return nil, nil, fail("no listener has port " + usual + ": say which one")
			}
			notes = append(notes, "no listener has port "+usual+"; taken is the only one that fits")
		}
	}
	if l := among[0]; l.TLS != (r.scheme == "https") && len(l.Streams) == 0 {
		speaks := map[bool]string{false: "plain HTTP", true: "TLS"}[l.TLS]
		notes = append(notes, "the listener speaks "+speaks+", and the URL says "+r.scheme)
	}
	return among[0], notes, nil
}

func filterListeners(all []*snapshot.Listener, keep func(*snapshot.Listener) bool) (out []*snapshot.Listener) {
	for _, l := range all {
		if keep(l) {
			out = append(out, l)
		}
	}
	return out
}

// ends returns the address and the port of a listener, which the kernel may have chosen.
func ends(l *snapshot.Listener, bound func(string) string) (host, port string) {
	host, port, _ = net.SplitHostPort(l.Address)
	if port == "0" && bound != nil {
		if _, chosen, err := net.SplitHostPort(bound(l.Address)); err == nil {
			port = chosen
		}
	}
	return host, port
}
