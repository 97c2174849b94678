package router

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/group"
)

// A Route is a snapshot's route with its live parts.
type Route struct {
	Snapshot *snapshot.Route
	Filters  []filter.Filter
	Group    *group.Group // what it balances over; nil where it needs no endpoint
	Metrics  *telemetry.RouteMetrics
}

// A Service is a snapshot's service with its routes on the listener, in their order.
type Service struct {
	Snapshot *snapshot.Service
	Routes   []*Route

	healthPath string // normalised; empty: none
	clientAuth string // snapshot.ClientAuth.Digest
}

// A Listener is what Compile makes a part of the table of.
type Listener struct {
	Slot     int // exchange.Conn.Listener of its connections; stays the same for an address in every table
	Snapshot *snapshot.Listener
	Routes   []*Route // in the order of their owners' age: earlier wins a tie
}

// A Table finds routes. It is immutable and safe for concurrent use.
type Table struct {
	listeners []*listener // by slot; nil where none is
}

type listener struct {
	address  string
	first    *Service // the oldest; nil where there is none
	exact    map[string]*host
	wildcard map[string]*host // under what follows "*."
	lengths  lengths          // of the keys of wildcard
	any      *host            // nil where none takes every host

	keepsSlashes bool // a service does

	// What it was compiled from, for the next one.
	listed   []*snapshot.Service
	routes   []*Route
	services map[*snapshot.Service]*Service
}

// A Result is what Lookup found.
type Result struct {
	// Route takes the request; nil where none does, and where Health is set.
	Route *Route
	// Service is the route's. Without a route it is the one that the most specific matching host belongs to; nil where
	// the host is nobody's.
	Service *Service
	// Health says that the request asks for Service's health (snapshot.Service.HealthPath).
	Health bool
}

// Compile makes a table. The error holds everything that is wrong, with the name of its route.
func Compile(listeners []Listener) (*Table, error) { return compile(listeners, compileListener) }

func compile(listeners []Listener, one func(*Listener) (*listener, error)) (*Table, error) {
	t := &Table{}
	var problems []error
	for i := range listeners {
		in := &listeners[i]
		for len(t.listeners) <= in.Slot {
			t.listeners = append(t.listeners, nil)
		}
		if t.listeners[in.Slot] != nil {
			return nil, fmt.Errorf("listeners %s and %s share the slot %d",
				t.listeners[in.Slot].address, in.Snapshot.Address, in.Slot)
		}
		l, err := one(in)
		t.listeners[in.Slot] = l
		problems = append(problems, err)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return t, nil
}

func compileListener(in *Listener) (*listener, error) {
	l := &listener{
		address: in.Snapshot.Address, listed: in.Snapshot.Services, routes: in.Routes,
		exact: make(map[string]*host, len(in.Snapshot.Services)), wildcard: map[string]*host{},
		services: make(map[*snapshot.Service]*Service, len(in.Snapshot.Services)),
	}
	e := &entering{listener: l}
	return l, e.enter(in)
}

// enter puts the services into the listener, then the routes.
func (e *entering) enter(in *Listener) error {
	l := e.listener
	var problems []error
	made := map[*snapshot.Service]bool{} // their routes are listed here
	for _, s := range in.Snapshot.Services {
		l.keepsSlashes = l.keepsSlashes || s.KeepSlashes
		service := l.services[s]
		if service == nil {
			var err error
			service, err = newService(s)
			problems = append(problems, err)
			l.services[s], made[s] = service, true
		}
		if l.first == nil {
			l.first = service
		}
		if e.wants(s.Hosts) {
			problems = append(problems, e.add(s.Hosts, service, nil))
		}
	}
	for order, route := range in.Routes {
		s := route.Snapshot.Service
		if e.only != nil && !e.changed[s] && !e.wants(route.hosts()) {
			continue
		}
		service := l.services[s]
		if service == nil {
			problems = append(problems, fmt.Errorf("route %q: its service is not one of listener %s",
				route.Snapshot.Name, in.Snapshot.Address))
			continue
		}
		if made[s] {
			service.Routes = append(service.Routes, route)
		}
		rules, err := newRules(route, service, order)
		if err == nil {
			err = e.add(route.hosts(), service, rules)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("route %s: %w", route.Snapshot.ID(), err))
		}
	}
	if e.only == nil {
		l.each(func(h *host) { h.sort() })
	}
	for name := range e.only {
		if h := l.find(name); h != nil {
			h.sort()
		}
	}
	return errors.Join(problems...)
}

