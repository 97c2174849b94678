package origin

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/peers"
)

// GRPCMessage is what a call sends and gets: 32 bytes with the prefix of gRPC's wire format.
func GRPCMessage() []byte {
	message := make([]byte, 5, 5+TinySize)
	binary.BigEndian.PutUint32(message[1:], TinySize)
	for range TinySize {
		message = append(message, 'x')
	}
	return message
}

// StartGRPC builds the origin of gRPC calls into dir and starts it on a free port of the loopback, pinned to cpu.
func StartGRPC(ctx context.Context, dir string, cpu int) (*peers.Process, string, error) {
	path := filepath.Join(dir, "grpc-origin")
	build := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/pingora-proxy/pingora-proxy/test/origin/cmd/grpc-origin")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, "", fmt.Errorf("building it: %w\n%s", err, out)
	}
	addr, err := peers.FreeAddr()
	if err != nil {
		return nil, "", err
	}
	p, err := peers.Start(ctx, peers.Spec{
		Program: peers.Program{Name: "grpc-origin", Path: path}, Args: []string{addr}, Env: []string{"GOMAXPROCS=1"}, CPU: cpu, Ready: peers.Dials(addr),
	})
	return p, addr, err
}
