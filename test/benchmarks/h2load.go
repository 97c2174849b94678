package benchmarks

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/peers"
	"github.com/pingora-proxy/pingora-proxy/test/origin"
)

// h2loadArgs are the arguments of h2load for a row; message is the file that gRPC calls send.
func h2loadArgs(message string, row Row, d time.Duration, addr string) []string {
	args := []string{
		"-t1", "-c" + strconv.Itoa(row.Clients), "-m" + strconv.Itoa(row.Streams), "-D" + strconv.FormatFloat(d.Seconds(), 'f', -1, 64),
	}
	if row.GRPC {
		args = append(args, "-d", message, "-H", "content-type: application/grpc", "-H", "te: trailers")
	}
	return append(args, "http://"+addr+row.Path)
}

// multiplexed puts the load of a row of HTTP/2 on addr.
func (b *Bench) multiplexed(ctx context.Context, row Row, d time.Duration, addr string) (load, error) {
	message := filepath.Join(b.dir, "message")
	if err := os.WriteFile(message, origin.GRPCMessage(), 0o600); err != nil {
		return load{}, err
	}
	d = d.Round(time.Second)
	out, err := peers.Run(ctx, b.h2load, b.loadCPU, h2loadArgs(message, row, d, addr)...)
	if err != nil {
		return load{}, err
	}
	return parseH2load(out, d)
}

var (
	h2loadRequests = regexp.MustCompile(`requests: \d+ total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout`)
	h2loadStatus   = regexp.MustCompile(`status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx`)
	h2loadTraffic  = regexp.MustCompile(`traffic: .*\((\d+)\) data`)
)

// parseH2load reads what h2load prints. It knows no quantiles of the latency.
func parseH2load(out string, d time.Duration) (load, error) {
	requests, status, traffic := h2loadRequests.FindStringSubmatch(out), h2loadStatus.FindStringSubmatch(out), h2loadTraffic.FindStringSubmatch(out)
	if requests == nil || status == nil || traffic == nil {
		return load{}, fmt.Errorf("h2load printed no summary: %q", out)
	}
	number := func(s string) int64 {
		n, _ := strconv.ParseInt(s, 10, 64) // digits
		return n
	}
	return load{
		Requests: number(requests[1]), DurationUS: d.Microseconds(), Bytes: number(traffic[1]),
		Read: number(requests[2]) + number(requests[3]), Timeout: number(requests[4]),
		Status: number(status[2]) + number(status[3]) + number(status[4]),
	}, nil
}
