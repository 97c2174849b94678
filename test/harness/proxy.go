package harness

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Options of Start. The zero value is good for most tests.
type Options struct {
	// Args are added to the command line.
	Args []string
	// Env is added to the environment.
	Env []string
	// Program is another build of the program, "" for the usual one.
	Program string
	// Path is where the configuration is written, "" for a file of the test's own.
	Path string
	// NoWait returns without waiting for the proxy to be ready, for one that shall not start.
	NoWait bool
	// Dirty says that the proxy may end in any way: one that is killed.
	Dirty bool
	// Measured has the program built without the race detector, which shadows memory and has pools drop what they are given:
	// for tests of what the program costs.
	Measured bool
}

// A Proxy is a running process of the program.
type Proxy struct {
	// Path is the configuration file, empty if there is none.
	Path string

	command *exec.Cmd
	stdout  output // the access log
	stderr  output // the process log
	exited  chan struct{}
	dirty   bool
}

// Start runs the program with a configuration and waits until it is ready. The admin API and the metrics get free ports
// unless the configuration has `admin:` and `metrics:`. With an empty configuration there is no file, and the arguments
// must say what to serve.
func Start(t testing.TB, yaml string, o Options) *Proxy {
	t.Helper()
	p := &Proxy{exited: make(chan struct{}), dirty: o.Dirty}
	var arguments []string
	if yaml != "" || o.Path != "" {
		p.Path = o.Path
		if p.Path == "" {
			p.Path = filepath.Join(t.TempDir(), "pingora-proxy.yaml")
		}
		if yaml != "" {
			p.WriteConfig(t, yaml)
		}
		arguments = []string{"--config", p.Path}
	}
	b := &program
	if o.Measured {
		b = &measured
	}
	path := o.Program
	if path == "" {
		path = b.get(t)
	}
	p.command = exec.Command(path, append(arguments, o.Args...)...)
	p.command.Env = environment()
	for _, server := range []string{"admin", "metrics"} {
		if !strings.HasPrefix(yaml, server+":") && !strings.Contains(yaml, "\n"+server+":") {
			p.command.Env = append(p.command.Env, "PINGORA_"+strings.ToUpper(server)+"_BIND_ADDRESS=127.0.0.1:0")
		}
	}
	p.command.Env = append(p.command.Env, o.Env...)
	p.command.Stdout, p.command.Stderr = &p.stdout, &p.stderr
	// A group of its own, so that a process that it leaves is found; and no proxy outlives its tests.
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	// What it leaves holds its output open; Wait must end nevertheless.
	p.command.WaitDelay = time.Second
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.command.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() { p.end(t) })
	if o.NoWait {
		return p
	}
	Eventually(t, "the proxy is ready or has ended", func() bool {
		select {
		case <-p.exited:
			return true
		default:
		}
		admin := p.adminAddr()
		if admin == "" {
			return false
		}
		status, _, err := get("http://" + admin + "/readyz")
		return err == nil && status == 200
	})
	select {
	case <-p.exited:
		t.Fatalf("the proxy ended with code %d before it was ready", p.command.ProcessState.ExitCode())
	default:
	}
	return p
}

// environment is that of the tests without what would change the program's behaviour.
func environment() []string {
	// The race detector lets a process that ends sleep for a second, which hundreds of proxies do not have.
	return append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		for _, prefix := range []string{"PINGORA_", "CONFIG_PATH=", "LOG_LEVEL=", "RUST_", "WORKER_THREADS=", "GORACE=", originVariable} {
			if strings.HasPrefix(v, prefix) {
				return true
			}
		}
		return false
	}), "GORACE=atexit_sleep_ms=10")
}

// PID is the id of the process.
func (p *Proxy) PID() int { return p.command.Process.Pid }

// Exited is closed when the process has ended.
func (p *Proxy) Exited() <-chan struct{} { return p.exited }

// Signal sends a signal to the process.
func (p *Proxy) Signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := p.command.Process.Signal(s); err != nil {
		t.Fatalf("%v: %v", s, err)
	}
}

// Wait waits for the end of the process and returns its exit code; -1 is one that a signal has killed.
func (p *Proxy) Wait(t testing.TB) int {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(Patience):
		t.Fatalf("the proxy does not end")
	}
	return p.command.ProcessState.ExitCode()
}

// Stop ends the process with SIGTERM, as a supervisor does, and returns its exit code.
func (p *Proxy) Stop(t testing.TB) int {
	t.Helper()
	p.Signal(t, syscall.SIGTERM)
	return p.Wait(t)
}

// Deafen makes whoever reads what the process writes, on stdout and stderr, stop doing so: its pipes fill. Hear ends that.
func (p *Proxy) Deafen() {
	p.stdout.set(true, false)
	p.stderr.set(true, false)
}

// Hear reads on.
func (p *Proxy) Hear() {
	p.stdout.set(false, false)
	p.stderr.set(false, false)
}

// HangUp closes the pipes to which the process writes stdout and stderr, each with the next thing that is written.
func (p *Proxy) HangUp() {
	p.stdout.set(false, true)
	p.stderr.set(false, true)
}

// end stops the process at the end of its test, if it still runs, and fails the test where something is not in order.
func (p *Proxy) end(t testing.TB) {
	p.Hear()
	early := false
	select {
	case <-p.exited:
		early = true
	default:
		if err := p.command.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("stopping the proxy: %v", err)
		}
	}
	select {
	case <-p.exited:
	case <-time.After(Patience):
		// Its goroutines say what it waits for.
		_ = p.command.Process.Signal(syscall.SIGABRT)
		if !within(Patience/4, func() bool { return isClosed(p.exited) }) {
			_ = p.command.Process.Kill()
			<-p.exited
		}
		t.Errorf("the proxy did not end within %v of SIGTERM", Patience)
	}
	if code := p.command.ProcessState.ExitCode(); code != 0 && !p.dirty && !early {
		t.Errorf("the proxy ended with code %d", code)
	}
	if err := syscall.Kill(-p.PID(), 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the proxy has left processes behind: %v", err)
		_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
	}
	log := p.stderr.String()
	for _, alarm := range []string{"DATA RACE", "panic:", "ended in a panic"} {
		if strings.Contains(log, alarm) {
			t.Errorf("the log has %q", alarm)
		}
	}
	if t.Failed() {
		t.Logf("log of the proxy:\n%s\naccess log:\n%s", tail(log), tail(p.stdout.String()))
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// tail is the end of a long text.
func tail(text string) string {
	const most = 16 << 10
	if len(text) <= most {
		return text
	}
	return "…" + text[len(text)-most:]
}
