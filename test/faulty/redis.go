package faulty

import (
	"bufio"
	"context"
	"io"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/peers"
)

// A Redis is a real one, on an address that stays while it is ended and started again.
type Redis struct {
	Address string

	password string
	command  *exec.Cmd
}

// NewRedis returns one that is not started yet, and asks for a password unless that is empty. It ends with the test.
func NewRedis(t *testing.T, password string) *Redis {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // local
	if err != nil {
		t.Fatal(err)
	}
	_ = free.Close()
	s := &Redis{Address: free.Addr().String(), password: password}
	t.Cleanup(s.Kill)
	return s
}

// Start starts it, and waits until it takes connections.
func (s *Redis) Start(t *testing.T) {
	t.Helper()
	_, port, _ := net.SplitHostPort(s.Address)
	program, err := peers.Find(t.Context(), "redis-server")
	if err != nil {
		t.Fatal(err)
	}
	arguments := []string{"--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no"}
	if s.password != "" {
		arguments = append(arguments, "--requirepass", s.password)
	}
	s.command = program.Command(context.Background(), arguments...)
	s.command.Dir = t.TempDir()
	out, err := s.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.command.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), "eady to accept connections") {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return
		}
	}
	t.Fatal("redis-server did not start")
}

// Signal sends it a signal, such as SIGSTOP.
func (s *Redis) Signal(t *testing.T, what syscall.Signal) {
	t.Helper()
	if err := s.command.Process.Signal(what); err != nil {
		t.Fatal(err)
	}
}

// Kill ends it, if it runs.
func (s *Redis) Kill() {
	if s.command != nil {
		_ = s.command.Process.Kill()
		_ = s.command.Wait()
		s.command = nil
	}
}
