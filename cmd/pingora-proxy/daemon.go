package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/pingora-proxy/pingora-proxy/controllers/standalone"
)

// daemonMark tells the detached process that it is one; its value is the descriptor on which it reports that it serves.
const daemonMark = "PINGORA_DAEMON_READY_FD"

func isDaemon() bool { return os.Getenv(daemonMark) != "" }

func defaultPIDFile() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "pingora-proxy.pid")
	}
	return "/run/pingora-proxy.pid"
}

// daemonize starts this program again, detached, and returns when it serves or has failed: the caller's exit code tells
// which. A bad configuration is reported here, where somebody is looking.
func daemonize(source standalone.Options, pidFile string, stderr io.Writer) error {
	if _, problems := standalone.Load(source); len(problems) > 0 {
		printProblems(stderr, problems)
		return fail(nil)
	}
	if pidFile == "" {
		pidFile = defaultPIDFile()
	}
	if pid, running := readPID(pidFile); running {
		return fail(fmt.Errorf("%s: process %d is running already", pidFile, pid))
	}
	program, err := os.Executable()
	if err != nil {
		return fail(err)
	}
	ready, report, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	defer ready.Close()
	cmd := exec.Command(program, os.Args[1:]...) //nolint:gosec // ourselves, with our own arguments
	cmd.Env = append(os.Environ(), daemonMark+"=3")
	cmd.ExtraFiles = []*os.File{report}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// Output that goes to a file or a pipe is kept; a terminal is given up.
	if !isTerminal(os.Stdout) {
		cmd.Stdout = os.Stdout
	}
	if !isTerminal(os.Stderr) {
		cmd.Stderr = os.Stderr
	}
	if err := cmd.Start(); err != nil {
		return fail(err)
	}
	_ = report.Close()
	said, err := io.ReadAll(ready)
	if err != nil {
		return fail(err)
	}
	if message, ok := bytes.CutPrefix(said, []byte(readyWord)); !ok {
		_ = cmd.Wait()
		return fail(errors.New(strings.TrimSpace("the process ended before it could serve; " + string(message))))
	}
	fmt.Fprintf(stderr, "pingora-proxy runs as process %d (%s)\n", cmd.Process.Pid, pidFile)
	return cmd.Process.Release()
}

const readyWord = "ready\n"

// reportDaemon tells the process that started the daemon how it went. It may be called when there is none.
func reportDaemon(err error) {
	fd, convErr := strconv.Atoi(os.Getenv(daemonMark))
	if convErr != nil {
		return
	}
	_ = os.Unsetenv(daemonMark)
	f := os.NewFile(uintptr(fd), "ready")
	if f == nil {
		return
	}
	word := readyWord
	if err != nil {
		word = err.Error()
	}
	_, _ = io.WriteString(f, word)
	_ = f.Close()
}

// readPID reads a PID file and reports whether the process that it names is alive, and a proxy: the id of one that was
// killed may be somebody else's by now.
func readPID(path string) (pid int, running bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		return 0, false
	}
	if err := syscall.Kill(pid, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return pid, false
	}
	name, state := processState(strconv.Itoa(pid))
	own, _ := processState("self")
	return pid, name == "" || name == own && state != "Z" // Z: it has ended, and nobody has asked how
}

// processState returns the name and the state of a process, empty where the system does not tell; see proc_pid_stat(5).
func processState(pid string) (name, state string) {
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return "", ""
	}
	begin, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if begin < 0 || end < begin || len(stat) < end+3 {
		return "", ""
	}
	return string(stat[begin+1 : end]), string(stat[end+2 : end+3])
}

// writePID writes the PID file and returns what removes it. The file is replaced in one step: nobody reads half a number.
func writePID(path string) (remove func(), err error) {
	if pid, running := readPID(path); running && pid != os.Getpid() {
		return nil, fmt.Errorf("%s: process %d is running already", path, pid)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".pid-*")
	if err != nil {
		return nil, fmt.Errorf("PID file: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = fmt.Fprintln(f, os.Getpid())
	if err == nil {
		err = f.Chmod(0o644)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return nil, fmt.Errorf("PID file: %w", err)
	}
	return func() {
		if pid, _ := readPID(path); pid == os.Getpid() {
			_ = os.Remove(path)
		}
	}, nil
}
