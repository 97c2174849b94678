package reliability

import (
	"net"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/faulty"
	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// Responses of 40 KB, of which the first bytes were passed on when their connection ends: what a client has got must not
// look whole.
var truncate = scenario{
	name:  "truncate",
	title: "connections to one of three upstreams end in the middle of a response",
	may:   "responses that were cut, which every client sees; and POSTs whose connection ended before the response: 502 `upstream_reset`",
	run: func(t *testing.T, r *run) {
		toxiproxy := faulty.StartToxiproxy(t)
		for _, framing := range []string{"chunked", "sized"} {
			r.part(t, framing, func(t *testing.T) {
				ledger := harness.NewLedger(t)
				_, addrs := processes(t, ledger, 3)
				links, through := linked(t, toxiproxy, addrs)
				f := fault{
					what: "closed, " + framing + " (toxiproxy)",
					begin: func(t *testing.T, i int) {
						links[i].Suffer(t, "downstream", "limit_data", map[string]int{"bytes": 20000})
					},
					end:   func(t *testing.T, i int) { links[i].Renew(t) },
					addrs: through, target: "/load?more=40000&" + framing,
					idempotent: []string{"GET"},
					posts:      []string{"502 upstream_reset"},
					cut:        true, unseen: true,
					rounds: r.of(1, 10), requests: r.of(20, 100), rate: r.of(150, 1000),
				}
				f.reports(t, r, ledger)

				spoiled, through := relays(t, addrs)
				reset := spoiler(func(to *net.TCPConn, bytes []byte) {
					_, _ = to.Write(bytes)
					_ = to.SetLinger(0)
				})
				f.what, f.addrs = "reset, "+framing, through
				f.begin = func(_ *testing.T, i int) { spoiled[i].spoil.Store(&reset) }
				f.end = func(_ *testing.T, i int) { spoiled[i].spoil.Store(nil) }
				f.reports(t, r, ledger)
			})
		}
	},
}

// linked are links to upstreams, and their addresses.
func linked(t *testing.T, x *faulty.Toxiproxy, to []string) (links []*faulty.Link, addrs []string) {
	t.Helper()
	for _, addr := range to {
		link := x.Link(t, addr)
		links, addrs = append(links, link), append(addrs, link.Addr)
	}
	return links, addrs
}
