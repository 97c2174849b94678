package reliability

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/traffic"
)

// Ten times a second the file has other upstreams: two of six in turn are gone, so that each goes and comes back again and
// again.
var churn = scenario{
	name:  "churn",
	title: "upstreams come and go, ten changes a second",
	run: func(t *testing.T, r *run) {
		changes, rate := r.of(30, 600), r.of(200, 2000)
		ledger := harness.NewLedger(t)
		_, addrs := processes(t, ledger, 6)
		_, log := logged(t)
		configure := func(n int) string {
			var serving []string
			for i, addr := range addrs {
				if i != n%6 && i != (n*n+1)%6 {
					serving = append(serving, addr)
				}
			}
			return log + fmt.Sprintf("services: [{name: web, bind_address: '127.0.0.1:0', upstreams: ['%s']}]\n", strings.Join(serving, "', '"))
		}
		p := harness.Start(t, configure(0), harness.Options{})
		address := p.Addr(t, "web")
		loads := []*traffic.Load{
			traffic.Start(t, traffic.Options{Addr: address, Workers: 16, Rate: rate / 2}),
			traffic.Start(t, traffic.Options{Addr: address, Workers: 16, Rate: rate / 2, HTTP2: true}),
		}
		awaitAll(t, 20, loads)
		began := time.Now()
		for n := 1; n <= changes; n++ {
			p.WriteConfig(t, configure(n))
			load := loads[0]
			until := began.Add(time.Duration(n) * time.Second / 10)
			for time.Now().Before(until) {
				load.Await(t, 1)
			}
		}
		took := time.Since(began)
		awaitAll(t, 20, loads)
		var tallies []traffic.Tally
		for _, load := range loads {
			tallies = append(tallies, load.Stop())
		}
		row := counted(t, ledger, tallies...)
		taken := int(p.Metric(t, "config_reloads_total", "result", "success"))
		row.seen = fmt.Sprintf("%d changes in %.0f s, of which the proxy took %d one by one; half of the requests over HTTP/2", changes, took.Seconds(), taken-1)
		r.report(t, row)
		if len(tallies[0].ByOrigin) != 6 || len(tallies[1].ByOrigin) != 6 {
			t.Errorf("not every upstream has served: %v %v", tallies[0].ByOrigin, tallies[1].ByOrigin)
		}
		if taken < changes/10 {
			t.Errorf("the proxy has taken %d of %d changes", taken, changes)
		}
	},
}
