package integration_test

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/pingora-proxy/pingora-proxy/controllers/standalone"
	"github.com/pingora-proxy/pingora-proxy/dataplane"
	"github.com/pingora-proxy/pingora-proxy/dataplane/resolver"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
	"github.com/pingora-proxy/pingora-proxy/test/faulty"
	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/traffic"
)

// The data plane runs in this process, because a program takes its name servers from the system. The rest is as usual.
func TestNamesAreFollowed(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	var addrs []netip.Addr
	ledger := harness.NewLedger(t)
	for i := range 3 {
		ip := ownLoopback()
		serveAt(t, net.JoinHostPort(ip.String(), port), ledger.Echo(fmt.Sprint("o", i)))
		addr, _ := netip.AddrFromSlice(ip.To4())
		addrs = append(addrs, addr)
	}
	server := faulty.StartNameServer(t, addrs[0])

	loaded, problems := standalone.LoadBytes("dns.yaml", []byte(webService([]string{"app.example.test.:" + port}, unchecked)), standalone.Options{})
	if loaded == nil {
		t.Fatal(problems)
	}
	loaded.Snapshot.AccessLog.Path = "off"
	metrics := telemetry.NewMetrics("test")
	plane := dataplane.New(dataplane.Options{
		Log: logr.Discard(), Metrics: metrics,
		Resolver: resolver.Options{Servers: []netip.AddrPort{server.Addr}, Timeout: 100 * time.Millisecond, Attempts: 1},
	})
	t.Cleanup(plane.Close)
	if err := plane.Apply(t.Context(), loaded.Snapshot); err != nil {
		t.Fatal(err)
	}
	address := plane.Bound("127.0.0.1:0")
	follows := func(want ...netip.Addr) {
		t.Helper()
		harness.Eventually(t, fmt.Sprintf("the endpoints are %v", want), func() bool {
			var got []netip.Addr
			for _, cluster := range plane.Clusters() {
				for _, e := range cluster.Endpoints {
					got = append(got, e.Addr.Addr())
				}
			}
			slices.SortFunc(got, netip.Addr.Compare)
			slices.SortFunc(want, netip.Addr.Compare)
			return slices.Equal(got, want)
		})
	}
	failing := func(want float64) {
		t.Helper()
		harness.Eventually(t, fmt.Sprintf("%v names fail", want), func() bool {
			return gauge(t, metrics, "pingora_proxy_dns_names_failing") == want && gauge(t, metrics, "pingora_proxy_dns_names") == 1
		})
	}
	follows(addrs[0])
	failing(0)
	load := traffic.Start(t, traffic.Options{Addr: address, Workers: 4})
	load.Await(t, 50)

	server.Set(func(s *faulty.NameServer) { s.Addrs = addrs })
	follows(addrs...)
	load.Await(t, 50)
	server.Set(func(s *faulty.NameServer) { s.Addrs = []netip.Addr{addrs[2], addrs[1]} })
	follows(addrs[1], addrs[2])
	load.Await(t, 50)
	if got := burst(t, address, 4, 20); got["o0"] != 0 {
		t.Errorf("an address that the name does not have any more gets requests: %v", got)
	}

	// The last good answer is kept, whichever way the resolver fails.
	for name, fail := range map[string]func(s *faulty.NameServer){
		"SERVFAIL":  func(s *faulty.NameServer) { s.RCode = dnsmessage.RCodeServerFailure },
		"no answer": func(s *faulty.NameServer) { s.Mute = true },
		"NXDOMAIN":  func(s *faulty.NameServer) { s.RCode = dnsmessage.RCodeNameError },
	} {
		server.Set(fail)
		harness.Eventually(t, name+": the name was asked for again", func() bool { return server.Questions() >= 2 })
		failing(1)
		load.Await(t, 50)
		follows(addrs[1], addrs[2])
		server.Set(func(s *faulty.NameServer) { s.RCode, s.Mute = dnsmessage.RCodeSuccess, false })
		failing(0)
	}
	server.Set(func(s *faulty.NameServer) { s.Addrs = addrs[:1] })
	follows(addrs[0])
	tally := load.Stop()
	t.Log(tally)
	if tally.Lost != 0 || len(tally.ByOrigin) != 3 {
		t.Errorf("%v %q", tally, tally.Losses)
	}
	if replayed, _ := ledger.Replayed(t, "POST"); len(replayed) > 0 {
		t.Errorf("received twice: %q", replayed)
	}
}

// gauge is the value of a metric without labels.
func gauge(t *testing.T, m *telemetry.Metrics, name string) float64 {
	t.Helper()
	families, err := m.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	return -1
}

// The real program asks the real hosts file.
func TestNamesInTheProgram(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t, harness.Echo("origin"))
	_, port, err := net.SplitHostPort(origin.Addr)
	if err != nil {
		t.Fatal(err)
	}
	p := harness.Start(t, webService([]string{"localhost:" + port}, "health_check: {frequency_secs: 1, unhealthy_threshold: 1}"), harness.Options{})
	if got := burst(t, p.Addr(t, "web"), 4, 20); got["origin"] != 20 {
		t.Errorf("%v", got)
	}
	found := false
	for _, e := range p.Endpoints(t, "web") {
		found = found || e.Address == origin.Addr
	}
	if !found {
		t.Errorf("%+v", p.Endpoints(t, "web"))
	}
}
