package pidfile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Default is where the id of a daemon is written unless it is said.
func Default() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "pingora-proxy.pid")
	}
	return "/run/pingora-proxy.pid"
}

// Read reads a PID file and reports whether the process that it names is alive, and a proxy: the id of one that was
// killed may be somebody else's by now.
func Read(path string) (pid int, running bool) {
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

// Free returns an error where a PID file names another proxy than the one whose place this one takes (0: nobody's).
func Free(path string, before int) error {
	if pid, running := Read(path); running && pid != os.Getpid() && pid != before {
		return fmt.Errorf("%s: process %d is running already", path, pid)
	}
	return nil
}

// Write writes the PID file and returns what removes it. The file is replaced in one step: nobody reads half a number.
func Write(path string, before int) (remove func(), err error) {
	if err := Free(path, before); err != nil {
		return nil, err
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
		if pid, _ := Read(path); pid == os.Getpid() {
			_ = os.Remove(path)
		}
	}, nil
}
