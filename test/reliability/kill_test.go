package reliability

import (
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

var kill = scenario{
	name:  "kill",
	title: "one of three upstreams is killed (SIGKILL), and started again",
	may:   "POSTs that had been sent to the killed process: 502 `upstream_reset`",
	run: func(t *testing.T, r *run) {
		for _, protocol := range protocols {
			r.part(t, protocol, func(t *testing.T) {
				ledger := harness.NewLedger(t)
				origins, addrs := processes(t, ledger, 3)
				fault{
					begin: func(t *testing.T, i int) { origins[i].Kill(t) },
					end:   func(t *testing.T, i int) { origins[i].Start(t) },
					addrs: addrs, protocol: protocol,
					posts:  []string{"502 upstream_reset"},
					rounds: r.of(2, 20), requests: r.of(20, 150), rate: r.of(150, 2000),
				}.reports(t, r, ledger)
			})
		}
	},
}
