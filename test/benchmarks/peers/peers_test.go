package peers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// role tells the test binary to play a program instead of running tests.
const role = "PEERS_TEST_ROLE"

func TestMain(m *testing.M) {
	if r := os.Getenv(role); r != "" {
		os.Exit(play(r))
	}
	goleak.VerifyTestMain(m)
}

// play is what a child of a test does.
func play(r string) int {
	switch r {
	case "serve": // listens on the address of its first argument until SIGTERM
		l, err := net.Listen("tcp", os.Args[1])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM)
		<-term
		_ = l.Close()
		return 0
	case "fail":
		fmt.Fprintln(os.Stderr, "the reason")
		return 3
	case "burn": // uses CPU time until it has used 50 ms, says so, and waits for SIGTERM
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM)
		var use unix.Rusage
		for use.Utime.Nano()+use.Stime.Nano() < (50 * time.Millisecond).Nanoseconds() {
			_ = unix.Getrusage(unix.RUSAGE_SELF, &use)
		}
		fmt.Println("burnt")
		<-term
		return 0
	case "cpus": // prints the CPUs it may use
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(0, &set); err != nil {
			return 1
		}
		for cpu := range len(set) * 64 {
			if set.IsSet(cpu) {
				fmt.Println(cpu)
			}
		}
		return 0
	case "parent": // has a child that burns
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), role+"=burn")
		cmd.Stdout = os.Stdout
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			return 1
		}
		_ = cmd.Wait()
		return 0
	}
	return 2
}

func self(t *testing.T, r string) Program {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Program{Name: r, Path: exe, Env: []string{role + "=" + r, "GORACE=atexit_sleep_ms=0"}}
}

func stop(t *testing.T, p interface{ Stop() error }) {
	t.Helper()
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
}

func TestStartWaitsUntilReadyAndStops(t *testing.T) {
	addr, err := FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Start(t.Context(), Spec{Program: self(t, "serve"), Args: []string{addr}, CPU: AnyCPU, Ready: Dials(addr)})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Errorf("not ready after Start: %v", err)
	} else {
		_ = conn.Close()
	}
	stop(t, p)
	if _, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after Stop, dialling says %v", err)
	}
	stop(t, p) // a second time is no error
}

func TestStartReportsTheLastWords(t *testing.T) {
	_, err := Start(t.Context(), Spec{
		Program: self(t, "fail"), CPU: AnyCPU, Ready: func(context.Context) error { return errors.New("never") },
	})
	if err == nil || !strings.Contains(err.Error(), "the reason") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("got %v", err)
	}
}

func TestStartGivesUpWithItsContext(t *testing.T) {
	addr, err := FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = Start(ctx, Spec{Program: self(t, "serve"), Args: []string{addr}, CPU: AnyCPU, Ready: func(ctx context.Context) error {
		if err := Dials(addr)(ctx); err == nil {
			cancel() // it runs, and is still not what was waited for
		}
		return errors.New("the condition")
	}})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "the condition") {
		t.Errorf("got %v", err)
	}
	if _, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the process was left behind: dialling says %v", err)
	}
}

func TestRunPinsToTheCPU(t *testing.T) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	for cpu := range len(set) * 64 {
		if !set.IsSet(cpu) {
			continue
		}
		out, err := Run(t.Context(), self(t, "cpus"), cpu)
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintln(cpu); out != want {
			t.Errorf("pinned to CPU %d: may use %q", cpu, out)
		}
	}
	out, err := Run(t.Context(), self(t, "cpus"), AnyCPU)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(strings.Fields(out)); got != set.Count() {
		t.Errorf("not pinned: may use %d CPUs of %d", got, set.Count())
	}
}

