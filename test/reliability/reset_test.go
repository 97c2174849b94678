package reliability

import (
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/faulty"
	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

var reset = scenario{
	name:  "reset",
	title: "connections to one of three upstreams are reset instead of a response (toxiproxy)",
	may:   "POSTs, which had been sent: 502 `upstream_reset`; and responses that were under way",
	run: func(t *testing.T, r *run) {
		toxiproxy := faulty.StartToxiproxy(t)
		for _, protocol := range protocols {
			r.part(t, protocol, func(t *testing.T) {
				ledger := harness.NewLedger(t)
				_, addrs := processes(t, ledger, 3)
				links, through := linked(t, toxiproxy, addrs)
				fault{
					begin: func(t *testing.T, i int) {
						links[i].Suffer(t, "downstream", "reset_peer", map[string]int{"timeout": 5})
					},
					end:   func(t *testing.T, i int) { links[i].Renew(t) },
					addrs: through, protocol: protocol,
					posts: []string{"502 upstream_reset"}, cut: true,
					rounds: r.of(1, 20), requests: r.of(20, 150), rate: r.of(150, 2000),
				}.reports(t, r, ledger)
			})
		}
	},
}
