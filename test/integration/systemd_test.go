package integration_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// A supervisor is what systemd is for a service: it hears what the service says of itself.
type supervisor struct {
	*succession
	mu   sync.Mutex
	said []string
}

func newSupervisor(t *testing.T) *supervisor {
	t.Helper()
	s := &supervisor{succession: newSuccession(t)}
	path := filepath.Join(filepath.Dir(s.socket), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 4096)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			s.mu.Lock()
			s.said = append(s.said, string(b[:n]))
			s.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	s.env = append(s.env, "NOTIFY_SOCKET="+path)
	return s
}

// heard lists what was said so far, without the signs of life.
func (s *supervisor) heard() (said []string, alive int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, text := range s.said {
		if text == "WATCHDOG=1" {
			alive++
		} else {
			said = append(said, text)
		}
	}
	return said, alive
}

// await waits until the last of what is said begins so, and returns all of it.
func (s *supervisor) await(t *testing.T, begin string) []string {
	t.Helper()
	var said []string
	harness.Eventually(t, "the supervisor hears "+begin, func() bool {
		said, _ = s.heard()
		return len(said) > 0 && strings.HasPrefix(said[len(said)-1], begin)
	})
	return said
}

func TestSupervisorIsTold(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	origin := harness.StartOrigin(t, harness.Echo("o"))
	yaml := webService([]string{origin.Addr}, unchecked)
	p := s.start(t, yaml, "WATCHDOG_USEC=20000")
	if said := s.await(t, "READY=1\nSTATUS=serving configuration "); len(said) != 1 {
		t.Errorf("%q", said)
	}
	harness.Eventually(t, "signs of life", func() bool {
		_, alive := s.heard()
		return alive > 3
	})
	reloaded := func(t *testing.T, n int, status string) {
		t.Helper()
		var said []string
		harness.Eventually(t, "the reload is over", func() bool {
			said, _ = s.heard()
			return len(said) >= n+2
		})
		begin := strings.SplitN(said[n], "\n", 2)
		if begin[0] != "RELOADING=1" || len(begin) != 2 || !strings.HasPrefix(begin[1], "MONOTONIC_USEC=") {
			t.Errorf("%q", said)
		}
		if !strings.HasPrefix(said[n+1], "READY=1\n") || !strings.Contains(said[n+1], status) {
			t.Errorf("%q has no %q", said, status)
		}
	}
	p.Signal(t, syscall.SIGHUP)
	reloaded(t, 1, "serving")
	p.Reload(t, yaml+"    timeouts: {idle_secs: 61}\n")
	reloaded(t, 3, "serving")
	if err := os.WriteFile(p.Path, []byte("services: [{name: x}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.Signal(t, syscall.SIGHUP)
	harness.Eventually(t, "the refusal is told", func() bool {
		said, _ := s.heard()
		return strings.Contains(said[len(said)-1], "the last reload was refused")
	})
	before, _ := s.heard()
	if code := p.Stop(t); code != 0 {
		t.Error(code)
	}
	if said := s.await(t, "STOPPING=1"); len(said) != len(before)+1 {
		t.Errorf("%q", said)
	}
}

// Both processes of a hand-over speak, the new one after it was named.
func TestSupervisorIsToldOfTheSuccessor(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	origin := harness.StartOrigin(t, harness.Echo("o"))
	old := s.start(t, webService([]string{origin.Addr}, unchecked))
	next := s.next(t, old)
	s.waits(t, next)
	old.Signal(t, syscall.SIGQUIT)
	serves(t, next)
	ended(t, old)
	said := s.await(t, "READY=1")
	if len(said) != 3 || said[1] != fmt.Sprintf("MAINPID=%d", next.PID()) {
		t.Errorf("%q", said)
	}
}

// With SIGUSR2 the process starts the one that takes its place, from where it was started itself.
func TestProcessStartsItsSuccessor(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	program := harness.Binary(t)
	origin := harness.StartOrigin(t, harness.Echo("o"))
	dir := t.TempDir()
	address := "127.0.0.1:" + freePort(t)
	config, link, log := filepath.Join(dir, "c.yaml"), filepath.Join(dir, "pingora-proxy"), filepath.Join(dir, "log")
	yaml := "admin: {bind_address: 'off'}\nmetrics: {bind_address: 'off'}\naccess_log: {path: 'off'}\n" +
		strings.Replace(webService([]string{origin.Addr}, unchecked), "127.0.0.1:0", address, 1)
	for _, err := range []error{os.WriteFile(config, []byte(yaml), 0o600), os.Symlink("/bin/false", link+"-broken"), os.Symlink(program, link)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	stderr, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	first := exec.Command(link, "--config", config)
	first.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PINGORA_") }), s.env...)
	first.Env = append(first.Env, "WATCHDOG_USEC=20000", "GORACE=atexit_sleep_ms=10")
	first.Stderr = stderr
	first.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	over := make(chan error, 1)
	go func() { over <- first.Wait() }()
	pids := []int{first.Process.Pid}
	t.Cleanup(func() {
		for _, pid := range pids {
			if running(pid) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		if text, err := os.ReadFile(log); err == nil && (t.Failed() || strings.Contains(string(text), "DATA RACE")) {
			t.Errorf("%s", text)
		}
	})
	s.await(t, "READY=1")

	// A program that does not serve changes nothing.
	if err := os.Rename(link+"-broken", link); err != nil {
		t.Fatal(err)
	}
	if err := first.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "it serves on", func() bool {
		text, err := os.ReadFile(log)
		return err == nil && strings.Contains(string(text), "this process serves on")
	})
	if got := one(t, harness.Dial(t, address)); got != "o" {
		t.Error(got)
	}

	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(program, link); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		before := pids[len(pids)-1]
		heard, _ := s.heard()
		if err := syscall.Kill(before, syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		var said []string
		harness.Eventually(t, "the supervisor hears of the successor", func() bool {
			said, _ = s.heard()
			return len(said) == len(heard)+2
		})
		pid, err := strconv.Atoi(strings.TrimPrefix(said[len(said)-2], "MAINPID="))
		if err != nil || pid == before || !strings.HasPrefix(said[len(said)-1], "READY=1") {
			t.Fatalf("%q", said)
		}
		pids = append(pids, pid)
		harness.Eventually(t, "the one before has ended", func() bool { return !running(before) })
		if got := one(t, harness.Dial(t, address)); got != "o" {
			t.Error(got)
		}
	}
	if err := <-over; err != nil {
		t.Error(err)
	}
	_, alive := s.heard()
	harness.Eventually(t, "the successor gives signs of life", func() bool {
		_, now := s.heard()
		return now > alive
	})
	last := pids[len(pids)-1]
	if err := syscall.Kill(last, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.await(t, "STOPPING=1")
	harness.Eventually(t, "the last one has ended", func() bool { return !running(last) })
}

// activate runs the program as systemd does with sockets: they are open from descriptor 3 on, and LISTEN_PID is the process's own.
func activate(t *testing.T, config string, listeners []*net.TCPListener) (log string) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "c.yaml")
	if err := os.WriteFile(path, []byte("admin: {bind_address: 'off'}\nmetrics: {bind_address: 'off'}\naccess_log: {path: 'off'}\n"+config), 0o600); err != nil {
		t.Fatal(err)
	}
	log = filepath.Join(dir, "log")
	stderr, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	command := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh", harness.Binary(t), "--config", path)
	command.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PINGORA_") }),
		fmt.Sprintf("LISTEN_FDS=%d", len(listeners)), "LISTEN_FDNAMES=web:other", "GORACE=atexit_sleep_ms=10")
	for _, ln := range listeners {
		f, err := ln.File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		command.ExtraFiles = append(command.ExtraFiles, f)
	}
	command.Stderr = stderr
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		if err := command.Wait(); err != nil {
			text, _ := os.ReadFile(log)
			t.Errorf("%v: %s", err, text)
		}
	})
	return log
}

