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
	GRPC     = "/bench.Echo/Say" // of StartGRPC
	TinySize = 32
	// LargeSize and HugeSize are sent with sendfile(2) from the page cache.
	LargeSize = 100 << 10
	HugeSize  = 1 << 20
)

// Size returns the size of the body of a path, 0 for an unknown path.
func Size(path string) int {
	switch path {
	case Tiny:
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
	var filesErr error
	s, err := peers.StartNginx(ctx, peers.Config{
		CPU: cpu,
		Text: func(addr, dir string) string {
			for _, path := range []string{Large, Huge} {
				body := bytes.Repeat([]byte("0123456789abcde\n"), Size(path)/16)
				filesErr = errors.Join(filesErr, os.WriteFile(filepath.Join(dir, path), body, 0o600))
			}
			return config(addr, dir)
		},
	})
	if err != nil {
		return nil, err
	}
	if filesErr != nil {
		return nil, errors.Join(filesErr, s.Stop())
	}
	return s, nil
}

func config(addr, dir string) string {
	return fmt.Sprintf(`default_type text/plain;
sendfile on;
tcp_nopush on;
keepalive_requests 1000000000;
keepalive_timeout 1h;
open_file_cache max=16;
open_file_cache_valid 1h;
server {
	listen %s backlog=65535;
	location = %s { return 200 "%s"; }
	location / { root %s; }
}
`, addr, Tiny, bytes.Repeat([]byte("x"), TinySize), dir)
}
