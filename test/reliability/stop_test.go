package reliability

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/traffic"
)

// A client that is told that the connection ends, or that finds it closed before it sends, has lost nothing; it then
// leaves, as from a proxy that a load balancer sends nothing any more.
var stop = scenario{
	name:  "stop",
	title: "the proxy is told to stop (SIGTERM) under load, and started again",
	run: func(t *testing.T, r *run) {
		times := r.of(2, 20)
		ledger := harness.NewLedger(t)
		_, addrs := processes(t, ledger, 2)
		_, log := logged(t)
		certificate, trust := secured(t, "load")
		yaml := log + fmt.Sprintf(`services:
  - {name: plain, bind_address: '127.0.0.1:0', upstreams: ['%s', '%s']}
  - {name: secure, bind_address: '127.0.0.2:0', upstreams: ['%s', '%s'], tls: true, tls_config: %s}
`, addrs[0], addrs[1], addrs[0], addrs[1], certificate)
		var tallies []traffic.Tally
		said := 0
		for range times {
			p := harness.Start(t, yaml, harness.Options{})
			var loads []*traffic.Load
			for _, o := range []traffic.Options{
				{Addr: p.Addr(t, "plain")},
				{Addr: p.Addr(t, "plain"), Target: "/load?wait_ms=100"}, // always under way
				{Addr: p.Addr(t, "secure"), TLS: trust},
				{Addr: p.Addr(t, "secure"), TLS: trust, HTTP2: true},
				{Addr: p.Addr(t, "secure"), TLS: trust, HTTP2: true, Target: "/load?wait_ms=100"},
			} {
				o.Leave = true
				loads = append(loads, traffic.Start(t, o))
			}
			awaitAll(t, r.of(50, 100), loads)
			p.Signal(t, syscall.SIGTERM)
			for _, load := range loads {
				tally := load.Wait()
				tallies, said = append(tallies, tally), said+tally.Closed
			}
			if code := p.Wait(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
		}
		row := counted(t, ledger, tallies...)
		row.seen = fmt.Sprintf("%d times; HTTP/1.1, TLS and HTTP/2; %d answers said Connection: close", times, said)
		r.report(t, row)
	},
}
