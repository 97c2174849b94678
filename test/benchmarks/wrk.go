package benchmarks

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/peers"
)

// wrkScript makes wrk print its summary as one line of JSON. It defines none of the functions that wrk calls for each
// request, so the load stays as cheap as without a script.
//
//go:embed configs/wrk.lua
var wrkScript []byte

// load is what wrk reports of one run.
type load struct {
	Requests   int64 `json:"requests"`
	DurationUS int64 `json:"duration_us"`
	Bytes      int64 `json:"bytes"`
	Connect    int64 `json:"connect"`
	Read       int64 `json:"read"`
	Write      int64 `json:"write"`
	Timeout    int64 `json:"timeout"`
	Status     int64 `json:"status"`
	P50US      int64 `json:"p50_us"`
	P99US      int64 `json:"p99_us"`
}

// rps is the number of requests per second.
func (l load) rps() float64 { return float64(l.Requests) / (float64(l.DurationUS) / 1e6) }

// check returns an error when a request failed, or when fewer bytes came than bodies of size need: a proxy that answers
// wrongly must not look fast.
func (l load) check(size int) error {
	if n := l.Connect + l.Read + l.Write + l.Timeout; n > 0 {
		return fmt.Errorf("%d socket errors (connect %d, read %d, write %d, time-out %d)", n, l.Connect, l.Read, l.Write, l.Timeout)
	}
	if l.Status > 0 {
		return fmt.Errorf("%d of %d answers have a status over 399", l.Status, l.Requests)
	}
	if l.Requests == 0 || l.DurationUS <= 0 {
		return errors.New("no request was answered")
	}
	if l.Bytes < l.Requests*int64(size) {
		return fmt.Errorf("%d bytes came in %d answers, whose bodies alone are %d bytes each", l.Bytes, l.Requests, size)
	}
	return nil
}

// parseWrk reads the line that wrkScript prints after wrk's own output.
func parseWrk(out string) (load, error) {
	start := strings.LastIndex(out, "\n{")
	if start < 0 {
		return load{}, fmt.Errorf("wrk printed no summary: %q", out)
	}
	var l load
	if err := json.Unmarshal([]byte(out[start+1:]), &l); err != nil {
		return load{}, fmt.Errorf("summary of wrk: %w", err)
	}
	return l, nil
}

// wrkArgs are the arguments of wrk for a row.
func wrkArgs(script string, row Row, d time.Duration, addr string) []string {
	scheme := "http://"
	if row.TLS {
		scheme = "https://"
	}
	args := []string{
		"-t1", "-c" + strconv.Itoa(row.Clients), "-d" + strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s", "--timeout", "5s",
		"-s", script,
	}
	if row.Fresh {
		args = append(args, "-H", "Connection: close")
	}
	return append(args, scheme+addr+row.Path)
}

// wrk puts the load of a row on addr.
func (b *Bench) wrk(ctx context.Context, row Row, d time.Duration, addr string) (load, error) {
	args := wrkArgs(b.script, row, d.Round(time.Second), addr)
	if row.Contenders != nil { // each variant gets it, whether it looks at it or not
		args = slices.Insert(args, len(args)-1, "-H", "Authorization: Bearer "+b.secrets.token)
	}
	out, err := peers.Run(ctx, b.wrkProgram, b.loadCPU, args...)
	if err != nil {
		return load{}, err
	}
	return parseWrk(out)
}
