package admin

import (
	"fmt"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/admin/outline"
	"github.com/pingora-proxy/pingora-proxy/dataplane/router"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream"
)

// What a Status shows at most: it is asked for every few seconds, and read by people.
const (
	maxStatusRoutes    = 1000
	maxStatusEndpoints = 2000
)

// A Status is everything that the status page shows, read at one moment.
type Status struct {
	At            time.Time       `json:"at"` // the process's clock, which ejections end by
	Overview      Overview        `json:"overview"`
	Config        Config          `json:"config"`
	Listeners     []Listener      `json:"listeners"`
	Services      []Service       `json:"services"`
	Routes        []RouteRow      `json:"routes"`         // in the order in which they are tried
	RoutesMore    int             `json:"routes_more"`    // that are not shown
	Clusters      []ClusterState  `json:"clusters"`       // that have something to tell
	Endpoints     []EndpointState `json:"endpoints"`      // those that cannot serve first
	EndpointsMore int             `json:"endpoints_more"` // that are not shown
	Certificates  []Certificate   `json:"certificates"`   // the first to end first
	BoundsMS      []float64       `json:"bounds_ms"`      // of the counts of latencies
}

// A RouteRow is one match of one route under one host.
type RouteRow struct {
	Listener string         `json:"listener"`
	Host     string         `json:"host"` // "*": every host
	Route    string         `json:"route"`
	Match    *Match         `json:"match,omitempty"` // none: every request
	Filters  []string       `json:"filters,omitempty"`
	Clusters []RouteCluster `json:"clusters,omitempty"`
	Invalid  string         `json:"invalid,omitempty"`
	Latency  *Latency       `json:"latency,omitempty"` // of whole requests; none: there was none
}

// A ClusterState is what lives of a cluster.
type ClusterState struct {
	ID      string `json:"id"`
	Service string `json:"service"`
	DNS     string `json:"dns,omitempty"`
	Serving int    `json:"serving"`
	Total   int    `json:"total"`
	Circuit string `json:"circuit,omitempty"` // closed, open or half-open; none: it has no breaker
	OpenMS  int64  `json:"open_ms,omitempty"` // until probes may come
	Running int64  `json:"running,omitempty"` // requests that hold a place at the breaker
	Waiting int64  `json:"waiting,omitempty"` // for one
}

// An EndpointState is an Endpoint with its latency.
type EndpointState struct {
	Endpoint
	Latency *Latency `json:"latency,omitempty"` // from the request to the head of the response; none: there was none
}

// A Latency is how long something took since the start, in buckets from which a page can tell what is new.
type Latency struct {
	Count  uint64   `json:"count"`
	P50MS  float64  `json:"p50_ms"`
	P99MS  float64  `json:"p99_ms"`
	Counts []uint64 `json:"counts"` // by the bounds of the status; the last one is what took longer
}

// A Certificate is one that a service shows.
type Certificate struct {
	Service  string    `json:"service"`
	Name     string    `json:"name"` // where it comes from
	NotAfter time.Time `json:"not_after"`
}

// Outline is the configuration that serves, for a comparison.
type Outline struct {
	Hash     string         `json:"hash"`
	Salt     []byte         `json:"salt"` // of the digests that stand for secrets
	Settings []Setting      `json:"settings"`
	Parts    []outline.Part `json:"parts"`
}

// A Setting is a global and where it came from.
type Setting struct {
	Key      string `json:"key"`
	Variable string `json:"variable"`
	Value    string `json:"value"`
	From     string `json:"from"` // default, file, environment or flag
}

// A Viewer makes a Status. It remembers the order of a snapshot's routes, so that asking again and again compiles nothing.
type Viewer struct {
	mu   sync.Mutex
	of   *snapshot.Snapshot
	rows []RouteRow
	more int
	ids  []routeID // of the rows
}

type routeID struct{ namespace, service, route string }

