package harness

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/peers"
)

// Main is the body of TestMain; its result is the exit code. m is the *testing.M, or what adds something to its Run.
// Goroutines that outlive the tests fail them, but for the known ones: those of a library that nobody can end.
func Main(m interface{ Run() int }, known ...goleak.Option) int {
	if address := os.Getenv(originVariable); address != "" {
		return originMain(address)
	}
	runMore()
	code := m.Run()
	if err := errors.Join(program.remove(), measured.remove()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	if code == 0 {
		if err := goleak.Find(known...); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

// runMore lets twice as many tests run side by side as go test does by itself: most of the time they wait.
func runMore() {
	flag.Parse()
	const name = "test.parallel"
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if !given {
		_ = flag.Set(name, strconv.Itoa(2*runtime.GOMAXPROCS(0))) // a number it is
	}
}

// The program is built once for all tests of this process: as the tests are, and for what is measured. RACE=1 builds it with
// the race detector though the tests are built without: clients and origins take several times the processor with it.
var (
	program  = built{race: Race || os.Getenv("RACE") != ""}
	measured = built{}
)

type built struct {
	race bool
	once sync.Once
	path string
	dir  string
	err  error
}

// Binary returns the path of the program, which is built when the first test asks for it. It is built with the race
// detector if the tests are.
func Binary(t testing.TB) string {
	t.Helper()
	return program.get(t)
}

func (b *built) get(t testing.TB) string {
	t.Helper()
	b.once.Do(func() { b.err = b.build() })
	if b.err != nil {
		t.Fatal(b.err)
	}
	return b.path
}

// build leaves the program in the user's cache, where the next run of `go build` finds that it needs no linking, and
// takes a link of its own to it, which another run of the tests does not change.
func (b *built) build() error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	cache, err := peers.CacheDir()
	if err != nil {
		return err
	}
	name := "plain"
	arguments := []string{"build"}
	if b.race {
		name = "race"
		arguments = append(arguments, "-race")
	}
	cache = filepath.Join(cache, "harness", name)
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close() // which gives the lock back
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("%s: %w", lock.Name(), err)
	}
	target := filepath.Join(cache, "pingora-proxy")
	command := exec.Command("go", append(arguments, "-buildvcs=false", "-o", target, "./cmd/pingora-proxy")...)
	if !b.race { // as it is shipped
		command.Env = append(os.Environ(), "CGO_ENABLED=0")
	}
	command.Dir = root
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("building the program: %w\n%s", err, out)
	}
	if b.dir, err = os.MkdirTemp("", "pingora-proxy-test-"); err != nil {
		return err
	}
	b.path = filepath.Join(b.dir, "pingora-proxy")
	if os.Link(target, b.path) == nil {
		return nil
	}
	text, err := os.ReadFile(target) // the cache is on another file system
	if err != nil {
		return err
	}
	return os.WriteFile(b.path, text, 0o755)
}

func (b *built) remove() error {
	if b.dir == "" {
		return nil
	}
	return os.RemoveAll(b.dir)
}

// moduleRoot is the folder of go.mod, above the package under test.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		above := filepath.Dir(dir)
		if above == dir {
			return "", errors.New("no go.mod above the working directory")
		}
		dir = above
	}
}

// A Result is what a run of the program left.
type Result struct {
	Code           int
	Stdout, Stderr string
}

// Run runs the program to its end, for what it does on the command line. env is added to an environment that holds
// nothing of the program's own variables.
func Run(t testing.TB, env []string, arguments ...string) Result {
	t.Helper()
	command := exec.Command(Binary(t), arguments...)
	command.Dir = t.TempDir()
	command.Env = append(environment(), env...)
	var stdout, stderr output
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(Patience, func() { _ = command.Process.Kill() })
	err := command.Wait()
	if !timer.Stop() {
		t.Fatalf("%v did not end\n%s%s", arguments, stdout.String(), stderr.String())
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return Result{Code: command.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}
}
