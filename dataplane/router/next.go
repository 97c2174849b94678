package router

import (
	"maps"
	"slices"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// Next is Compile, but for what has not changed since t was compiled, which the new table shares with it: listeners whose
// services and routes are the same ones, and of the others every host of which no route has come, gone or moved. Routes are
// the same ones where they are the same *Route; one that has other live parts must be another one.
func (t *Table) Next(listeners []Listener) (*Table, error) {
	return compile(listeners, func(in *Listener) (*listener, error) {
		if in.Slot < len(t.listeners) && t.listeners[in.Slot] != nil {
			if l := t.listeners[in.Slot].next(in); l != nil {
				return l, nil
			}
		}
		return compileListener(in)
	})
}

// next is nil where compiling in as a whole is as good, or the only way to say what is wrong.
func (l *listener) next(in *Listener) *listener {
	gone, come, ordered := difference(l.listed, in.Snapshot.Services)
	routesGone, routesCome, routesOrdered := difference(l.routes, in.Routes)
	if l.address != in.Snapshot.Address || !ordered || !routesOrdered {
		return nil
	}
	if len(gone)+len(come)+len(routesGone)+len(routesCome) == 0 {
		return l
	}
	changed := map[*snapshot.Service]bool{}
	for _, s := range slices.Concat(gone, come) {
		changed[s] = true
	}
	for _, r := range slices.Concat(routesGone, routesCome) {
		changed[r.Snapshot.Service] = true
	}
	if 2*len(changed) > len(l.listed) {
		return nil
	}
	n := &listener{
		address: l.address, listed: in.Snapshot.Services, routes: in.Routes, services: maps.Clone(l.services),
		exact: maps.Clone(l.exact), wildcard: maps.Clone(l.wildcard), lengths: slices.Clone(l.lengths), any: l.any,
	}
	e := &entering{listener: n, only: map[string]bool{}, changed: changed}
	e.affect(l.routes)
	e.affect(in.Routes)
	for s := range changed {
		e.affectHosts(s.Hosts)
		delete(n.services, s)
	}
	for name := range e.only {
		if name == everyHost {
			n.any = nil
		} else if suffix, wild := strings.CutPrefix(name, "*."); wild {
			delete(n.wildcard, suffix)
		} else {
			delete(n.exact, name)
		}
	}
	if e.enter(in) != nil {
		return nil
	}
	return n
}

// difference lists what only one of two lists has. ordered says that what both have stands in the same order in both.
func difference[T comparable](old, now []T) (gone, come []T, ordered bool) {
	for len(old) > 0 && len(now) > 0 && old[0] == now[0] {
		old, now = old[1:], now[1:]
	}
	for len(old) > 0 && len(now) > 0 && old[len(old)-1] == now[len(now)-1] {
		old, now = old[:len(old)-1], now[:len(now)-1]
	}
	at := make(map[T]int, len(old))
	for i, v := range old {
		at[v] = i
	}
	last, stay := -1, make([]bool, len(old))
	for _, v := range now {
		i, both := at[v]
		if !both {
			come = append(come, v)
			continue
		}
		if i <= last {
			return nil, nil, false
		}
		last, stay[i] = i, true
	}
	for i, v := range old {
		if !stay[i] {
			gone = append(gone, v)
		}
	}
	return gone, come, true
}

// An entering puts services and routes into a listener, under all of their hosts or under some.
type entering struct {
	listener *listener
	only     map[string]bool            // the hosts that are made anew; nil: all
	changed  map[*snapshot.Service]bool // services whose routes or own settings are others
}

// affect makes the hosts of changed services' routes be made anew.
func (e *entering) affect(routes []*Route) {
	for _, r := range routes {
		if e.changed[r.Snapshot.Service] {
			if len(r.Snapshot.Hosts) > 0 {
				e.affectHosts(r.Snapshot.Hosts)
			}
		}
	}
}

func (e *entering) affectHosts(hosts []string) {
	for _, h := range orAny(hosts) {
		e.only[hostName(h)] = true
	}
}

// wants says whether anything is to be entered under one of the hosts.
func (e *entering) wants(hosts []string) bool {
	if e.only == nil {
		return true
	}
	return slices.ContainsFunc(orAny(hosts), func(h string) bool { return e.only[hostName(h)] })
}

// everyHost stands for every host.
const everyHost = "*"

func orAny(hosts []string) []string {
	if len(hosts) == 0 {
		return []string{everyHost}
	}
	return hosts
}

// hostName is a configured host as it is looked up.
func hostName(configured string) string { return strings.TrimSuffix(strings.ToLower(configured), ".") }
