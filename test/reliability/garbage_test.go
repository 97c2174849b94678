package reliability

import (
	"math/rand/v2"
	"net"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// garbage is about answers that no HTTP/1.1 response is, or that can be read in two ways.
var garbage = scenario{
	name:  "garbage",
	title: "one of three upstreams answers what is no HTTP response",
	may:   "requests that were answered so: 502 `upstream_protocol`, as it is not known what was carried out",
	run: func(t *testing.T, r *run) {
		answers := []string{
			"SSH-2.0-OpenSSH_9.2\r\n\r\n",
			"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\r\n\r\n",
			"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
			"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
			"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
			"HTTP/1.1 200 OK\r\nX Y: z\r\nContent-Length: 0\r\n\r\n",
			"<html>not found</html>\r\n\r\n",
		}
		spoil := spoiler(func(to *net.TCPConn, _ []byte) { _, _ = to.Write([]byte(answers[rand.IntN(len(answers))])) })
		ledger := harness.NewLedger(t)
		_, addrs := processes(t, ledger, 3)
		spoiled, through := relays(t, addrs)
		fault{
			what:  "upstreams speak HTTP/1.1",
			begin: func(_ *testing.T, i int) { spoiled[i].spoil.Store(&spoil) },
			end:   func(_ *testing.T, i int) { spoiled[i].spoil.Store(nil) },
			addrs: through,
			// An answer to HEAD has no body, and so no reason.
			idempotent: []string{"GET", "DELETE"},
			gets:       []string{"502 upstream_protocol"}, posts: []string{"502 upstream_protocol"},
			rounds: r.of(1, 20), requests: r.of(20, 150), rate: r.of(150, 2000),
		}.reports(t, r, ledger)
	},
}
