package dataplane

import (
	"cmp"
	"fmt"

	"github.com/pingora-proxy/pingora-proxy/dataplane/router"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
)

// A liveRoute is a route with its live parts, and the keys of its filters. One that the next snapshot has too, as the very
// same *snapshot.Route, lives on as it is: nothing of it is looked at again.
type liveRoute struct {
	*router.Route
	keys []string
}

// makeRoutes makes the routes of s that do not live yet, and the filters that nobody has made. The filters are all that s
// names, by their keys.
func (d *DataPlane) makeRoutes(s *snapshot.Snapshot) (map[*snapshot.Route]*liveRoute, map[string]*liveFilter, error) {
	n := 0
	for _, l := range s.Listeners {
		n += len(l.Routes)
	}
	routes, filters := make(map[*snapshot.Route]*liveRoute, n), make(map[string]*liveFilter, len(d.filters))
	stay := make(map[string]bool, len(s.Clusters))
	for _, c := range s.Clusters {
		stay[c.ID] = true
	}
	lineages := d.lineages()
	for _, l := range s.Listeners {
		for _, r := range l.Routes {
			if live := d.routes[r]; live != nil && d.lives(r, live, stay) {
				routes[r] = live
				for _, key := range live.keys {
					filters[key] = d.filters[key]
				}
				continue
			}
			live := &liveRoute{Route: &router.Route{Snapshot: r}}
			for _, config := range r.Filters {
				key := config.Key()
				f := cmp.Or(filters[key], d.filters[key])
				if f == nil {
					made, err := d.newFilter(config, lineages)
					if err != nil {
						closeNew(filters, d.filters)
						return nil, nil, fmt.Errorf("route %s: %w", r.ID(), err)
					}
					f = made
				}
				filters[key] = f
				live.keys = append(live.keys, key)
				live.Filters = append(live.Filters, f.filter)
			}
			routes[r] = live
		}
	}
	return routes, filters, nil
}

// lives says whether the clusters of a route that lived with the snapshot before go on living with it.
func (d *DataPlane) lives(r *snapshot.Route, live *liveRoute, stay map[string]bool) bool {
	for _, c := range r.Clusters {
		if !stay[c.Cluster] {
			return false
		}
	}
	return live.Group == nil || d.groups.Holds(live.Group)
}

// join gives the routes that are new their groups and counters, when their clusters live.
func (d *DataPlane) join(routes map[*snapshot.Route]*liveRoute) {
	metrics := make([]*telemetry.RouteMetrics, 0, len(routes))
	for r, live := range routes {
		switch {
		case live.Metrics == nil:
			if len(r.Clusters) > 0 {
				live.Group = d.groups.Get(r.ID(), r.Clusters, r.Balance)
			}
			live.Metrics = d.metrics.Route(r.Service.Namespace, r.Service.Name, r.Name)
		case live.Group != nil:
			d.groups.Keep(live.Group)
		}
		metrics = append(metrics, live.Metrics)
	}
	d.metrics.KeepRoutes(metrics)
}
