package reliability

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/traffic"
)

// Every reload changes something that requests meet: a route and its header, the balancing, an upstream that goes and
// comes back, a listener that comes and goes.
var reloads = scenario{
	name:  "reloads",
	title: "the configuration is reloaded again and again, each time with a change",
	run: func(t *testing.T, r *run) {
		var (
			times   = r.of(20, 200)
			rate    = r.of(300, 2000)
			open    = r.of(20, 100)
			between = r.of(20, 210) // requests between two reloads: more than 40,000 in all
		)
		ledger := harness.NewLedger(t)
		_, addrs := processes(t, ledger, 3)
		_, log := logged(t)
		configure := func(n int) string { return log + reloaded(n, addrs) }
		p := harness.Start(t, configure(0), harness.Options{})
		address := p.Addr(t, "web")
		sockets := traffic.OpenSockets(t, address, open, 100*time.Millisecond)
		load := traffic.Start(t, traffic.Options{Addr: address, Workers: 32, Rate: rate})
		load.Await(t, between)
		for n := 1; n <= times; n++ {
			if n%10 == 0 { // a file that is refused is a part of life, too
				p.ReloadRefused(t, "services: [{name: broken}]\n")
			}
			p.Reload(t, configure(n))
			load.Await(t, between)
		}
		tally := load.Stop()
		row := counted(t, ledger, tally)
		lost := sockets.Stop()
		row.seen = fmt.Sprintf("%d reloads, %d requests on fresh connections, %d WebSockets with %d messages, %d of them lost",
			times, tally.Fresh, open, sockets.Messages(), len(lost))
		r.report(t, row)
		for _, text := range lost {
			t.Error(text)
		}
		// The listener has never changed: no connection was to be closed.
		if tally.Reopened+tally.Closed > 0 {
			t.Errorf("kept-alive connections were closed: %v", tally)
		}
		if tally.Fresh < tally.Sent/20 || tally.ByMethod["GET"] == 0 || tally.ByMethod["POST"] == 0 || sockets.Messages() < open {
			t.Errorf("the load is not what it shall be: %v, %d messages", tally, sockets.Messages())
		}
		p.AwaitMetric(t, float64(open), "open_tunnels")
		if done := p.Metric(t, "config_reloads_total", "result", "success"); done < float64(times) {
			t.Errorf("%v reloads have been counted", done)
		}
	},
}

// reloaded is the configuration after so many reloads.
func reloaded(n int, addrs []string) string {
	upstreams := slices.Clone(addrs)
	if n%3 == 1 {
		upstreams = slices.Delete(upstreams, n%len(addrs), n%len(addrs)+1)
	}
	yaml := fmt.Sprintf(`services:
  - name: web
    bind_address: '127.0.0.1:0'
    timeouts: {idle_secs: %d}
    load_balancing: {algorithm: %s}
    upstreams: ['%s']
    routes:
      - name: r%d
        matches: [{path: {value: /load}}]
        filters: [{response_headers: {set: {X-Reload: '%d'}}}]
        backends: [{address: '%s'}]
`, 60+n%60, []string{"RoundRobin", "LeastRequest", "Random"}[n/4%3], strings.Join(upstreams, "', '"),
		n%5, n, strings.Join(upstreams, "'}, {address: '"))
	if n%4 == 2 {
		yaml += fmt.Sprintf("  - {name: extra, bind_address: '127.0.0.3:0', upstreams: ['%s']}\n", addrs[0])
	}
	return yaml
}
