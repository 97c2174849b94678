package benchmarks

import (
	"context"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/load"
	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/peers"
)

// wrkArgs are the arguments of wrk for a row.
func wrkArgs(script string, row Row, d time.Duration, addr string) []string {
	scheme := "http://"
	if row.TLS {
		scheme = "https://"
	}
	args := []string{
		"-t" + strconv.Itoa(row.threads()), "-c" + strconv.Itoa(row.Clients), "-d" + strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s", "--timeout", "5s",
		"-s", script,
	}
	if row.Fresh {
		args = append(args, "-H", "Connection: close")
	}
	return append(args, scheme+addr+row.Path)
}

// threads is how many threads of wrk make the load of a row: as many as there are of the proxy, if they have the CPUs.
func (r Row) threads() int {
	if r.Direct {
		return 2
	}
	return 1
}

// wrk puts the load of a row on addr.
func (b *Bench) wrk(ctx context.Context, row Row, d time.Duration, addr string) (load.Load, error) {
	args := wrkArgs(filepath.Join(b.dir, script(row)), row, d.Round(time.Second), addr)
	if row.Contenders != nil { // each variant gets it, whether it looks at it or not
		args = slices.Insert(args, len(args)-1, "-H", "Authorization: Bearer "+b.secrets.Token)
	}
	out, err := peers.RunOn(ctx, b.wrkProgram, b.loadCPUs(row), args...)
	if err != nil {
		return load.Load{}, err
	}
	return load.ParseWrk(out)
}
