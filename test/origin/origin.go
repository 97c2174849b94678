package origin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/peers"
)

// The paths that the origin serves, and the sizes of their bodies in bytes.
const (
	Tiny     = "/tiny"
	Large    = "/100k"
	Huge     = "/1m"
	Upload   = "/upload"         // answers as Tiny does, after it has read the request's body
	GRPC     = "/bench.Echo/Say" // of StartGRPC
	TinySize = 32
	// LargeSize and HugeSize are sent with sendfile(2) from the page cache.
	LargeSize = 100 << 10
	HugeSize  = 1 << 20
)

// Size returns the size of the body of a path, 0 for an unknown path.
func Size(path string) int {
	switch path {
	case Tiny, Upload:
		return TinySize
	case Large:
		return LargeSize
	case Huge:
		return HugeSize
	case GRPC:
		return len(GRPCMessage())
	default:
		return 0
	}
}

// Start starts the origin on a free port of the loopback, pinned to cpu unless that is peers.AnyCPU. The caller stops it.
func Start(ctx context.Context, cpu int) (*peers.Server, error) {
	return start(ctx, peers.Config{CPU: cpu})
}

// StartOn is Start on several CPUs, with as many workers.
func StartOn(ctx context.Context, cpus []int) (*peers.Server, error) {
	return start(ctx, peers.Config{CPUs: cpus, Workers: len(cpus)})
}

func start(ctx context.Context, cfg peers.Config) (*peers.Server, error) {
	var filesErr error
	cfg.Text = func(addr, dir string) string {
		for _, path := range []string{Large, Huge} {
			body := bytes.Repeat([]byte("0123456789abcde\n"), Size(path)/16)
			filesErr = errors.Join(filesErr, os.WriteFile(filepath.Join(dir, path), body, 0o600))
		}
		return config(addr, dir)
	}
	s, err := peers.StartNginx(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if filesErr != nil {
		return nil, errors.Join(filesErr, s.Stop())
	}
	return s, nil
}

// config serves what is asked for. nginx answers a request by itself before it has read the body; handing the request on,
// here to itself, is what makes it read the body first. It throws the body away then.
func config(addr, dir string) string {
	return fmt.Sprintf(`default_type text/plain;
sendfile on;
tcp_nopush on;
keepalive_requests 1000000000;
keepalive_timeout 1h;
open_file_cache max=16;
open_file_cache_valid 1h;
upstream itself {
	server unix:%[4]s/itself;
	keepalive 64;
}
server {
	listen %[1]s backlog=65535;
	listen unix:%[4]s/itself;
	location = %[2]s { return 200 "%[3]s"; }
	location = %[5]s {
		client_max_body_size %[6]d;
		client_body_buffer_size %[6]d;
		proxy_pass http://itself%[2]s;
		proxy_http_version 1.1;
		proxy_method GET;
		proxy_pass_request_body off;
		proxy_pass_request_headers off;
		proxy_set_header Connection "";
		proxy_set_header Content-Length "";
	}
	location / { root %[4]s; }
}
`, addr, Tiny, bytes.Repeat([]byte("x"), TinySize), dir, Upload, HugeSize)
}
