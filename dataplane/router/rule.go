package router

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

type kind uint8

const (
	kindExact kind = iota
	kindPrefix
	kindRegex
	kindAnything
)

// A rule is one match of a route, compiled.
type rule struct {
	route   *Route
	service *Service
	match   *snapshot.Match // nil: every request
	order   int             // of the route on its listener
	kind    kind
	plain   bool // the path says everything
	path    string
	regex   *regexp.Regexp

	methods      uint32   // a bit for each exchange.Method
	otherMethods []string // names that have none
	headers      []headerTest
	query        []queryTest
}

// newRules compiles the matches of a route.
func newRules(route *Route, service *Service, order int) ([]*rule, error) {
	if len(route.Snapshot.Matches) == 0 {
		return []*rule{{route: route, service: service, order: order, kind: kindAnything, plain: true}}, nil
	}
	var rules []*rule
	var problems []error
	for i := range route.Snapshot.Matches {
		r, err := newRule(&route.Snapshot.Matches[i], service.Snapshot.KeepSlashes)
		if err != nil {
			problems = append(problems, fmt.Errorf("match %d: %w", i, err))
			continue
		}
		r.route, r.service, r.order = route, service, order
		rules = append(rules, r)
	}
	return rules, errors.Join(problems...)
}

func newRule(m *snapshot.Match, keepSlashes bool) (*rule, error) {
	r := &rule{match: m}
	var err error
	switch {
	case m.PathType == snapshot.PathRegex:
		r.kind = kindRegex
		if r.regex, err = regexp.Compile(m.Path); err != nil {
			return nil, fmt.Errorf("path: %w", err)
		}
	case m.Path == "" && m.PathType == snapshot.PathPrefix:
		r.kind = kindPrefix
	default:
		if r.path, err = configuredPath(m.Path, keepSlashes); err != nil {
			return nil, fmt.Errorf("path: %w", err)
		}
		r.kind = kindExact
		if m.PathType == snapshot.PathPrefix {
			r.kind = kindPrefix
			if n := len(r.path); r.path[n-1] == '/' { // "/api/" and "/api" are the same prefix
				r.path = r.path[:n-1]
			}
		}
	}
	for _, name := range m.Methods {
		if method := exchange.ParseMethod(name); method != exchange.MethodOther {
			r.methods |= 1 << method
		} else {
			r.otherMethods = append(r.otherMethods, name)
		}
	}
	for _, h := range m.Headers {
		test, err := newTest(h)
		if err != nil {
			return nil, fmt.Errorf("header %q: %w", h.Name, err)
		}
		r.headers = append(r.headers, headerTest{test: test, name: h.Name, id: exchange.Lookup(h.Name)})
	}
	for _, q := range m.Query {
		test, err := newTest(q)
		if err != nil {
			return nil, fmt.Errorf("query parameter %q: %w", q.Name, err)
		}
		r.query = append(r.query, queryTest{test: test, name: q.Name})
	}
	r.plain = len(m.Methods)+len(m.Headers)+len(m.Query) == 0
	return r, nil
}

// compareRules orders the rules that match the path in the same way.
func compareRules(a, b *rule) int {
	return cmp.Or(
		cmp.Compare(b.hasMethod(), a.hasMethod()),
		cmp.Compare(len(b.headers), len(a.headers)),
		cmp.Compare(len(b.query), len(a.query)),
		cmp.Compare(a.order, b.order),
	)
}

func (r *rule) hasMethod() int {
	if r.methods != 0 || len(r.otherMethods) > 0 {
		return 1
	}
	return 0
}

// takes reports whether everything but the path matches.
func (r *rule) takes(x *exchange.Exchange) bool {
	if r.plain {
		return true
	}
	if r.hasMethod() != 0 && !r.takesMethod(&x.Request) {
		return false
	}
	for i := range r.headers {
		if !r.headers[i].holds(&x.Request) {
			return false
		}
	}
	for i := range r.query {
		if !r.query[i].holds(x.Request.Query) {
			return false
		}
	}
	return true
}

func (r *rule) takesMethod(q *exchange.Request) bool {
	if q.Method != exchange.MethodOther {
		return r.methods>>q.Method&1 != 0
	}
	return slices.ContainsFunc(r.otherMethods, func(name string) bool { return name == string(q.MethodName) })
}
