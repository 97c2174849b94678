package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"github.com/pingora-proxy/pingora-proxy/cmd/pingora-proxy/pidfile"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone"
)

// daemonMark tells the detached process that it is one; its value is the descriptor on which it reports that it serves.
const daemonMark = "PINGORA_DAEMON_READY_FD"

func isDaemon() bool { return os.Getenv(daemonMark) != "" }

// daemonize starts this program again, detached, and returns when it serves or has failed: the caller's exit code tells
// which. A bad configuration is reported here, where somebody is looking.
//
// Where it takes another one's place the PID file is that one's until then.
func daemonize(source standalone.Options, pidFile string, upgrade bool, stderr io.Writer) error {
	if _, problems := standalone.Load(source); len(problems) > 0 {
		printProblems(stderr, problems)
		return fail(nil)
	}
	if pidFile == "" {
		pidFile = pidfile.Default()
	}
	if pid, running := pidfile.Read(pidFile); running && !upgrade {
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
