package reliability

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/controllers/standalone"
	"github.com/pingora-proxy/pingora-proxy/dataplane"
	"github.com/pingora-proxy/pingora-proxy/dataplane/resolver"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
	"github.com/pingora-proxy/pingora-proxy/test/faulty"
	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/traffic"
)

// Ten names, each of which has other addresses every second. The data plane runs in this process, because a program takes
// its name servers from the system; what it does is what it does with the endpoints of a Service, too.
var names = scenario{
	name:  "names",
	title: "the addresses of ten DNS names change every second",
	run: func(t *testing.T, r *run) {
		wanted, rate := r.of(20, 600), r.of(200, 2000)
		ledger := harness.NewLedger(t)
		addrs, port := onePort(t, ledger, 6)
		server := faulty.StartNameServer(t)
		turn := func(n int) {
			server.Set(func(s *faulty.NameServer) {
				s.Names = map[string][]netip.Addr{}
				for i := range 10 {
					s.Names[fmt.Sprintf("n%d.example.test.", i)] = []netip.Addr{addrs[(n+i)%6], addrs[(n+3*i+1)%6]}
				}
			})
		}
		turn(0)
		plane := tenNames(t, port, telemetry.NewMetrics("test"), resolver.Options{Servers: []netip.AddrPort{server.Addr}})
		load := traffic.Start(t, traffic.Options{Addr: plane.Bound("127.0.0.1:0"), Workers: 32, Rate: rate})
		began, seen, changes := time.Now(), endpointsOf(plane), 0
		for n := 1; changes < wanted; n++ {
			turn(n)
			for second := time.Now(); time.Since(second) < time.Second; load.Await(t, 1) {
				now := endpointsOf(plane)
				for name, is := range now {
					if is != seen[name] {
						changes++
					}
				}
				seen = now
			}
		}
		took := time.Since(began)
		load.Await(t, 20)
		tally := load.Stop()
		row := counted(t, ledger, tally)
		row.seen = fmt.Sprintf("%d changes of endpoints in %.0f s", changes, took.Seconds())
		r.report(t, row)
		if len(tally.ByOrigin) != 6 {
			t.Errorf("not every address has served: %v", tally.ByOrigin)
		}
	},
}

// tenNames is a data plane in this process with ten names for upstreams, n0.example.test to n9, when each has its addresses.
func tenNames(t *testing.T, port string, metrics *telemetry.Metrics, o resolver.Options) *dataplane.DataPlane {
	t.Helper()
	var upstreams []string
	for i := range 10 {
		upstreams = append(upstreams, fmt.Sprintf("n%d.example.test.:%s", i, port))
	}
	loaded, problems := standalone.LoadBytes("names.yaml",
		[]byte("services: [{name: web, bind_address: '127.0.0.1:0', upstreams: ['"+strings.Join(upstreams, "', '")+"']}]\n"), standalone.Options{})
	if loaded == nil {
		t.Fatal(problems)
	}
	loaded.Snapshot.AccessLog.Path = "off"
	plane := dataplane.New(dataplane.Options{Log: logr.Discard(), Metrics: metrics, Resolver: o})
	t.Cleanup(plane.Close)
	if err := plane.Apply(t.Context(), loaded.Snapshot); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "every name has its addresses", func() bool { return len(endpointsOf(plane)) == 10 })
	return plane
}

// endpointsOf are the endpoints of each cluster, as a text.
func endpointsOf(plane *dataplane.DataPlane) map[string]string {
	all := map[string]string{}
	for _, cluster := range plane.Clusters() {
		var addrs []string
		for _, e := range cluster.Endpoints {
			addrs = append(addrs, e.Addr.String())
		}
		if slices.Sort(addrs); len(addrs) > 0 {
			all[cluster.ID] = strings.Join(addrs, " ")
		}
	}
	return all
}

// onePort starts origins on loopback addresses of their own, and the same port.
func onePort(t *testing.T, ledger *harness.Ledger, n int) (addrs []netip.Addr, port string) {
	t.Helper()
	listen := func(address string) net.Listener {
		l, err := net.Listen("tcp", address) //nolint:noctx // local
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	for i := range n {
		ip := harness.OwnLoopback()
		address := ip.String() + ":0"
		if port != "" {
			address = net.JoinHostPort(ip.String(), port)
		}
		l := listen(address)
		if port == "" {
			_, port, _ = net.SplitHostPort(l.Addr().String()) // an address it is
		}
		server := &http.Server{Handler: ledger.Echo(fmt.Sprint("o", i)), ReadHeaderTimeout: time.Minute}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = server.Serve(l)
		}()
		t.Cleanup(func() {
			_ = server.Close()
			<-done
		})
		addrs = append(addrs, ip)
	}
	return addrs, port
}
