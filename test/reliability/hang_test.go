package reliability

import (
	"syscall"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

var hang = scenario{
	name:  "hang",
	title: "one of three upstreams hangs (SIGSTOP), and goes on",
	may:   "POSTs that had been sent to the hanging process: 504 `upstream_timeout`",
	run: func(t *testing.T, r *run) {
		patience := 2 * time.Second
		if !r.long { // beside other tests an upstream that does not hang may take a second, too
			patience = 4 * time.Second
		}
		for _, protocol := range protocols {
			r.part(t, protocol, func(t *testing.T) {
				ledger := harness.NewLedger(t)
				origins, addrs := processes(t, ledger, 3)
				fault{
					begin: func(t *testing.T, i int) { origins[i].Signal(t, syscall.SIGSTOP) },
					end:   func(t *testing.T, i int) { origins[i].Signal(t, syscall.SIGCONT) },
					addrs: addrs, protocol: protocol,
					posts:    []string{"504 upstream_timeout"},
					patience: patience,
					rounds:   r.of(1, 20), requests: r.of(20, 150), rate: r.of(150, 2000),
				}.reports(t, r, ledger)
			})
		}
	},
}