// hosts are those that the route serves; none: every one.
func (r *Route) hosts() []string {
	if len(r.Snapshot.Hosts) > 0 {
		return r.Snapshot.Hosts
	}
	return r.Snapshot.Service.Hosts
}

func newService(s *snapshot.Service) (*Service, error) {
	service := &Service{Snapshot: s}
	if s.TLS != nil {
		service.clientAuth = s.TLS.ClientAuth.Digest()
	}
	if s.HealthPath != "" {
		path, err := configuredPath(s.HealthPath, s.KeepSlashes)
		if err != nil {
			return service, fmt.Errorf("service %s/%s: health path: %w", s.Namespace, s.Name, err)
		}
		service.healthPath = path
	}
	return service, nil
}

// configuredPath is the normal form of a path in the configuration: the only one that requests have.
func configuredPath(s string, keepSlashes bool) (string, error) {
	path, ok := exchange.NormalizePath(nil, []byte(s))
	if keepSlashes {
		path, ok = exchange.NormalizeKeepingSlashes([]byte(s))
	}
	if !ok || s == "*" {
		return "", fmt.Errorf("%q is not a path: it must start with '/' and have no '?', '#', backslash, space or invalid escape", s)
	}
	return string(path), nil
}

// add enters rules under each of the hosts; none means every host. Services are entered before routes are, so that a
// host belongs to the service that lists it, and else to the service of its first route.
func (e *entering) add(hosts []string, service *Service, rules []*rule) error {
	var problems []error
	for _, name := range orAny(hosts) {
		if e.only != nil && !e.only[hostName(name)] {
			continue
		}
		h, err := e.listener.host(name)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		h.belongsTo(service)
		for _, r := range rules {
			h.paths.add(r)
		}
	}
	return errors.Join(problems...)
}

// host returns the entry of a configured host, which is made if there is none.
func (l *listener) host(configured string) (*host, error) {
	name := hostName(configured)
	if h := l.find(name); h != nil {
		return h, nil
	}
	h := &host{name: name}
	if name == everyHost {
		l.any = h
		return h, nil
	}
	suffix, wild := strings.CutPrefix(name, "*.")
	if !exchange.ValidHost(suffix) {
		return nil, fmt.Errorf("host %q must be a name, an address or *.name", configured)
	}
	if wild {
		l.wildcard[suffix] = h
		l.lengths.set(len(suffix))
	} else {
		l.exact[name] = h
	}
	return h, nil
}

// find returns the entry of a host by its name, or nil.
func (l *listener) find(name string) *host {
	if name == everyHost {
		return l.any
	}
	if suffix, wild := strings.CutPrefix(name, "*."); wild {
		return l.wildcard[suffix]
	}
	return l.exact[name]
}

// each calls yield with every host.
func (l *listener) each(yield func(*host)) {
	for _, h := range l.exact {
		yield(h)
	}
	for _, h := range l.wildcard {
		yield(h)
	}
	if l.any != nil {
		yield(l.any)
	}
}

