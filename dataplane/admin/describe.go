package admin

import (
	"cmp"
	"fmt"
	"path"
	"reflect"
	"slices"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream"
)

// A Snapshot is what may be shown of a snapshot.Snapshot. Routes are shown by the API's routes.
type Snapshot struct {
	Listeners []Listener `json:"listeners"`
	Services  []Service  `json:"services"`
	Routes    []Route    `json:"routes"`
	Clusters  []Cluster  `json:"clusters"`
	Limits    Limits     `json:"limits"`
	AccessLog AccessLog  `json:"access_log"`
}

// A Cluster is a set of endpoints as it is configured.
type Cluster struct {
	ID        string       `json:"id"`
	Service   string       `json:"service"`
	DNS       string       `json:"dns,omitempty"` // host:port
	Endpoints []string     `json:"endpoints,omitempty"`
	Algorithm string       `json:"algorithm"`
	Health    HealthCheck  `json:"health_check"`
	Passive   *PassiveView `json:"passive,omitempty"`
}

// A HealthCheck is how a cluster's endpoints are asked.
type HealthCheck struct {
	Type               string `json:"type"`
	TimeoutMS          int64  `json:"timeout_ms"`
	IntervalMS         int64  `json:"interval_ms"`
	Path               string `json:"path,omitempty"`
	Host               string `json:"host,omitempty"`
	HealthyThreshold   int    `json:"healthy_threshold"`
	UnhealthyThreshold int    `json:"unhealthy_threshold"`
}

// A PassiveView is when requests that fail take an endpoint out.
type PassiveView struct {
	ConsecutiveErrors  int   `json:"consecutive_errors"`
	EjectionMS         int64 `json:"ejection_ms"`
	MaxEjectionPercent int   `json:"max_ejection_percent"`
}

// Limits bound what clients may cost; 0 is no limit.
type Limits struct {
	MaxConnections    int   `json:"max_connections"`
	MaxRequestLine    int   `json:"max_request_line_bytes"`
	MaxHeaderBytes    int   `json:"max_header_bytes"`
	MaxHeaders        int   `json:"max_headers"`
	HeaderTimeoutSecs int64 `json:"header_timeout_secs"`
	MinBodyRate       int   `json:"min_body_rate"`
	DrainTimeoutSecs  int64 `json:"drain_timeout_secs"`
	Via               bool  `json:"via"`
}

// AccessLog says where requests are written down.
type AccessLog struct {
	Path          string  `json:"path"`
	Format        string  `json:"format"`
	SamplePercent float64 `json:"sample_percent"`
}

// Describe turns a snapshot and the state of its clusters into what the API shows. Left out is what may hold a secret:
// the settings of filters, which may add a credential to requests, and the values that headers and query parameters are
// compared with. bound gives the address that a configured one is bound to; nil: none is known.
func Describe(s *snapshot.Snapshot, clusters []upstream.ClusterStatus, bound func(address string) string) *Snapshot {
	d := &Snapshot{
		Listeners: []Listener{},
		Services:  []Service{},
		Routes:    []Route{},
		Clusters:  []Cluster{},
		Limits: Limits{
			MaxConnections: s.Limits.MaxConnections, MaxRequestLine: s.Limits.MaxRequestLine,
			MaxHeaderBytes: s.Limits.MaxHeaderBytes, MaxHeaders: s.Limits.MaxHeaders,
			HeaderTimeoutSecs: seconds(s.Limits.HeaderTimeout), MinBodyRate: s.Limits.MinBodyRate,
			DrainTimeoutSecs: seconds(s.Limits.DrainTimeout), Via: s.Limits.Via,
		},
		AccessLog: AccessLog(s.AccessLog),
	}
	counts := map[string]EndpointCount{}
	for _, c := range clusters {
		n := counts[c.Service]
		n.Healthy, n.Total = n.Healthy+c.Serving, n.Total+c.Total
		counts[c.Service] = n
	}
	for _, l := range s.Listeners {
		listener := Listener{Address: l.Address, TLS: l.TLS, Services: []string{}}
		if bound != nil {
			listener.Bound = bound(l.Address)
		}
		routes := map[*snapshot.Service]int{}
		for _, r := range l.Routes {
			routes[r.Service]++
			d.Routes = append(d.Routes, describeRoute(l, r))
		}
		for _, sv := range l.Services {
			name := path.Join(sv.Namespace, sv.Name)
			listener.Services = append(listener.Services, name)
			service := Service{
				Namespace: sv.Namespace, Name: sv.Name, Listener: l.Address, Hosts: append([]string{}, sv.Hosts...),
				HealthPath: sv.HealthPath, Routes: routes[sv], Endpoints: counts[name],
			}
			for _, prefix := range sv.TrustedProxies {
				service.TrustedProxies = append(service.TrustedProxies, prefix.String())
			}
			d.Services = append(d.Services, service)
		}
		for _, stream := range l.Streams {
			name := path.Join(stream.Namespace, stream.Name)
			listener.Services = append(listener.Services, name)
			d.Services = append(d.Services, Service{
				Namespace: stream.Namespace, Name: stream.Name, Protocol: "TCP", Listener: l.Address,
				Hosts: append([]string{}, stream.Hosts...), Endpoints: counts[name],
			})
		}
		d.Listeners = append(d.Listeners, listener)
	}
	for _, c := range s.Clusters {
		d.Clusters = append(d.Clusters, describeCluster(c))
	}
	slices.SortStableFunc(d.Listeners, byListener)
	slices.SortStableFunc(d.Services, byService)
	slices.SortStableFunc(d.Routes, byRoute)
	slices.SortStableFunc(d.Clusters, func(a, b Cluster) int { return cmp.Compare(a.ID, b.ID) })
	return d
}

