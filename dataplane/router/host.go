package router

import (
	"bytes"
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// A host is one name or wildcard of a listener, with the routes of all services under it.
type host struct {
	name    string              // as configured, in lower case; "*": every host
	service *Service            // the one it belongs to
	merges  bool                // a service under this host does not keep several slashes in a row
	health  map[string]*Service // by health path: of every service under this host, the first of each path
	paths   paths
}

// lookup writes down what the host says of the request and reports whether that is the end of the search.
func (h *host) lookup(x *exchange.Exchange, res *Result) bool {
	if res.Service == nil { // this is the most specific host
		res.Service = h.service
		if m := x.Request.Method; len(h.health) > 0 && (m == exchange.GET || m == exchange.HEAD) {
			if s := h.health[string(x.Request.Path)]; s != nil {
				if r := h.paths.matchExact(x); r != nil {
					res.Route, res.Service = r.route, r.service
				} else {
					res.Service, res.Health = s, true
				}
				return true
			}
		}
	}
	if r := h.paths.match(x); r != nil {
		res.Route, res.Service = r.route, r.service
		return true
	}
	return false
}

// belongsTo enters a service that has the host. The first is the one it belongs to.
func (h *host) belongsTo(s *Service) {
	if h.service == nil {
		h.service = s
	}
	h.merges = h.merges || !s.Snapshot.KeepSlashes
	if s.healthPath != "" && h.health[s.healthPath] == nil {
		if h.health == nil {
			h.health = map[string]*Service{}
		}
		h.health[s.healthPath] = s
	}
}

// paths holds the rules of a host by how they match the path.
type paths struct {
	exact    map[string][]*rule
	prefix   map[string][]*rule // without the slash at the end; "/" stands in root
	lengths  lengths            // of the keys of prefix
	longest  int                // of them
	root     []*rule            // "/" as a prefix
	regex    []*rule
	anything []*rule // no condition on the path at all
}

func (p *paths) add(r *rule) {
	switch {
	case r.kind == kindExact:
		if p.exact == nil {
			p.exact = map[string][]*rule{}
		}
		p.exact[r.path] = append(p.exact[r.path], r)
	case r.kind == kindPrefix && r.path == "":
		p.root = append(p.root, r)
	case r.kind == kindPrefix:
		if p.prefix == nil {
			p.prefix = map[string][]*rule{}
		}
		p.prefix[r.path] = append(p.prefix[r.path], r)
		p.lengths.set(len(r.path))
		p.longest = max(p.longest, len(r.path))
	case r.kind == kindRegex:
		p.regex = append(p.regex, r)
	default:
		p.anything = append(p.anything, r)
	}
}

// match returns the first rule that takes the request, the most specific first.
func (p *paths) match(x *exchange.Exchange) *rule {
	if r := p.matchExact(x); r != nil {
		return r
	}
	if len(p.prefix) > 0 {
		path := x.Request.Path
		// From the longest prefix that may be: what lies beyond it is never hashed, however deep a client's path is.
		n := len(path)
		if n > p.longest {
			n = bytes.LastIndexByte(path[:p.longest+1], '/')
		}
		for ; n > 0; n = bytes.LastIndexByte(path[:n], '/') {
			if !p.lengths.has(n) {
				continue
			}
			if r := first(p.prefix[string(path[:n])], x); r != nil {
				x.PrefixLen = n
				return r
			}
		}
	}
	if r := first(p.root, x); r != nil {
		return r
	}
	for _, r := range p.regex {
		if r.takes(x) && r.regex.Match(x.Request.Path) {
			return r
		}
	}
	return first(p.anything, x)
}

func (p *paths) matchExact(x *exchange.Exchange) *rule {
	if len(p.exact) == 0 {
		return nil
	}
	r := first(p.exact[string(x.Request.Path)], x)
	if r != nil {
		x.PrefixLen = len(x.Request.Path)
	}
	return r
}

func first(rules []*rule, x *exchange.Exchange) *rule {
	for _, r := range rules {
		if r.takes(x) {
			return r
		}
	}
	return nil
}

// sort puts the rules of the host into the order in which they are tried.
func (h *host) sort() {
	for rules := range h.paths.lists() {
		if len(rules) > 1 {
			slices.SortStableFunc(rules, compareRules)
		}
	}
}

// all lists the hosts, most specific first. Only people ask for it.
func (l *listener) all() []*host {
	var list []*host
	for _, table := range []map[string]*host{l.exact, l.wildcard} {
		hosts := slices.SortedFunc(maps.Values(table), func(a, b *host) int {
			return cmp.Or(len(b.name)-len(a.name), strings.Compare(a.name, b.name))
		})
		list = append(list, hosts...)
	}
	if l.any != nil {
		list = append(list, l.any)
	}
	return list
}

// lists calls yield with every list of rules, in no order.
func (p *paths) lists() iter.Seq[[]*rule] {
	return func(yield func([]*rule) bool) {
		for _, table := range []map[string][]*rule{p.exact, p.prefix} {
			for _, rules := range table {
				if !yield(rules) {
					return
				}
			}
		}
		for _, rules := range [][]*rule{p.root, p.regex, p.anything} {
			if !yield(rules) {
				return
			}
		}
	}
}

// inOrder returns the lists of rules, most specific first.
func (p *paths) inOrder() [][]*rule {
	var lists [][]*rule
	for _, table := range []map[string][]*rule{p.exact, p.prefix} {
		keys := make([]string, 0, len(table))
		for key := range table {
			keys = append(keys, key)
		}
		slices.SortFunc(keys, func(a, b string) int {
			if n := len(b) - len(a); n != 0 {
				return n
			}
			return strings.Compare(a, b)
		})
		for _, key := range keys {
			lists = append(lists, table[key])
		}
	}
	for _, rules := range [][]*rule{p.root, p.regex, p.anything} {
		if len(rules) > 0 {
			lists = append(lists, rules)
		}
	}
	return lists
}

// A Described is one match of one route under one host.
type Described struct {
	Address string // of the listener
	Host    string // a name, "*.name", or "*": every host
	Route   *Route
	Match   *snapshot.Match // nil: every request
}

// Routes lists the table, each listener's in the order in which its routes are tried.
func (t *Table) Routes() []Described {
	var all []Described
	for _, l := range t.listeners {
		if l == nil {
			continue
		}
		for _, h := range l.all() {
			for _, rules := range h.paths.inOrder() {
				for _, r := range rules {
					all = append(all, Described{Address: l.address, Host: h.name, Route: r.route, Match: r.match})
				}
			}
		}
	}
	return all
}