// Lookup finds what a request is for. It sets x.PrefixLen, which is the length of a prefix without the slash at its end,
// or of an exact path, and 0 for a regular expression; and it writes the host and the path that it looked for into
// x.Record, before a filter rewrites them.
//
// A service's health path answers to GET and HEAD for the most specific host of the request, unless a route of that
// host matches the path exactly; a prefix or a regular expression does not count.
func (t *Table) Lookup(x *exchange.Exchange) Result {
	x.PrefixLen = 0
	x.Record.Host, x.Record.Path = x.Request.Host, x.Request.Path
	slot := x.Conn.Listener
	if slot < 0 || slot >= len(t.listeners) || t.listeners[slot] == nil {
		return Result{}
	}
	l := t.listeners[slot]
	var buf [hostBuffer]byte
	name := canonicalHost(&buf, x.Request.Host)
	var res Result
	if h := l.exact[string(name)]; h != nil && h.lookup(x, &res) {
		return res
	}
	if len(l.wildcard) > 0 && l.lookupWildcard(x, name, &res) {
		return res
	}
	if l.any != nil {
		l.any.lookup(x, &res)
	}
	return res
}

// Owner returns the service that a host of a listener belongs to, the most specific one that matches, or nil. Of no host,
// which is what a client asks for that sends no name in its TLS handshake, it is the oldest service.
func (t *Table) Owner(slot int, host []byte) *Service {
	if slot < 0 || slot >= len(t.listeners) || t.listeners[slot] == nil {
		return nil
	}
	l := t.listeners[slot]
	var buf [hostBuffer]byte
	if len(host) == 0 {
		return l.first
	}
	return l.owner(canonicalHost(&buf, host))
}

func (l *listener) owner(name []byte) *Service {
	if h := l.exact[string(name)]; h != nil {
		return h.service
	}
	for i := 1; i < len(name); i++ {
		if name[i] == '.' && l.lengths.has(len(name)-i-1) {
			if h := l.wildcard[string(name[i+1:])]; h != nil {
				return h.service
			}
		}
	}
	if l.any != nil {
		return l.any.service
	}
	return nil
}

// Misdirected reports whether the connection was opened for another host than the one that the request asks for, and their
// services do not secure connections alike (RFC 9110 §15.5.20): what the handshake has shown is not the host's. So it does
// where the service that was found asks clients for certificates, and the handshake did not ask for those: it went by
// another service of the host, or by an earlier configuration.
func (t *Table) Misdirected(x *exchange.Exchange, found *Service) bool {
	if found != nil && found.clientAuth != "" && found.clientAuth != x.Conn.ClientAuth {
		return true
	}
	if !x.Conn.Secure {
		return false
	}
	var buf [hostBuffer]byte
	if string(canonicalHost(&buf, x.Request.Host)) == x.Conn.ServerName {
		return false
	}
	asked, opened := t.Owner(x.Conn.Listener, x.Request.Host), t.Owner(x.Conn.Listener, []byte(x.Conn.ServerName))
	return asked != nil && (opened == nil || !asked.Snapshot.TLS.Equal(opened.Snapshot.TLS))
}

// lookupWildcard tries the longest suffix first. "*.example.com" takes one label or more (Gateway API).
func (l *listener) lookupWildcard(x *exchange.Exchange, name []byte, res *Result) bool {
	for i := 1; i < len(name); i++ {
		if name[i] != '.' || !l.lengths.has(len(name)-i-1) {
			continue
		}
		if h := l.wildcard[string(name[i+1:])]; h != nil && h.lookup(x, res) {
			return true
		}
	}
	return false
}

// hostBuffer holds the longest name, its last dot included.
const hostBuffer = 256

// canonicalHost cuts off the port and the dot at the end, and lowers the case. What is longer than any name is empty:
// it belongs to no host, but to every host.
func canonicalHost(buf *[hostBuffer]byte, authority []byte) []byte {
	name, _ := exchange.SplitPort(authority)
	if n := len(name); n > 0 && name[n-1] == '.' {
		name = name[:n-1]
	}
	if len(name) > len(buf) {
		return nil
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		buf[i] = c
	}
	return buf[:len(name)]
}

// lengths is a set of small numbers.
type lengths []uint64

func (s *lengths) set(n int) {
	for len(*s) <= n/64 {
		*s = append(*s, 0)
	}
	(*s)[n/64] |= 1 << (n % 64)
}

func (s lengths) has(n int) bool { return n/64 < len(s) && s[n/64]>>(n%64)&1 != 0 }
