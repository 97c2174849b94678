package admin

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream"
)

// secretFilter is a filter with a credential in it.
type secretFilter struct{ Password string }

func (s secretFilter) Key() string { return "owner " + s.Password }

func (s secretFilter) New(filter.Env) (filter.Filter, error) { return filter.Nop{}, nil }

func world() (*snapshot.Snapshot, []upstream.ClusterStatus) {
	shop := &snapshot.Service{
		Namespace: "ns", Name: "shop", Hosts: []string{"shop.example"}, HealthPath: "/health",
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
	}
	portal := &snapshot.Service{Name: "portal"}
	s := &snapshot.Snapshot{
		Hash: "9f3c",
		Listeners: []*snapshot.Listener{
			{Address: "0.0.0.0:6189", Services: []*snapshot.Service{portal}, Routes: []*snapshot.Route{{Service: portal, Name: "main", Invalid: "no regex"}}},
			{Address: "0.0.0.0:0", Services: []*snapshot.Service{shop}, Routes: []*snapshot.Route{
				{
					Service: shop, Name: "web",
					Matches: []snapshot.Match{{
						PathType: snapshot.PathExact, Path: "/x", Methods: []string{"GET"},
						Headers: []snapshot.ValueMatch{{Name: "X-Api-Key", Value: "canary"}},
						Query:   []snapshot.ValueMatch{{Name: "token", Value: "canary", Regex: true}},
					}, {}},
					Filters:  []filter.Config{secretFilter{"canary"}, &secretFilter{"canary"}},
					Clusters: []snapshot.WeightedCluster{{Cluster: "c1", Weight: 3}, {Cluster: "c2", Weight: 1, Backup: true}},
					Timeouts: snapshot.Timeouts{Connect: time.Second, Idle: time.Minute},
					Retry:    snapshot.Retry{Attempts: 2, Codes: []int{503}, PerTryTimeout: 1500 * time.Millisecond, BudgetPercent: 20},
				},
				{Service: shop, Name: "api", Hosts: []string{"api.example"}},
			}},
		},
		Clusters: []*snapshot.Cluster{
			{ID: "c2", Service: "ns/shop", DNS: &snapshot.DNSName{Host: "db.example", Port: 80}, Algorithm: snapshot.Random},
			{
				ID: "c1", Service: "ns/shop", Endpoints: []snapshot.Endpoint{{Addr: netip.MustParseAddrPort("10.0.0.1:80"), Weight: 1}},
				Health:  snapshot.HealthCheck{Type: snapshot.CheckHTTP, Timeout: 500 * time.Millisecond, Interval: 5 * time.Second, Path: "/up", HealthyThreshold: 1, UnhealthyThreshold: 2},
				Passive: &snapshot.Passive{ConsecutiveErrors: 5, Ejection: 30 * time.Second, MaxEjectionPercent: 50},
			},
		},
		Limits:    snapshot.Limits{MaxConnections: 10, HeaderTimeout: 10 * time.Second, DrainTimeout: 30 * time.Second, Via: true},
		AccessLog: snapshot.AccessLog{Path: "stdout", Format: "JSON", SamplePercent: 100},
	}
	status := []upstream.ClusterStatus{
		{ID: "c1", Service: "ns/shop", Serving: 1, Total: 2, Endpoints: []upstream.EndpointStatus{{
			Addr: netip.MustParseAddrPort("10.0.0.1:80"), Weight: 1, Serving: true, Healthy: true, Failures: 1, Errors: 2,
			LastCheck: time.Unix(1_700_000_000, 0), LastError: "refused", InFlight: 3, Idle: 4, Requests: 5,
		}}},
		{ID: "c2", Service: "ns/shop", Serving: 3, Total: 3},
	}
	return s, status
}

