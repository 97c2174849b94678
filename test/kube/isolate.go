package kube

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/peers"
	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

const (
	// isolatedVariable is set in the process that runs the tests. Its name is not one of those that the harness hides
	// from the processes that it starts, because they are test binaries in the namespace, too.
	isolatedVariable = "KUBE_TEST_ISOLATED"
	// assetsVariable names the folder of the programs, for whoever looks for them: envtest, and kubectl's users.
	assetsVariable = "KUBEBUILDER_ASSETS"

	// network is the range of the pods' addresses, and the machine's own address in it.
	network = "10.99.0.1/16"

	// fetchTime bounds how long it is tried to have what tests need.
	fetchTime = 5 * time.Minute

	// farewell is how long processes that lost their parent may take to end.
	farewell = 5 * time.Second
)

// Main is the body of TestMain; its result is the exit code. known are goroutines that may outlive the tests, as for
// harness.Main.
func Main(m *testing.M, known ...goleak.Option) int {
	if code, ok := playRole(); ok {
		return code
	}
	if os.Getenv(isolatedVariable) == "" {
		code, err := isolate()
		if err != nil {
			fmt.Fprintln(os.Stderr, "test/kube:", err)
			return 1
		}
		return code
	}
	if err := raiseNetwork(); err != nil {
		fmt.Fprintln(os.Stderr, "test/kube:", err)
		return 1
	}
	return harness.Main(tests{m}, known...)
}

// Fetch has programs of Debian packages that the machine lacks unpacked while the network is still there, for tests that find them
// with peers.Find. It is called before Main. What cannot be had is said, and then by the tests that need it.
func Fetch(programs ...string) {
	if os.Getenv(isolatedVariable) != "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), fetchTime)
	defer cancel()
	for _, name := range programs {
		if _, err := peers.Find(ctx, name); err != nil {
			fmt.Fprintln(os.Stderr, "test/kube:", err)
		}
	}
}

// tests are those of the package, with the control plane's end behind them.
type tests struct{ m *testing.M }

func (t tests) Run() int {
	code := t.m.Run()
	err := shared.stop()
	for _, left := range children(os.Getpid()) {
		err = errors.Join(err, fmt.Errorf("process %d (%s) outlives the tests that started it", left.pid, left.name))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "test/kube:", err)
		return max(code, 1)
	}
	return code
}

// isolate runs this program again, with the same arguments, in a network namespace of its own, and returns its exit code.
func isolate() (int, error) {
	assets, err := findAssets()
	if err != nil {
		return 0, err
	}
	// The temporary files of tests that crash, too, are removed here.
	dir, err := os.MkdirTemp("", "pingora-proxy-kube-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)

	// What the tests leave behind when they crash becomes a child of this process, which waits for it.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0, fmt.Errorf("prctl PR_SET_CHILD_SUBREAPER: %w", err)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM)
	runtime.LockOSThread() // the child dies with the thread that has started it
	process, err := startIsolated(environment(assets, dir))
	if err != nil {
		return 0, err
	}
	go func() {
		for s := range signals {
			_ = process.Signal(s)
		}
	}()
	status, err := reap(process.Pid)
	if err != nil {
		return 0, err
	}
	left, err := bury()
	for _, p := range left {
		fmt.Fprintf(os.Stderr, "test/kube: process %d (%s) was left behind and has been killed\n", p.pid, p.name)
	}
	if err != nil {
		return 0, err
	}
	switch {
	case status.Signaled():
		fmt.Fprintln(os.Stderr, "test/kube: the tests were ended by signal:", status.Signal())
		return 128 + int(status.Signal()), nil
	case status.ExitStatus() == 0 && len(left) > 0:
		return 1, nil
	}
	return status.ExitStatus(), nil
}

func startIsolated(env []string) (*os.Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	attributes := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	attr := &os.ProcAttr{Env: env, Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, Sys: attributes}
	process, err := os.StartProcess(self, os.Args, attr)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return process, err
	}
	// Without privileges: as root of a user namespace of its own.
	attributes.Cloneflags |= syscall.CLONE_NEWUSER
	attributes.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	attributes.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	process, err = os.StartProcess(self, os.Args, attr)
	if err != nil {
		return nil, fmt.Errorf("starting the tests in a network namespace of their own: %w: allow user namespaces "+
			"(`unshare -rn true` must work) or run the tests as root", err)
	}
	return process, nil
}

// environment is that of the isolated tests. No web proxy: it could not be reached.
func environment(assets, dir string) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return strings.HasSuffix(strings.ToUpper(name), "_PROXY") || slices.Contains([]string{"KUBECONFIG", assetsVariable, "TMPDIR"}, name)
	})
	return append(env, isolatedVariable+"=true", assetsVariable+"="+assets, "TMPDIR="+dir)
}

// raiseNetwork makes the namespace's loopback work, with the pods' addresses on it. An address on a loopback makes its
// whole prefix local.
func raiseNetwork() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("raising lo in the tests' network namespace: %w: where AppArmor restricts user namespaces, set "+
			"kernel.apparmor_restrict_unprivileged_userns=0 or run the tests as root", err)
	}
	address, err := netlink.ParseAddr(network)
	if err != nil {
		return err
	}
	if err := netlink.AddrReplace(lo, address); err != nil {
		return fmt.Errorf("%s on lo: %w", network, err)
	}
	return nil
}

// findAssets asks for the folder of kube-apiserver, etcd, kubectl and kube-controller-manager, outside the namespace:
// they may have to be built, from modules that may have to be fetched.
func findAssets() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	script := ""
	for script == "" {
		candidate := filepath.Join(dir, "hack", "kubernetes.sh")
		if _, err := os.Stat(candidate); err == nil {
			script = candidate
		} else if above := filepath.Dir(dir); above != dir {
			dir = above
		} else {
			return "", errors.New("no hack/kubernetes.sh above the working directory: run the tests inside the checkout")
		}
	}
	command := exec.Command(script)
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s, which provides the control plane's programs: %w", script, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// reap waits for the end of the process, and of whatever other process becomes a child of this one meanwhile.
func reap(pid int) (syscall.WaitStatus, error) {
	for {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 0, fmt.Errorf("waiting for the tests: %w", err)
		case got == pid:
			return status, nil
		}
	}
}

// bury waits for the end of all children, and returns those that it had to kill.
func bury() ([]processInfo, error) {
	var killed []processInfo
	for deadline := time.Now().Add(farewell); ; {
		got, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.ECHILD):
			return killed, nil
		case err != nil && !errors.Is(err, syscall.EINTR):
			return killed, fmt.Errorf("waiting for processes that the tests have left: %w", err)
		case got == 0 && time.Now().After(deadline):
			for _, p := range children(os.Getpid()) {
				_ = syscall.Kill(p.pid, syscall.SIGKILL)
				killed = append(killed, p)
			}
			deadline = time.Now().Add(farewell)
		case got == 0:
			time.Sleep(pause)
		}
	}
}

type processInfo struct {
	pid  int
	name string
}

// children lists the live processes that a process has started or inherited.
func children(parent int) []processInfo {
	var found []processInfo
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // its only error is a bad pattern
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// pid (name) state parent …, where the name may hold anything.
		before, after, _ := strings.Cut(string(text), "(")
		name, rest := after[:strings.LastIndex(after, ")")], strings.Fields(after[strings.LastIndex(after, ")")+1:])
		pid, err := strconv.Atoi(strings.TrimSpace(before))
		if err != nil || rest[0] == "Z" || rest[1] != strconv.Itoa(parent) {
			continue
		}
		found = append(found, processInfo{pid, name})
	}
	return found
}