func TestUsageCountsChildren(t *testing.T) {
	for _, r := range []string{"burn", "parent"} {
		t.Run(r, func(t *testing.T) {
			stdout, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = stdout.Close() }()
			p, err := Start(t.Context(), Spec{Program: self(t, r), CPU: AnyCPU, Stdout: w})
			if err != nil {
				t.Fatal(err)
			}
			_ = w.Close()
			defer stop(t, p)
			if _, err := io.ReadFull(stdout, make([]byte, len("burnt\n"))); err != nil {
				t.Fatal(err)
			}
			cpu, err := p.CPUTime()
			if err != nil {
				t.Fatal(err)
			}
			if cpu < 50*time.Millisecond {
				t.Errorf("CPU time %v of a tree that used 50ms at least", cpu)
			}
			resident, err := p.Resident()
			if err != nil {
				t.Fatal(err)
			}
			if resident < 1<<20 {
				t.Errorf("resident memory of %d bytes is less than a Go program needs", resident)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	status := http.StatusServiceUnavailable
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "why not")
	}))
	defer s.Close()
	ready := Answers(s.URL)
	if err := ready(t.Context()); err == nil || !strings.Contains(err.Error(), "503") || !strings.Contains(err.Error(), "why not") {
		t.Errorf("on 503: %v", err)
	}
	status = http.StatusOK
	if err := ready(t.Context()); err != nil {
		t.Errorf("on 200: %v", err)
	}
}

func TestFindOnPath(t *testing.T) {
	dir := t.TempDir()
	want := filepath.Join(dir, "some-program")
	if err := os.WriteFile(want, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	p, err := Find(t.Context(), "some-program")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Program{Name: "some-program", Path: want, Origin: "PATH"}, p); diff != "" {
		t.Error(diff)
	}
}

func TestCacheDir(t *testing.T) {
	t.Setenv("HOME", "/home/someone")
	for _, tc := range []struct{ xdg, want string }{
		{"", "/home/someone/.cache/pingora-proxy"},
		{"relative/is/ignored", "/home/someone/.cache/pingora-proxy"},
		{"/var/cache/me", "/var/cache/me/pingora-proxy"},
	} {
		t.Setenv("XDG_CACHE_HOME", tc.xdg)
		if got, err := CacheDir(); err != nil || got != tc.want {
			t.Errorf("XDG_CACHE_HOME=%q: got %q, %v, want %q", tc.xdg, got, err, tc.want)
		}
	}
}

func TestTail(t *testing.T) {
	var tl tail
	for i := range 1000 {
		_, _ = fmt.Fprintf(&tl, "line %d\n", i)
	}
	got := tl.String()
	if len(got) > tailBytes || !strings.HasSuffix(got, "line 998\nline 999") {
		t.Errorf("%d bytes, the end is %q", len(got), got[max(0, len(got)-40):])
	}
}

func TestParseStat(t *testing.T) {
	for _, tc := range []struct {
		stat        string
		pid, parent int
		fails       bool
	}{
		{stat: "12 (nginx) S 7 12 7 0 -1", pid: 12, parent: 7},
		{stat: "12 (a) b ) (c) S 7 12 7", pid: 12, parent: 7},
		{stat: "12 nginx S 7", fails: true},
		{stat: "12 (nginx) S", fails: true},
		{stat: "x (nginx) S 7 1", fails: true},
		{stat: "12 (nginx) S y 1", fails: true},
	} {
		pid, parent, err := parseStat(tc.stat)
		if (err != nil) != tc.fails || !tc.fails && (pid != tc.pid || parent != tc.parent) {
			t.Errorf("%q: got %d, %d, %v", tc.stat, pid, parent, err)
		}
	}
}

func TestVMRSS(t *testing.T) {
	if got, err := vmRSS("Name:\tx\nVmHWM:\t  900 kB\nVmRSS:\t  512 kB\n"); err != nil || got != 512<<10 {
		t.Errorf("got %d, %v", got, err)
	}
	for _, bad := range []string{"", "Name:\tkthreadd\n", "VmRSS:\tmany kB\n"} {
		if got, err := vmRSS(bad); err == nil {
			t.Errorf("%q: got %d", bad, got)
		}
	}
}
