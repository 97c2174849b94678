package kube

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// scenarioVariable lets TestScenario play a package of tests of which something goes wrong.
const scenarioVariable = "KUBE_TEST_SCENARIO"

// TestScenario is what the other tests of this file run in processes of their own.
func TestScenario(t *testing.T) {
	scenario := os.Getenv(scenarioVariable)
	if scenario == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(os.TempDir(), "left"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	switch scenario {
	case "pass":
		fmt.Println("the arguments arrive")
	case "exit":
		os.Exit(7)
	case "child":
		if err := exec.Command("sleep", "1000").Start(); err != nil {
			t.Fatal(err)
		}
	case "orphan":
		if err := exec.Command("sh", "-c", "sleep 1000 >/dev/null 2>&1 &").Run(); err != nil {
			t.Fatal(err)
		}
	case "crash":
		startPodProcess(t)
		go panic("a goroutine panics")
		select {}
	case "signal":
		startPodProcess(t)
		fmt.Println("ready")
		select {}
	case "killed":
		plane, err := Start(Options{})
		if err != nil {
			t.Fatal(err)
		}
		plane.Pod(t, plane.Namespace(t), "pod", nil, PodOptions{})
		fmt.Println("ready")
		select {}
	}
}

func startPodProcess(t *testing.T) {
	t.Helper()
	if _, err := (originJob{Name: "pod", Addresses: []string{"10.99.0.5:8080"}, Ledger: filepath.Join(t.TempDir(), "ledger")}).start(); err != nil {
		t.Fatal(err)
	}
}

// run starts a scenario as `go test` starts a test binary, and waits for its end. Nothing may be left behind then.
// meanwhile sees it when it is ready.
func run(t *testing.T, scenario string, meanwhile func(*os.Process), arguments ...string) (code int, output string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	temporary := t.TempDir()
	command := exec.Command(self, append([]string{"-test.run=^TestScenario$"}, arguments...)...)
	command.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, isolatedVariable+"=")
	}), scenarioVariable+"="+scenario, "TMPDIR="+temporary)
	command.SysProcAttr = dieWithTests()
	written := filepath.Join(t.TempDir(), "output") // a file: what is left behind would keep a pipe open
	file, err := os.Create(written)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	command.Stdout, command.Stderr = file, file
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	read := func() string {
		text, err := os.ReadFile(written)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if meanwhile != nil {
		Eventually(t, Patience, func() error {
			if !strings.Contains(read(), "ready\n") {
				return fmt.Errorf("the scenario is not ready: %s", read())
			}
			return nil
		})
		meanwhile(command.Process)
	}
	if err := command.Wait(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	Eventually(t, Patience, func() error { return notRunning(temporary) })
	if !command.ProcessState.Sys().(syscall.WaitStatus).Signaled() { // else nobody could remove anything
		left, err := os.ReadDir(temporary)
		if err != nil || len(left) > 0 {
			t.Errorf("%s leaves files behind: %v %v", scenario, left, err)
		}
	}
	return command.ProcessState.ExitCode(), read()
}

// notRunning looks for processes of a scenario, which have its folder for temporary files in their environment.
func notRunning(temporary string) error {
	environments, _ := filepath.Glob("/proc/[0-9]*/environ") // its only error is a bad pattern
	for _, path := range environments {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		if bytes.Contains(text, []byte(temporary)) {
			command, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
			return fmt.Errorf("%s was left behind: %s", path, bytes.ReplaceAll(command, []byte{0}, []byte{' '}))
		}
	}
	return nil
}

func TestArgumentsOutputAndExitCodePass(t *testing.T) {
	t.Parallel()
	if code, output := run(t, "pass", nil, "-test.count=2"); code != 0 || strings.Count(output, "the arguments arrive\n") != 2 {
		t.Errorf("exit code %d, output %q", code, output)
	}
	if code, output := run(t, "exit", nil); code != 7 {
		t.Errorf("exit code %d, want 7; output %q", code, output)
	}
}

func TestProcessThatIsLeftBehindFailsTheTests(t *testing.T) {
	t.Parallel()
	for scenario, want := range map[string]string{
		"child": "(sleep) outlives the tests that started it", "orphan": "(sleep) was left behind and has been killed",
	} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			if code, output := run(t, scenario, nil); code != 1 || !strings.Contains(output, want) {
				t.Errorf("exit code %d, output %q, want 1 and %q", code, output, want)
			}
		})
	}
}

func TestNothingIsLeftWhenATestPanics(t *testing.T) {
	t.Parallel()
	if code, output := run(t, "crash", nil); code != 2 || !strings.Contains(output, "a goroutine panics") {
		t.Errorf("exit code %d, output %q", code, output)
	}
}

func TestSignalEndsTheTests(t *testing.T) {
	t.Parallel()
	terminate := func(p *os.Process) { _ = p.Signal(syscall.SIGTERM) }
	if code, output := run(t, "signal", terminate); code != 128+int(syscall.SIGTERM) {
		t.Errorf("exit code %d, output %q", code, output)
	}
}

func TestNothingIsLeftWhenTheTestsAreKilled(t *testing.T) {
	t.Parallel()
	run(t, "killed", func(p *os.Process) {
		var names []string
		for _, tests := range children(p.Pid) {
			for _, child := range children(tests.pid) {
				names = append(names, child.name)
			}
		}
		slices.Sort(names)
		if got := strings.Join(names, " "); got != "etcd kube-apiserver kube-controller kube.test" {
			t.Errorf("processes of the tests: %s", got)
		}
		_ = p.Kill()
	})
}
