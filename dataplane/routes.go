package dataplane

import (
	"cmp"
	"fmt"

	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
	"github.com/pingora-proxy/pingora-proxy/dataplane/router"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
)

// A liveRoute is a route with its live parts, and the keys of its filters. One that the next snapshot has too, as the very
// same *snapshot.Route, lives on as it is: nothing of it is looked at again.
type liveRoute struct {
	of   *snapshot.Route // that of live: whoever compares thousands touches none of them
	live *router.Route
	keys []string
}

// A changeover is what becomes of the routes with a new snapshot.
type changeover struct {
	routes     []liveRoute            // all, in the order of the snapshot
	come, gone []*router.Route        // those that did not live before, and those that do not any more
	filters    map[string]*liveFilter // all that the routes name, by their keys
}

// makeRoutes makes the routes of s that do not live yet, and the filters that nobody has made.
func (d *DataPlane) makeRoutes(s *snapshot.Snapshot) (changeover, error) {
	var listed []*snapshot.Route
	for _, l := range s.Listeners {
		listed = append(listed, l.Routes...)
	}
	c := changeover{routes: make([]liveRoute, len(listed)), filters: make(map[string]*liveFilter, len(d.filters))}
	before := lastRoutes{all: d.routes, len: len(listed)}
	var stay map[string]bool
	if !d.clusters.Same(s.Clusters) {
		stay = make(map[string]bool, len(s.Clusters))
		for _, c := range s.Clusters {
			stay[c.ID] = true
		}
	}
	lives := make([]bool, len(d.routes))
	lineages := d.lineages()
	for i, r := range listed {
		if at := before.find(i, r); at >= 0 && !lives[at] && (stay == nil || d.lives(d.routes[at].live, stay)) {
			lives[at] = true
			c.routes[i] = d.routes[at]
			for _, key := range c.routes[i].keys {
				c.filters[key] = d.filters[key]
			}
			continue
		}
		made, err := d.makeRoute(r, c.filters, lineages)
		if err != nil {
			closeNew(c.filters, d.filters)
			return changeover{}, fmt.Errorf("route %s: %w", r.ID(), err)
		}
		c.routes[i] = made
		c.come = append(c.come, made.live)
	}
	for at, lives := range lives {
		if !lives {
			c.gone = append(c.gone, d.routes[at].live)
		}
	}
	return c, nil
}

// makeRoute makes a route, and those of its filters that neither live nor are among filters yet.
func (d *DataPlane) makeRoute(r *snapshot.Route, filters map[string]*liveFilter, lineages map[string]filter.Filter) (liveRoute, error) {
	made := liveRoute{of: r, live: &router.Route{Snapshot: r}}
	for _, config := range r.Filters {
		key := config.Key()
		f := cmp.Or(filters[key], d.filters[key])
		if f == nil {
			var err error
			if f, err = d.newFilter(config, lineages); err != nil {
				return liveRoute{}, err
			}
		}
		filters[key] = f
		made.keys = append(made.keys, key)
		made.live.Filters = append(made.live.Filters, f.filter)
	}
	return made, nil
}

// lastRoutes are the routes that live, to be looked up by those of the next snapshot, which has so many. All but the ones
// between the first and the last that changed are found where they were, from the front or from the back.
type lastRoutes struct {
	all    []liveRoute
	len    int
	places map[*snapshot.Route]int // of all, made when one is looked for that has moved
}

// find returns the place of the route that is the next snapshot's i-th, or a negative number.
func (l *lastRoutes) find(i int, r *snapshot.Route) int {
	if i < len(l.all) && l.all[i].of == r {
		return i
	}
	if back := i - l.len + len(l.all); back >= 0 && l.all[back].of == r {
		return back
	}
	if l.places == nil {
		l.places = make(map[*snapshot.Route]int, len(l.all))
		for at, old := range l.all {
			l.places[old.of] = at
		}
	}
	if at, found := l.places[r]; found {
		return at
	}
	return -1
}

// lives says whether a route's clusters go on living: stay are those that do.
func (d *DataPlane) lives(r *router.Route, stay map[string]bool) bool {
	for _, c := range r.Snapshot.Clusters {
		if !stay[c.Cluster] {
			return false
		}
	}
	return r.Group == nil || d.groups.Holds(r.Group)
}

// join gives the routes that are new their groups and counters, when their clusters live.
func (d *DataPlane) join(c changeover) {
	var come, gone []*telemetry.RouteMetrics
	for _, r := range c.come {
		s := r.Snapshot
		if len(s.Clusters) > 0 {
			r.Group = d.groups.Get(s.ID(), s.Clusters, s.Balance)
		}
		r.Metrics = d.metrics.Route(s.Service.Namespace, s.Service.Name, s.Name)
		come = append(come, r.Metrics)
	}
	for _, r := range c.gone { // behind Get: what a route of the same name goes on with is not forgotten
		if r.Group != nil {
			d.groups.Release(r.Group)
		}
		gone = append(gone, r.Metrics)
	}
	d.metrics.ReplaceRoutes(come, gone)
}
