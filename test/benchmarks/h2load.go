package benchmarks

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/load"
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
func (b *Bench) multiplexed(ctx context.Context, row Row, d time.Duration, addr string) (load.Load, error) {
	message := filepath.Join(b.dir, "message")
	if err := os.WriteFile(message, origin.GRPCMessage(), 0o600); err != nil {
		return load.Load{}, err
	}
	d = d.Round(time.Second)
	out, err := peers.Run(ctx, b.h2load, b.loadCPU(), h2loadArgs(message, row, d, addr)...)
	if err != nil {
		return load.Load{}, err
	}
	return load.ParseH2load(out, d)
}