func TestSocketActivation(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t, harness.Echo("o"))
	var listeners []*net.TCPListener
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", "127.0.0.1:0"} {
		ln, err := net.Listen("tcp", address) //nolint:noctx // local
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		listeners = append(listeners, ln.(*net.TCPListener))
	}
	first, second := listeners[0].Addr().String(), listeners[1].Addr().String()
	service := func(name, address string) string {
		return fmt.Sprintf("  - {name: %s, bind_address: '%s', upstreams: ['%s'], health_check: {type: Disabled}}\n", name, address, origin.Addr)
	}
	both := "services:\n" + service("web", first) + service("six", second)
	for round := range 2 { // systemd keeps the sockets: what is queued waits for the next process
		early := harness.Dial(t, first)
		t.Run(fmt.Sprint("round ", round), func(t *testing.T) {
			log := activate(t, both, listeners)
			if got := one(t, early); got != "o" {
				t.Error(got)
			}
			if got := one(t, harness.Dial(t, second)); got != "o" {
				t.Error(got)
			}
			text, err := os.ReadFile(log)
			if err != nil || !strings.Contains(string(text), "a socket was passed that nothing in the configuration listens on") ||
				!strings.Contains(string(text), listeners[2].Addr().String()) {
				t.Errorf("%s %v", text, err)
			}
		})
	}
	// What stands in the way is named.
	t.Run("another address", func(t *testing.T) {
		_, port, _ := net.SplitHostPort(first)
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte("services:\n"+service("web", "0.0.0.0:"+port)), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := listeners[0].File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		command := exec.CommandContext(t.Context(), "/bin/sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"`, "sh", harness.Binary(t), "--config", path,
			"--admin-bind-address=off", "--metrics-bind-address=off")
		command.ExtraFiles = []*os.File{f}
		out, err := command.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "a socket for "+first+" was passed to this process; the addresses must be the same") {
			t.Errorf("%v %s", err, out)
		}
	})
}
