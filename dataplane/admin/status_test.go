package admin

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/breaker"
)

func TestStatus(t *testing.T) {
	s, clusters := world()
	metrics := telemetry.NewMetrics("test")
	x := &exchange.Exchange{}
	x.Record = exchange.Record{Status: 200, Start: 1, End: exchange.Nanos(3 * time.Millisecond)}
	metrics.Route("ns", "shop", "web").Observe(x)
	later, soon := time.Unix(1_800_000_000, 0), time.Unix(1_700_000_000, 0)
	metrics.SetCertificates([]telemetry.Certificate{{Namespace: "ns", Service: "shop", Name: "b", NotAfter: later}, {Service: "portal", Name: "a", NotAfter: soon}})
	var took telemetry.Durations
	took.Observe(exchange.Nanos(time.Millisecond))
	sick := netip.MustParseAddrPort("192.0.2.9:80")
	open := &upstream.BreakerStatus{State: breaker.Open, OpenFor: 3 * time.Second, Running: 2, Waiting: 1}
	clusters = append(clusters, upstream.ClusterStatus{ID: "z", Service: "z", Serving: 1, Total: 2, Breaker: open, Endpoints: []upstream.EndpointStatus{
		{Addr: netip.MustParseAddrPort("192.0.2.8:80"), Weight: 1, Serving: true, Healthy: true, Latency: took.Latency()},
		{Addr: sick, Weight: 1, LastError: "refused"},
	}})
	var v Viewer
	status := v.Status(s, clusters, metrics)
	var order []string
	for _, r := range status.Routes {
		line := r.Listener + " " + r.Host + " " + r.Route
		if r.Match != nil {
			line += " " + r.Match.PathType + " " + r.Match.Path
		}
		if r.Latency != nil {
			line += fmt.Sprintf(" %d", r.Latency.Count)
		}
		order = append(order, line)
	}
	if diff := cmp.Diff([]string{
		"0.0.0.0:6189 * portal/main",
		"0.0.0.0:0 shop.example ns/shop/web Exact /x 1",
		"0.0.0.0:0 shop.example ns/shop/web Prefix / 1",
		"0.0.0.0:0 api.example ns/shop/api",
	}, order); diff != "" {
		t.Error(diff)
	}
	if e := status.Endpoints[0]; e.Serving || len(status.Endpoints) < 3 {
		t.Errorf("one that cannot serve comes first: %+v", e)
	}
	i := slices.IndexFunc(status.Endpoints, func(e EndpointState) bool { return e.Address == "192.0.2.8:80" })
	if l := status.Endpoints[i].Latency; l == nil || l.Count != 1 || l.P50MS == 0 || len(l.Counts) != len(status.BoundsMS)+1 {
		t.Errorf("%+v", l)
	}
	if c := status.Clusters[len(status.Clusters)-1]; c.Circuit != "open" || c.OpenMS != 3000 || c.Running != 2 || c.Waiting != 1 || status.Clusters[0].Circuit != "" {
		t.Errorf("%+v", status.Clusters)
	}
	if c := status.Certificates; len(c) != 2 || c[0].Name != "a" || c[1].Service != "ns/shop" {
		t.Errorf("%+v", c)
	}
	text, err := json.Marshal(status)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "canary") {
		t.Errorf("a secret is shown: %s", text)
	}
	// The order is remembered, and made anew for another snapshot.
	if again := v.Status(s, clusters, metrics); len(again.Routes) != 4 || again.Routes[1].Latency == nil {
		t.Errorf("%+v", again.Routes)
	}
	if other := v.Status(&snapshot.Snapshot{}, nil, metrics); len(other.Routes) != 0 {
		t.Errorf("%+v", other.Routes)
	}
}

func TestStatusIsBounded(t *testing.T) {
	s := &snapshot.Service{Name: "s"}
	l := &snapshot.Listener{Address: "a:1", Services: []*snapshot.Service{s}}
	for i := range maxStatusRoutes + 7 {
		l.Routes = append(l.Routes, &snapshot.Route{Service: s, Name: fmt.Sprint(i)})
	}
	c := upstream.ClusterStatus{Endpoints: make([]upstream.EndpointStatus, maxStatusEndpoints+5)}
	var v Viewer
	status := v.Status(&snapshot.Snapshot{Listeners: []*snapshot.Listener{l}}, []upstream.ClusterStatus{c}, telemetry.NewMetrics("test"))
	if len(status.Routes) != maxStatusRoutes || status.RoutesMore != 7 || len(status.Endpoints) != maxStatusEndpoints || status.EndpointsMore != 5 {
		t.Errorf("%d %d %d %d", len(status.Routes), status.RoutesMore, len(status.Endpoints), status.EndpointsMore)
	}
}
