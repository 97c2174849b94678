package kube

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// playRole does what this process was started for, if that is not to run tests.
func playRole() (code int, ok bool) {
	if os.Getenv(isolatedVariable) == "" {
		return 0, false
	}
	if job := os.Getenv(podVariable); job != "" {
		return podMain(job), true
	}
	if slices.Contains(launched, filepath.Base(os.Args[0])) {
		fmt.Fprintln(os.Stderr, "test/kube:", launch())
		return 1, true
	}
	return 0, false
}

// launched are the programs that envtest starts. It does not let them die with the tests, nor tell their process ids:
// so it gets links to the test binary instead, which arranges both and becomes the program.
var launched = []string{"etcd", "kube-apiserver"}

// launchLinks makes the links that are given to envtest.
func launchLinks(dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, name := range launched {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// launch becomes the program whose name this process has. It returns only if it fails.
func launch() error {
	pid := []byte(strconv.Itoa(os.Getpid()))
	if err := os.WriteFile(os.Args[0]+".pid", pid, 0o600); err != nil {
		return err
	}
	runtime.LockOSThread() // the setting is that of the thread which calls exec
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("prctl PR_SET_PDEATHSIG: %w", err)
	}
	program := filepath.Join(os.Getenv(assetsVariable), filepath.Base(os.Args[0]))
	return fmt.Errorf("starting %s: %w", program, syscall.Exec(program, os.Args, os.Environ()))
}

// launchedPID is the process id of a program that runs, or ran last.
func launchedPID(dir, name string) (int, error) {
	text, err := os.ReadFile(filepath.Join(dir, name+".pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// gone tells whether a process has ended and its parent knows.
func gone(pid int) error {
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("process %d still runs", pid)
	}
	return nil
}
