package reliability

import (
	"fmt"
	"maps"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/pingora-proxy/pingora-proxy/dataplane/resolver"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
	"github.com/pingora-proxy/pingora-proxy/test/faulty"
	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/traffic"
)

// Ten names whose server is gone. The data plane runs in this process, as in names.
var dns = scenario{
	name:  "dns",
	title: "the name server of ten names",
	run: func(t *testing.T, r *run) {
		for _, c := range []struct {
			what string
			fail func(s *faulty.NameServer)
		}{
			{"answers SERVFAIL, and is well again", func(s *faulty.NameServer) { s.RCode = dnsmessage.RCodeServerFailure }},
			{"answers NXDOMAIN, and is well again", func(s *faulty.NameServer) { s.RCode = dnsmessage.RCodeNameError }},
			{"answers nothing, and is well again", func(s *faulty.NameServer) { s.Mute = true }},
		} {
			r.part(t, c.what, func(t *testing.T) {
				ledger := harness.NewLedger(t)
				addrs, port := onePort(t, ledger, 3)
				server := faulty.StartNameServer(t, addrs[:2]...)
				metrics := telemetry.NewMetrics("test")
				plane := tenNames(t, port, metrics, resolver.Options{Servers: []netip.AddrPort{server.Addr}, Timeout: time.Second, Attempts: 1})
				failing := func(want float64) {
					t.Helper()
					harness.Eventually(t, fmt.Sprintf("%v names fail", want), func() bool {
						return gauge(t, metrics, "pingora_proxy_dns_names_failing") == want
					})
				}
				before := endpointsOf(plane)
				load := traffic.Start(t, traffic.Options{Addr: plane.Bound("127.0.0.1:0"), Workers: 8, Rate: r.of(200, 2000)})
				load.Await(t, 100)
				server.Set(c.fail)
				failing(10)
				load.Await(t, r.of(500, 100_000))
				kept := endpointsOf(plane)
				server.Set(func(s *faulty.NameServer) { s.RCode, s.Mute, s.Addrs = dnsmessage.RCodeSuccess, false, addrs[2:] })
				back := time.Now()
				failing(0)
				harness.Eventually(t, "every name has its new address", func() bool {
					now := endpointsOf(plane)
					for name, is := range now {
						if is == before[name] {
							return false
						}
					}
					return len(now) == 10
				})
				took := time.Since(back)
				load.Await(t, 100)
				row := counted(t, ledger, load.Stop())
				row.what = c.what
				row.seen = fmt.Sprintf("`dns_names_failing` is 10 and 0 again; new addresses are in use %.1f s after the server was well", took.Seconds())
				r.report(t, row)
				if !maps.Equal(before, kept) {
					t.Errorf("the endpoints were %v, and %v without an answer", before, kept)
				}
			})
		}
	},
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
