package peers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// readyTimeout bounds the wait for a started program.
	readyTimeout = 15 * time.Second
	// stopTimeout is the time between SIGTERM and SIGKILL.
	stopTimeout = 5 * time.Second
	// pollInterval is the pause between two looks at a condition of another process, which gives no notice.
	pollInterval = 5 * time.Millisecond
)

// AnyCPU leaves a process on all CPUs.
const AnyCPU = -1

// Spec says what to start.
type Spec struct {
	Program Program
	Args    []string
	// Dir is the working directory, "" for that of the caller.
	Dir string
	// Env is added to the environment.
	Env []string
	// CPU pins the process to one CPU, AnyCPU does not.
	CPU int
	// CPUs pins the process to several, and then CPU does not count; nil does not.
	CPUs []int
	// Stdout receives the standard output, nil discards it.
	Stdout *os.File
	// Ready is asked until it returns nil; nil means ready at once. See [Dials] and [Answers].
	Ready func(context.Context) error
}

// Process is a running program that was started by [Start].
type Process struct {
	name   string
	cmd    *exec.Cmd
	stderr *tail
	exited chan struct{}
	err    error // of Wait; read after exited is closed
}

// Start starts a program and waits until it is ready. It returns an error with the program's last words when the program
// exits before that, and stops it when it is not ready in time. The caller stops the process with Stop.
func Start(ctx context.Context, spec Spec) (*Process, error) {
	// Not CommandContext: a cancelled context must not kill a master process without its workers; Stop ends both.
	cmd := exec.Command(spec.Program.Path, spec.Args...)
	cmd.Dir = spec.Dir
	cmd.Env = append(append(os.Environ(), spec.Program.Env...), spec.Env...)
	if spec.Stdout != nil {
		cmd.Stdout = spec.Stdout
	}
	p := &Process{name: spec.Program.Name, cmd: cmd, stderr: &tail{}, exited: make(chan struct{})}
	cmd.Stderr = p.stderr
	// Workers inherit the pipe behind Stderr; Wait must not hang on one that outlives its master.
	cmd.WaitDelay = stopTimeout
	// A caller that dies must not leave servers behind.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	cpus := spec.CPUs
	if cpus == nil {
		cpus = only(spec.CPU)
	}
	if err := startOn(cmd, cpus); err != nil {
		return nil, fmt.Errorf("starting %s: %w", spec.Program.Path, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.exited)
	}()
	if spec.Ready == nil {
		return p, nil
	}
	if err := p.waitReady(ctx, spec.Ready); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

// only is the list of one CPU, nil for AnyCPU.
func only(cpu int) []int {
	if cpu == AnyCPU {
		return nil
	}
	return []int{cpu}
}

// startOn starts cmd pinned to CPUs, nil: not pinned. A child inherits the affinity of the thread that forks it, so the pinning takes
// effect before its first instruction, and every thread and worker that it makes inherits it in turn.
func startOn(cmd *exec.Cmd, cpus []int) error {
	if cpus == nil {
		return cmd.Start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var old, pinned unix.CPUSet
	if err := unix.SchedGetaffinity(0, &old); err != nil {
		return err
	}
	for _, cpu := range cpus {
		pinned.Set(cpu)
	}
	if err := unix.SchedSetaffinity(0, &pinned); err != nil {
		return fmt.Errorf("pinning to CPUs %v: %w", cpus, err)
	}
	return errors.Join(cmd.Start(), unix.SchedSetaffinity(0, &old))
}

func (p *Process) waitReady(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	var last error
	for {
		// An attempt that the deadline cuts off hides why the ones before it failed.
		if err := ready(ctx); err == nil || last == nil || ctx.Err() == nil {
			last = err
		}
		select {
		case <-p.exited:
			return fmt.Errorf("%s exited before it was ready: %w: %s", p.name, errors.Join(p.err, errExited), p.stderr)
		default:
		}
		if last == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.exited:
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w: %w: %s", p.name, ctx.Err(), last, p.stderr)
		}
	}
}

var errExited = errors.New("process ended")

// PID is the id of the process; its workers are its children.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal to the process.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Stderr returns the last lines that the process wrote to its standard error.
func (p *Process) Stderr() string { return p.stderr.String() }

// Stop ends the process: SIGTERM, then, for it and its children, SIGKILL when it does not end in time. It reports an
// error when the process had to be killed.
func (p *Process) Stop() error {
	select {
	case <-p.exited:
		return nil
	default:
	}
	tree, err := Tree(p.PID())
	if err != nil {
		tree = []int{p.PID()}
	}
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping %s: %w", p.name, err)
	}
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-p.exited:
		return nil
	case <-timer.C:
	}
	for _, pid := range tree {
		// One that ended meanwhile is as good as killed.
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	<-p.exited
	return fmt.Errorf("%s did not stop within %s of SIGTERM and was killed: %s", p.name, stopTimeout, p.stderr)
}

// FreeAddr returns an address of the loopback with a port that nobody used a moment ago.
func FreeAddr() (string, error) {
	addrs, err := FreeAddrs(1)
	if err != nil {
		return "", err
	}
	return addrs[0], nil
}

// FreeAddrs returns n such addresses, no two of them the same: asked for one after the other, the kernel may give one
// port twice.
func FreeAddrs(n int) (addrs []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

// Dials is ready when addr accepts a TCP connection.
func Dials(addr string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// Answers is ready when a GET of url is answered with 200.
func Answers(url string) func(context.Context) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(io.LimitReader(res.Body, 4096))
		if err != nil {
			return err
		}
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("GET %s: %s: %s", url, res.Status, strings.TrimSpace(string(body)))
		}
		return nil
	}
}

// Run runs a program pinned to a CPU (AnyCPU: not pinned) until it ends, and returns its standard output.
func Run(ctx context.Context, program Program, cpu int, args ...string) (string, error) {
	return RunOn(ctx, program, only(cpu), args...)
}

// RunOn is Run on several CPUs, nil: not pinned.
func RunOn(ctx context.Context, program Program, cpus []int, args ...string) (string, error) {
	cmd := program.Command(ctx, args...)
	var stdout strings.Builder
	stderr := &tail{}
	cmd.Stdout, cmd.Stderr = &stdout, stderr
	err := startOn(cmd, cpus)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", program.Name, strings.Join(args, " "), err, stderr)
	}
	return stdout.String(), nil
}