func describeRoute(l *snapshot.Listener, r *snapshot.Route) Route {
	route := Route{
		Namespace: r.Service.Namespace, Service: r.Service.Name, Name: r.Name, Listener: l.Address,
		Hosts: append([]string{}, r.Hosts...), Matches: []Match{}, Clusters: []RouteCluster{}, Invalid: r.Invalid,
		Timeouts: Timeouts{
			ConnectMS: r.Timeouts.Connect.Milliseconds(), RequestMS: r.Timeouts.Request.Milliseconds(),
			IdleSecs: seconds(r.Timeouts.Idle),
		},
		Retry: Retry{
			Attempts: r.Retry.Attempts, Codes: r.Retry.Codes,
			PerTryTimeoutMS: r.Retry.PerTryTimeout.Milliseconds(), BudgetPercent: r.Retry.BudgetPercent,
		},
	}
	if len(r.Hosts) == 0 {
		route.Hosts = append(route.Hosts, r.Service.Hosts...)
	}
	for _, m := range r.Matches {
		route.Matches = append(route.Matches, describeMatch(&m))
	}
	for _, f := range r.Filters {
		route.Filters = append(route.Filters, kind(f))
	}
	for _, c := range r.Clusters {
		route.Clusters = append(route.Clusters, RouteCluster{Cluster: c.Cluster, Weight: c.Weight, Backup: c.Backup})
	}
	return route
}

func describeMatch(m *snapshot.Match) Match {
	return Match{
		PathType: name(m.PathType, "Prefix", "Exact", "Regex"), Path: cmp.Or(m.Path, "/"), Methods: m.Methods,
		Headers: names(m.Headers), Query: names(m.Query),
	}
}

func describeCluster(c *snapshot.Cluster) Cluster {
	cluster := Cluster{
		ID: c.ID, Service: c.Service, Algorithm: name(c.Algorithm, "RoundRobin", "LeastRequest", "Random", "ConsistentHash"),
		Health: HealthCheck{
			Type: name(c.Health.Type, "TCP", "HTTP", "Disabled", "GRPC"), TimeoutMS: c.Health.Timeout.Milliseconds(),
			IntervalMS: c.Health.Interval.Milliseconds(), Path: c.Health.Path, Host: c.Health.Host,
			HealthyThreshold: c.Health.HealthyThreshold, UnhealthyThreshold: c.Health.UnhealthyThreshold,
		},
	}
	if c.DNS != nil {
		cluster.DNS = fmt.Sprintf("%s:%d", c.DNS.Host, c.DNS.Port)
	}
	for _, e := range c.Endpoints {
		cluster.Endpoints = append(cluster.Endpoints, e.Addr.String())
	}
	if p := c.Passive; p != nil {
		cluster.Passive = &PassiveView{p.ConsecutiveErrors, p.Ejection.Milliseconds(), p.MaxEjectionPercent}
	}
	return cluster
}

// DescribeEndpoints turns the state of clusters into that of their endpoints.
func DescribeEndpoints(clusters []upstream.ClusterStatus) []Endpoint {
	var all []Endpoint
	for _, c := range clusters {
		for _, e := range c.Endpoints {
			all = append(all, Endpoint{
				Address: e.Addr.String(), Cluster: c.ID, Service: c.Service, Weight: e.Weight,
				Healthy: e.Healthy, Serving: e.Serving, EjectedUntil: known(e.EjectedUntil),
				LastError: e.LastError, LastErrorAt: known(e.LastErrorAt), LastCheck: known(e.LastCheck),
				FailedChecks: e.Failures, ConsecutiveFailures: e.Errors,
				InFlight: e.InFlight, IdleConnections: e.Idle, Requests: e.Requests,
			})
		}
	}
	return all
}

// known is nil for a time that is not.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// name is the name of an enumerated value.
func name[T ~uint8](v T, all ...string) string {
	if int(v) < len(all) {
		return all[v]
	}
	return fmt.Sprint(v)
}

func names(matches []snapshot.ValueMatch) (all []string) {
	for _, m := range matches {
		all = append(all, m.Name)
	}
	return all
}

// kind is the package of a filter's Config: headers, rewrite, redirect.
func kind(config any) string {
	t := reflect.TypeOf(config)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return path.Base(t.PkgPath())
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }
