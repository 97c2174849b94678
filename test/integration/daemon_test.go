package integration_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// A daemon is a detached proxy, which belongs to no test process: the test ends it by its PID file.
type daemon struct {
	pidFile, config, log string
	service              string // the address of the service web
	arguments, env       []string
}

// newDaemon prepares one; the configuration has one service.
func newDaemon(t *testing.T) *daemon {
	t.Helper()
	dir := t.TempDir()
	origin := harness.StartOrigin(t, harness.Echo("origin"))
	d := &daemon{
		pidFile: filepath.Join(dir, "proxy.pid"), config: filepath.Join(dir, "c.yaml"), log: filepath.Join(dir, "access.log"),
		service: "127.0.0.1:" + freePort(t),
	}
	yaml := fmt.Sprintf("admin: {bind_address: 'off'}\nmetrics: {bind_address: 'off'}\naccess_log: {path: '%s'}\n", d.log) +
		strings.Replace(webService([]string{origin.Addr}, unchecked), "127.0.0.1:0", d.service, 1)
	if err := os.WriteFile(d.config, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if pid, err := strconv.Atoi(d.pidText()); err == nil && pid != os.Getpid() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	return d
}

func (d *daemon) pidText() string {
	text, err := os.ReadFile(d.pidFile)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// start runs the command that starts the daemon. Its output is a file: a pipe would be open for as long as the daemon.
func (d *daemon) start(t *testing.T) (r harness.Result) {
	t.Helper()
	stderr, err := os.CreateTemp(t.TempDir(), "stderr")
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	program := harness.Binary(t) // which takes its time where it is built first
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	command := exec.CommandContext(ctx, program, append([]string{"--daemon", "--pid-file", d.pidFile, "--config", d.config}, d.arguments...)...)
	command.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PINGORA_") }), d.env...)
	command.Stderr = stderr
	if err := command.Run(); err != nil && command.ProcessState == nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(stderr.Name())
	if err != nil {
		t.Fatal(err)
	}
	return harness.Result{Code: command.ProcessState.ExitCode(), Stderr: string(text)}
}

func TestDaemonStartsDetachedAndStops(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	r := d.start(t)
	if r.Code != 0 || !strings.Contains(r.Stderr, "pingora-proxy runs as process "+d.pidText()+" ("+d.pidFile+")") {
		t.Fatalf("%+v, PID %q", r, d.pidText())
	}
	// It serves from the moment in which the command returns.
	if got := one(t, harness.Dial(t, d.service)); got != "origin" {
		t.Error(got)
	}
	pid, err := strconv.Atoi(d.pidText())
	if err != nil {
		t.Fatal(err)
	}
	executable, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil || filepath.Base(executable) != "pingora-proxy" {
		t.Errorf("the PID file names %q: %v", executable, err)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	if fields := strings.Fields(rest); fields[2] != strconv.Itoa(pid) || fields[3] != strconv.Itoa(pid) || fields[4] != "0" {
		t.Errorf("group %s, session %s, terminal %s: not detached", fields[2], fields[3], fields[4])
	}
	info, err := os.Stat(d.pidFile)
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v %v", info, err)
	}

	// A second one is refused, and harms nothing.
	if r := d.start(t); r.Code != 1 || !strings.Contains(r.Stderr, fmt.Sprintf("%s: process %d is running already", d.pidFile, pid)) {
		t.Errorf("%+v", r)
	}
	if d.pidText() != strconv.Itoa(pid) {
		t.Error("the second start changed the PID file")
	}
	one(t, harness.Dial(t, d.service))

	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the PID file is removed", func() bool {
		_, err := os.Stat(d.pidFile)
		return os.IsNotExist(err)
	})
	harness.Eventually(t, "the process has ended", func() bool { return !running(pid) })

	// A PID file that a killed one left does not stand in the way, though its id is somebody else's by now.
	for _, left := range []int{pid, os.Getpid()} {
		if err := os.WriteFile(d.pidFile, []byte(strconv.Itoa(left)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		r := d.start(t)
		next, err := strconv.Atoi(d.pidText())
		if r.Code != 0 || err != nil || next == left {
			t.Fatalf("%+v, PID %q", r, d.pidText())
		}
		one(t, harness.Dial(t, d.service))
		if err := syscall.Kill(next, syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		harness.Eventually(t, "the process has ended", func() bool { return !running(next) })
	}
}

// running reports whether a process runs, and is not only waiting for its parent to ask.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func TestDaemonReportsWhyItCannotStart(t *testing.T) {
	t.Parallel()
	t.Run("address taken", func(t *testing.T) {
		t.Parallel()
		d := newDaemon(t)
		serveAt(t, d.service, http.NotFoundHandler())
		r := d.start(t)
		if r.Code != 1 || !strings.Contains(r.Stderr, "listen on "+d.service) || !strings.Contains(r.Stderr, "address already in use") {
			t.Errorf("%+v", r)
		}
		if d.pidText() != "" {
			t.Error("a PID file is left")
		}
	})
	t.Run("no folder for the PID file", func(t *testing.T) {
		t.Parallel()
		d := newDaemon(t)
		d.pidFile = filepath.Join(d.pidFile, "missing", "x.pid")
		r := d.start(t)
		if r.Code != 1 || !strings.Contains(r.Stderr, "PID file") {
			t.Errorf("%+v", r)
		}
		if !free(d.service) {
			t.Error("it serves nevertheless")
		}
	})
	t.Run("bad file", func(t *testing.T) {
		t.Parallel()
		d := newDaemon(t)
		if err := os.WriteFile(d.config, []byte("services: [{name: x}]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if r := d.start(t); r.Code != 1 || !strings.Contains(r.Stderr, d.config+":1:12: services[0].bind_address: ") {
			t.Errorf("%+v", r)
		}
	})
}

// Without --daemon a PID file is written where one is asked for.
func TestPIDFileInTheForeground(t *testing.T) {
	t.Parallel()
	pidFile := filepath.Join(t.TempDir(), "p.pid")
	p := harness.Start(t, webService([]string{"127.0.0.1:1"}, unchecked), harness.Options{Args: []string{"--pid-file", pidFile}})
	text, err := os.ReadFile(pidFile)
	if err != nil || strings.TrimSpace(string(text)) != strconv.Itoa(p.PID()) {
		t.Errorf("%q %v, want %d", text, err, p.PID())
	}
	if code := p.Stop(t); code != 0 {
		t.Error(code)
	}
	if _, err := os.Stat(pidFile); !os.IsNotExist(err) {
		t.Errorf("the PID file is left: %v", err)
	}
}
