package controlside

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A process is the program serving a folder.
type process struct {
	command *exec.Cmd
	ended   chan struct{}
}

func start(binary, folder string, log io.Writer) (*process, error) {
	p := &process{command: exec.Command(binary, "--config", folder), ended: make(chan struct{})}
	p.command.Env = append(os.Environ(), "PINGORA_ADMIN_BIND_ADDRESS=off", "PINGORA_METRICS_BIND_ADDRESS=off", "PINGORA_ACCESS_LOG_PATH=off", "LOG_LEVEL=warn")
	p.command.Stdout, p.command.Stderr = log, log
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.command.Wait() // how it ended is not asked
		close(p.ended)
	}()
	return p, nil
}

func (p *process) stop() {
	_ = p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		_ = p.command.Process.Kill()
		<-p.ended
	}
}

// memory is what is resident now and at most, in MiB.
func (p *process) memory() (resident, peak float64) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		n, _ := strconv.ParseFloat(fields[1], 64)
		switch fields[0] {
		case "VmRSS:":
			resident = n / 1024
		case "VmHWM:":
			peak = n / 1024
		}
	}
	return resident, peak
}

// cpu is the CPU time that the process has used.
func (p *process) cpu() time.Duration {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.command.Process.Pid))
	_, after, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(after)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond // clock ticks
}

// origin answers on every address of 127.0.0.0/8, and on no other interface.
func origin(ctx context.Context) (port uint16, stop func(), err error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "lo") })
		if err == nil {
			err = failed
		}
		return err
	}}
	l, err := config.Listen(ctx, "tcp4", "0.0.0.0:0")
	if err != nil {
		return 0, nil, err
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok") // a client that is gone needs none
	})}
	go func() { _ = server.Serve(l) }()
	return l.Addr().(*net.TCPAddr).AddrPort().Port(), func() { _ = server.Close() }, nil
}

// freeAddress is one of loopback that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

// replace puts a file into its place as a whole.
func replace(name, text string) error {
	next := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+".next")
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(next, name)
}
