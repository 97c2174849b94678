package scale

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/kube"
)

// binary is the program: as it is shipped where figures are wanted, else as the other tests have it.
func binary(t *testing.T) string {
	t.Helper()
	if !full() {
		return harness.Binary(t)
	}
	path := filepath.Join(t.TempDir(), "pingora-proxy")
	command := exec.CommandContext(t.Context(), "make", "-C", "../..", "build", "BINARY="+path)
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", command.Args, err, out)
	}
	return path
}

// A controller is a process of the program.
type controller struct {
	command *exec.Cmd
	began   time.Time
	log     bytes.Buffer
}

// startController starts the program for the whole cluster. It ends with the test, in good order.
func startController(t *testing.T, program, kubeconfig, class string) *controller {
	t.Helper()
	c := &controller{command: exec.Command(program, "controller", "--kubeconfig="+kubeconfig, "--class="+class, "--namespace="+home,
		"--replica-name=scale")}
	c.command.Stderr = &c.log
	c.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.began = time.Now()
	if err := c.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := c.command.Process.Signal(syscall.SIGTERM)
		killed := time.AfterFunc(kube.Patience, func() { _ = c.command.Process.Kill() })
		defer killed.Stop()
		if err := errors.Join(err, c.command.Wait()); err != nil || t.Failed() {
			text := c.log.Bytes()
			t.Errorf("the controller: %v\n%s", err, text[max(0, len(text)-8<<10):])
		}
	})
	return c
}

// awaitReady waits until the controller takes traffic, and says how long it took from its start.
func (c *controller) awaitReady(t *testing.T) time.Duration {
	t.Helper()
	kube.Eventually(t, patience, func() error {
		response, err := http.Get("http://127.0.0.1:9102/readyz") //nolint:noctx // local
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("readyz: %s", response.Status)
		}
		return nil
	})
	return time.Since(c.began)
}

// memory is what the process has resident in MiB, now and at its peak.
func (c *controller) memory(t *testing.T) (now, peak float64) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.command.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		switch f[0] {
		case "VmRSS:":
			now = mebibytes(t, f[1])
		case "VmHWM:":
			peak = mebibytes(t, f[1])
		}
	}
	if now == 0 || peak == 0 {
		t.Fatalf("no VmRSS or no VmHWM in:\n%s", text)
	}
	return now, peak
}

func mebibytes(t *testing.T, kib string) float64 {
	t.Helper()
	n, err := strconv.ParseFloat(kib, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n / 1024
}

// cpu is the CPU time that the process has used so far.
func (c *controller) cpu(t *testing.T) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.command.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	// pid (name) state … utime stime: the 14th and the 15th, in hundredths of a second.
	f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, err1 := strconv.Atoi(f[11])
	system, err2 := strconv.Atoi(f[12])
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}