// Status fills in what follows from a snapshot and the state of its clusters; the caller adds what it knows itself.
func (v *Viewer) Status(s *snapshot.Snapshot, clusters []upstream.ClusterStatus, metrics *telemetry.Metrics) Status {
	status := Status{At: time.Now().UTC(), Clusters: []ClusterState{}, Endpoints: []EndpointState{}, Certificates: []Certificate{}}
	for _, bound := range telemetry.LatencyBounds() {
		status.BoundsMS = append(status.BoundsMS, milliseconds(bound))
	}
	rows, ids, more := v.order(s)
	status.Routes, status.RoutesMore = slices.Clone(rows), more
	for i, id := range ids {
		request, _ := metrics.Latency(id.namespace, id.service, id.route)
		status.Routes[i].Latency = describeLatency(request)
	}
	for _, c := range clusters {
		state := ClusterState{ID: c.ID, Service: c.Service, Serving: c.Serving, Total: c.Total}
		if b := c.Breaker; b != nil {
			state.Circuit, state.OpenMS, state.Running, state.Waiting = b.State.String(), b.OpenFor.Milliseconds(), b.Running, b.Waiting
		}
		if c.DNS != nil {
			state.DNS = fmt.Sprintf("%s:%d", c.DNS.Host, c.DNS.Port)
		}
		status.Clusters = append(status.Clusters, state)
		for i, e := range DescribeEndpoints([]upstream.ClusterStatus{c}) {
			status.Endpoints = append(status.Endpoints, EndpointState{e, describeLatency(c.Endpoints[i].Latency)})
		}
	}
	slices.SortStableFunc(status.Endpoints, func(a, b EndpointState) int {
		if a.Serving != b.Serving && a.Weight > 0 && b.Weight > 0 {
			return map[bool]int{false: -1, true: 1}[a.Serving]
		}
		return byEndpoint(a.Endpoint, b.Endpoint)
	})
	if n := len(status.Endpoints) - maxStatusEndpoints; n > 0 {
		status.Endpoints, status.EndpointsMore = status.Endpoints[:maxStatusEndpoints], n
	}
	for _, c := range metrics.Certificates() {
		status.Certificates = append(status.Certificates, Certificate{
			Service: path.Join(c.Namespace, c.Service), Name: c.Name, NotAfter: c.NotAfter.UTC(),
		})
	}
	slices.SortStableFunc(status.Certificates, func(a, b Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
	return status
}

// order lists the routes as they are tried.
func (v *Viewer) order(s *snapshot.Snapshot) (rows []RouteRow, ids []routeID, more int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.of == s {
		return v.rows, v.ids, v.more
	}
	v.of, v.rows, v.ids, v.more = s, []RouteRow{}, nil, 0
	for _, l := range s.Listeners {
		in := router.Listener{Snapshot: l}
		for _, route := range l.Routes {
			in.Routes = append(in.Routes, &router.Route{Snapshot: route})
		}
		table, err := router.Compile([]router.Listener{in})
		if err != nil {
			continue // a snapshot that serves has compiled
		}
		for _, d := range table.Routes() {
			if len(v.rows) == maxStatusRoutes {
				v.more++
				continue
			}
			r := d.Route.Snapshot
			view := describeRoute(l, r)
			row := RouteRow{
				Listener: l.Address, Host: d.Host, Route: routeName(r), Filters: view.Filters, Clusters: view.Clusters, Invalid: r.Invalid,
			}
			if d.Match != nil {
				m := describeMatch(d.Match)
				row.Match = &m
			}
			v.rows = append(v.rows, row)
			v.ids = append(v.ids, routeID{r.Service.Namespace, r.Service.Name, r.Name})
		}
	}
	return v.rows, v.ids, v.more
}

func describeLatency(l telemetry.Latency) *Latency {
	if l.Count == 0 {
		return nil
	}
	return &Latency{Count: l.Count, P50MS: milliseconds(l.P50), P99MS: milliseconds(l.P99), Counts: slices.Clone(l.Counts[:])}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
