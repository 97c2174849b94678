package pidfile

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	t.Parallel()
	// A process of another name, and one that has ended and that nobody has asked.
	other := exec.CommandContext(t.Context(), "sleep", "3600")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = other.Process.Kill()
		_ = other.Wait()
	}()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ended := exec.CommandContext(t.Context(), self, "-test.run=^$")
	out, err := ended.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := ended.Start(); err != nil {
		t.Fatal(err)
	}
	for state := ""; state != "Z"; {
		_, state = processState(strconv.Itoa(ended.Process.Pid))
	}
	defer func() {
		_ = out.Close()
		_ = ended.Wait()
	}()

	for name, c := range map[string]struct {
		text    string
		pid     int
		running bool
	}{
		"a proxy":        {fmt.Sprintln(os.Getpid()), os.Getpid(), true},
		"without a line": {fmt.Sprint(os.Getpid()), os.Getpid(), true},
		"a stranger":     {fmt.Sprintln(other.Process.Pid), other.Process.Pid, false},
		"one that ended": {fmt.Sprintln(ended.Process.Pid), ended.Process.Pid, false},
		"nobody":         {"4194305\n", 4194305, false}, // above the most that Linux gives
		"a word":         {"proxy\n", 0, false},
		"a group":        {"-1\n", 0, false},
		"nothing":        {"", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "pid")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if pid, running := Read(path); running != c.running || running && pid != c.pid {
				t.Errorf("%d %v, want %d %v", pid, running, c.pid, c.running)
			}
		})
	}
	if _, running := Read(filepath.Join(t.TempDir(), "missing")); running {
		t.Error("a missing file names a process")
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pid")
	remove, err := Write(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || strings.TrimSpace(string(text)) != strconv.Itoa(os.Getpid()) {
		t.Errorf("%q %v", text, err)
	}
	// What another process has written since is not ours to remove.
	if err := os.WriteFile(path, []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	remove()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("another process's PID file was removed: %v", err)
	}
	if remove, err = Write(path, 0); err != nil { // process 1 is no proxy
		t.Fatal(err)
	}
	remove()
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