func TestDescribe(t *testing.T) {
	s, status := world()
	d := Describe(s, status, func(address string) string {
		if address == "0.0.0.0:0" {
			return "0.0.0.0:4711"
		}
		return ""
	})
	want := &Snapshot{
		Listeners: []Listener{
			{Address: "0.0.0.0:0", Bound: "0.0.0.0:4711", Services: []string{"ns/shop"}},
			{Address: "0.0.0.0:6189", Services: []string{"portal"}},
		},
		Services: []Service{
			{Name: "portal", Listener: "0.0.0.0:6189", Hosts: []string{}, Routes: 1},
			{
				Namespace: "ns", Name: "shop", Listener: "0.0.0.0:0", Hosts: []string{"shop.example"}, HealthPath: "/health",
				TrustedProxies: []string{"127.0.0.1/32"}, Routes: 2, Endpoints: EndpointCount{Healthy: 4, Total: 5},
			},
		},
		Routes: []Route{
			{
				Service: "portal", Name: "main", Listener: "0.0.0.0:6189", Hosts: []string{}, Matches: []Match{}, Clusters: []RouteCluster{},
				Invalid: "no regex",
			},
			{
				Namespace: "ns", Service: "shop", Name: "api", Listener: "0.0.0.0:0", Hosts: []string{"api.example"},
				Matches: []Match{}, Clusters: []RouteCluster{},
			},
			{
				Namespace: "ns", Service: "shop", Name: "web", Listener: "0.0.0.0:0", Hosts: []string{"shop.example"},
				Matches: []Match{
					{PathType: "Exact", Path: "/x", Methods: []string{"GET"}, Headers: []string{"X-Api-Key"}, Query: []string{"token"}},
					{PathType: "Prefix", Path: "/"},
				},
				Filters:  []string{"admin", "admin"}, // the package that the test's filter is in
				Clusters: []RouteCluster{{"c1", 3, false}, {"c2", 1, true}},
				Timeouts: Timeouts{ConnectMS: 1000, IdleSecs: 60},
				Retry:    Retry{Attempts: 2, Codes: []int{503}, PerTryTimeoutMS: 1500, BudgetPercent: 20},
			},
		},
		Clusters: []Cluster{
			{
				ID: "c1", Service: "ns/shop", Endpoints: []string{"10.0.0.1:80"}, Algorithm: "RoundRobin",
				Health:  HealthCheck{Type: "HTTP", TimeoutMS: 500, IntervalMS: 5000, Path: "/up", HealthyThreshold: 1, UnhealthyThreshold: 2},
				Passive: &PassiveView{5, 30000, 50},
			},
			{ID: "c2", Service: "ns/shop", DNS: "db.example:80", Algorithm: "Random", Health: HealthCheck{Type: "TCP"}},
		},
		Limits:    Limits{MaxConnections: 10, HeaderTimeoutSecs: 10, DrainTimeoutSecs: 30, Via: true},
		AccessLog: AccessLog{Path: "stdout", Format: "JSON", SamplePercent: 100},
	}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Error(diff)
	}
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "canary") {
		t.Errorf("a secret is shown: %s", text)
	}
}

func TestDescribeNothing(t *testing.T) {
	text, err := json.Marshal(Describe(&snapshot.Snapshot{}, nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(text), `{"listeners":[],"services":[],"routes":[],"clusters":[],`) {
		t.Errorf("%s", text)
	}
}

func TestDescribeEndpoints(t *testing.T) {
	_, status := world()
	at := time.Unix(1_700_000_000, 0).UTC()
	want := []Endpoint{{
		Address: "10.0.0.1:80", Cluster: "c1", Service: "ns/shop", Weight: 1, Healthy: true, Serving: true, FailedChecks: 1,
		ConsecutiveFailures: 2, LastCheck: &at, LastError: "refused", InFlight: 3, IdleConnections: 4, Requests: 5,
	}}
	if diff := cmp.Diff(want, DescribeEndpoints(status)); diff != "" {
		t.Error(diff)
	}
}
