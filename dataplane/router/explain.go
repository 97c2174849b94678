package router

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// An Explanation says which route takes a request, and why each of the others does not.
type Explanation struct {
	Result     Result
	Host       string          // under which the route was found: a name, "*.name", or "*"
	Match      *snapshot.Match // that the request fulfils; nil: every request does
	Candidates []Candidate     // the routes of the listener, in the order in which they are tried
}

// A Candidate is a route of the listener that was asked.
type Candidate struct {
	Route *snapshot.Route
	Won   bool
	// Why says in a few words what the request lacks, or what comes first. Values of header fields and query parameters are
	// not in it: they may be secrets. Empty for the route that takes the request.
	Why string
}

// The conditions of a match, in the order in which they are looked at.
const (
	failsHost = iota
	failsPath
	failsMethod
	failsHeader
	failsQuery
	failsNone
)

// Explain looks a request up as Lookup does, and says why. It is slow, and for people.
func (t *Table) Explain(x *exchange.Exchange) Explanation {
	e := Explanation{Result: t.Lookup(x)}
	slot := x.Conn.Listener
	if slot < 0 || slot >= len(t.listeners) || t.listeners[slot] == nil {
		return e
	}
	var buf [hostBuffer]byte
	name := canonicalHost(&buf, x.Request.Host)
	var winner *rule
	found := map[*Route]*verdict{}
	var order []*Route
	for _, h := range t.listeners[slot].all() {
		taken := h.takes(name)
		for _, rules := range h.paths.inOrder() {
			for _, r := range rules {
				stage, why := failsHost, h.name
				if taken {
					stage, why = r.explain(x)
				}
				if stage == failsNone && winner == nil && r.route == e.Result.Route {
					winner, e.Host, e.Match = r, h.name, r.match
				}
				v := found[r.route]
				if v == nil {
					v = &verdict{rule: r, host: h, stage: stage}
					found[r.route] = v
					order = append(order, r.route)
				}
				v.add(r, h, stage, why)
			}
		}
	}
	for _, route := range order {
		c := Candidate{Route: route.Snapshot, Won: winner != nil && route == winner.route}
		if !c.Won {
			c.Why = found[route].text(&e, winner)
		}
		e.Candidates = append(e.Candidates, c)
	}
	return e
}

// A verdict is how far a request came with a route: the best of its matches counts.
type verdict struct {
	rule  *rule
	host  *host
	stage int
	whys  []string // of all matches that came so far
}

func (v *verdict) add(r *rule, h *host, stage int, why string) {
	if stage < v.stage {
		return
	}
	if stage > v.stage {
		v.rule, v.host, v.stage, v.whys = r, h, stage, nil
	}
	if !slices.Contains(v.whys, why) {
		v.whys = append(v.whys, why)
	}
}

// text says why the route did not win.
func (v *verdict) text(e *Explanation, winner *rule) string {
	whys := v.whys
	const most = 3
	if n := len(whys) - most; n > 0 {
		whys = append(slices.Clone(whys[:most]), fmt.Sprintf("%d more", n))
	}
	switch {
	case v.stage == failsHost:
		return "the host is not " + strings.Join(whys, ", ")
	case v.stage < failsNone:
		return strings.Join(whys, "; ")
	case winner != nil:
		return "takes the request too, but " + strings.TrimPrefix(winner.route.Snapshot.ID(), "/") + " comes first: " + winner.ahead(e.Host, v.rule, v.host.name)
	}
	return "takes the request too, but it asks for the health path"
}

// ahead says what puts the rule, found under one host, before another, under another.
func (r *rule) ahead(host string, other *rule, under string) string {
	kinds := [...]string{kindExact: "an exact path", kindPrefix: "a prefix", kindRegex: "a regular expression", kindAnything: "no path at all"}
	conditions := func(n int, what string) string {
		if n == 1 {
			return "1 " + what
		}
		return fmt.Sprintf("%d %ss", n, what)
	}
	switch {
	case host != under:
		return fmt.Sprintf("its host %s is more specific than %s", host, under)
	case r.kind != other.kind:
		return fmt.Sprintf("%s goes before %s", kinds[r.kind], kinds[other.kind])
	case len(r.path) != len(other.path):
		return fmt.Sprintf("its path %s is longer than %s", orRoot(r.path), orRoot(other.path))
	case r.hasMethod() != other.hasMethod():
		return "it names methods"
	case len(r.headers) != len(other.headers):
		return "it asks for " + conditions(len(r.headers), "header") + ", not " + fmt.Sprint(len(other.headers))
	case len(r.query) != len(other.query):
		return "it asks for " + conditions(len(r.query), "query parameter") + ", not " + fmt.Sprint(len(other.query))
	}
	return "of equal ones the first"
}

func orRoot(path string) string {
	if path == "" {
		return "/"
	}
	return path
}

// takes reports whether requests for a name, in its canonical form, are looked for under the host.
func (h *host) takes(name []byte) bool {
	if h.name == "*" {
		return true
	}
	if suffix, wild := strings.CutPrefix(h.name, "*"); wild {
		return len(name) > len(suffix) && bytes.HasSuffix(name, []byte(suffix))
	}
	return string(name) == h.name
}

// explain says which condition of the rule fails first, in words.
func (r *rule) explain(x *exchange.Exchange) (stage int, why string) {
	path := x.Request.Path
	switch r.kind {
	case kindExact:
		if string(path) != r.path {
			return failsPath, "the path is not " + r.path
		}
	case kindPrefix:
		if rest, ok := bytes.CutPrefix(path, []byte(r.path)); r.path != "" && (!ok || len(rest) > 0 && rest[0] != '/') {
			return failsPath, "the path is not " + r.path + " or below it"
		}
	case kindRegex:
		if !r.regex.Match(path) {
			return failsPath, "the path does not match " + r.regex.String()
		}
	}
	if r.hasMethod() != 0 && !r.takesMethod(&x.Request) {
		return failsMethod, "the method is not " + strings.Join(r.match.Methods, " or ")
	}
	for i := range r.headers {
		if h := &r.headers[i]; !h.holds(&x.Request) {
			if _, there := x.Request.Header.Get(h.name); !there && h.id != exchange.Host {
				return failsHeader, "there is no header " + h.name
			}
			return failsHeader, "the header " + h.name + " has another value"
		}
	}
	for i := range r.query {
		if q := &r.query[i]; !q.holds(x.Request.Query) {
			return failsQuery, "the query parameter " + q.name + " is missing or has another value"
		}
	}
	return failsNone, ""
}
