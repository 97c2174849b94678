package reliability

import (
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/faulty"
	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

var slow = scenario{
	name:  "slow",
	title: "one of three upstreams is slow: 300 ms ± 200 ms later, at 200 KB/s each way (toxiproxy)",
	run: func(t *testing.T, r *run) {
		toxiproxy := faulty.StartToxiproxy(t)
		ledger := harness.NewLedger(t)
		_, addrs := processes(t, ledger, 3)
		links, through := linked(t, toxiproxy, addrs)
		fault{
			begin: func(t *testing.T, i int) {
				for _, stream := range []string{"upstream", "downstream"} {
					links[i].Suffer(t, stream, "bandwidth", map[string]int{"rate": 200})
				}
				links[i].Suffer(t, "downstream", "latency", map[string]int{"latency": 300, "jitter": 200})
			},
			end:   func(t *testing.T, i int) { links[i].Recover(t) },
			addrs: through, target: "/load?more=10000", unseen: true,
			rounds: r.of(1, 10), requests: r.of(20, 100), rate: r.of(150, 1000),
		}.reports(t, r, ledger)
	},
}
