package reliability

import (
	"syscall"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

var hang = scenario{
	name:  "hang",
	title: "one of three upstreams hangs (SIGSTOP), and goes on",
	may:   "POSTs that had been sent to the hanging process: 504 `upstream_timeout`",
	run: func(t *testing.T, r *run) {
		for _, protocol := range protocols {
			ledger := harness.NewLedger(t)
			origins, addrs := processes(t, ledger, 3)
			fault{
				begin: func(t *testing.T, i int) { origins[i].Signal(t, syscall.SIGSTOP) },
				end:   func(t *testing.T, i int) { origins[i].Signal(t, syscall.SIGCONT) },
				addrs: addrs, protocol: protocol,
				posts:  []string{"504 upstream_timeout"},
				rounds: r.of(2, 20), requests: r.of(30, 300), rate: r.of(300, 2000),
			}.reports(t, r, ledger)
		}
	},
}
