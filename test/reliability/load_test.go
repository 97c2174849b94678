package reliability

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/traffic"
)

// counted is the row of some loads, whose origins share a ledger: what was not answered is lost.
func counted(t *testing.T, ledger *harness.Ledger, tallies ...traffic.Tally) row {
	t.Helper()
	var r row
	for _, tally := range tallies {
		r.sent += tally.Sent
		r.answered += tally.Answered
		r.lost += tally.Lost
		r.losses = append(r.losses, tally.Losses...)
	}
	replayed, _ := ledger.Replayed(t, "POST")
	r.replayed = len(replayed)
	return r
}

// processes starts origins, in processes of their own, that share a ledger.
func processes(t *testing.T, ledger *harness.Ledger, n int) (origins []*harness.OriginProcess, addrs []string) {
	t.Helper()
	for i := range n {
		o := ledger.StartOriginProcess(t, fmt.Sprint("o", i))
		origins, addrs = append(origins, o), append(addrs, o.Addr)
	}
	return origins, addrs
}

// logged is the line of the configuration that sends the access log to a file, which it names: that of a long run is too
// much for a test's memory.
func logged(t *testing.T) (path, yaml string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "access.log")
	return path, fmt.Sprintf("access_log: {path: '%s'}\n", path)
}
