package reliability

import (
	"crypto/tls"
	"fmt"
	"os"
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

// awaitAll waits until each load has sent so many more requests.
func awaitAll(t *testing.T, requests int, loads []*traffic.Load) {
	t.Helper()
	sent := make([]int, len(loads))
	for i, load := range loads {
		sent[i] = load.Sent()
	}
	for i, load := range loads {
		harness.Eventually(t, fmt.Sprintf("%d more requests", requests), func() bool { return load.Sent() >= sent[i]+requests })
	}
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

// secured makes a certificate for a name. It returns what goes behind tls_config, and what a client needs to trust it.
func secured(t *testing.T, name string) (config string, trust *tls.Config) {
	t.Helper()
	authority := harness.NewAuthority(t, "reliability")
	chain, key := authority.Issue(t, nil, name)
	dir := t.TempDir()
	for file, text := range map[string]string{"tls.crt": chain, "tls.key": key} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return fmt.Sprintf("{certificates: [{cert_file: '%s/tls.crt', key_file: '%s/tls.key'}]}", dir, dir),
		&tls.Config{RootCAs: authority.Pool(), ServerName: name}
}

// logged is the line of the configuration that sends the access log to a file, which it names: that of a long run is too
// much for a test's memory.
func logged(t *testing.T) (path, yaml string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "access.log")
	return path, fmt.Sprintf("access_log: {path: '%s'}\n", path)
}
