package integration_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// alone is how a program gets a network of its own, in which every port is free: as root, or as anybody where user
// namespaces are for everybody.
func alone(t *testing.T) []string {
	t.Helper()
	var said []string
	for _, how := range [][]string{{"unshare", "--net"}, {"unshare", "--user", "--map-root-user", "--net"}} {
		out, err := exec.Command(how[0], append(how[1:], "ip", "link", "set", "lo", "up")...).CombinedOutput()
		if err == nil {
			return how
		}
		said = append(said, strings.Join(how, " ")+": "+err.Error()+": "+string(out))
	}
	t.Fatalf("a network of one's own needs root, or user namespaces for everybody, and util-linux' unshare and iproute2's ip:\n%s",
		strings.Join(said, "\n"))
	return nil
}

// A transcript is what a program says, readable while it runs.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *transcript) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *transcript) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// `make run` is the script hack/run.sh with what `make build` has built: the first thing that anybody does.
func TestMakeRun(t *testing.T) {
	t.Parallel()
	binary := harness.Binary(t)
	how := alone(t)
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			command := exec.Command(how[0], append(slices.Clone(how[1:]), "sh", "-c", "ip link set lo up && exec hack/run.sh")...)
			command.Dir = filepath.Join("..", "..")
			command.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PINGORA_") }),
				"BINARY="+binary, "CONFIG=config/default.yaml", "GORACE=atexit_sleep_ms=10")
			var said transcript
			command.Stdout, command.Stderr = &said, &said
			command.WaitDelay = time.Second
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- command.Wait() }()
			t.Cleanup(func() {
				_ = command.Process.Signal(syscall.SIGTERM) // the script stops what it has started
				select {
				case <-ended: //nolint:errcheck // judged below, or of no interest any more
				case <-time.After(harness.Patience):
					_ = command.Process.Kill()
				}
				if t.Failed() {
					t.Log(said.String())
				}
			})
			harness.Eventually(t, "make run says that it is ready", func() bool { return strings.Contains(said.String(), "Ctrl-C stops") })

			// The lines that it prints to try work, word for word.
			urls := regexp.MustCompile(`(?m)^    curl http://(127\.0\.0\.1):(\d+)(/\S*)`).FindAllStringSubmatch(said.String(), -1)
			answers := map[string]string{
				"6188/": "hello from the demo upstream 127.0.0.1:3002\n", "6189/": "hello from the demo upstream 127.0.0.1:3001\n",
				"6188/health": `{"status":"healthy"}`, "9901/api/v1/overview": `"ready": true`, "9102/metrics": "pingora_proxy_requests_total",
			}
			if len(urls) != len(answers) {
				t.Errorf("%q", urls)
			}
			for _, url := range urls {
				want, known := answers[url[2]+url[3]]
				got := askAlone(t, command.Process.Pid, url[2], url[3])
				if !known || !strings.HasPrefix(got, "HTTP/1.1 200 ") || !strings.Contains(strings.ReplaceAll(got, `":true`, `": true`), want) {
					t.Errorf("%s: %s", url[0], got)
				}
			}

			if err := command.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-ended:
				ended <- err
				if err != nil {
					t.Errorf("after %v: %v", s, err)
				}
			case <-time.After(harness.Patience):
				t.Fatalf("make run does not end on %v", s)
			}
			if text := said.String(); !strings.Contains(text, `"msg":"stopped"`) || !strings.Contains(text, "make run: stopping") {
				t.Error("the proxy did not stop in good order")
			}
		})
	}
}

// askAlone sends a GET in the network of a process.
func askAlone(t *testing.T, pid int, port, path string) string {
	t.Helper()
	const script = `exec 3<>"/dev/tcp/127.0.0.1/$0" && printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$1" >&3 && cat <&3`
	arguments := []string{"--target", strconv.Itoa(pid), "--net", "bash", "-c", script, port, path}
	if os.Getuid() != 0 {
		arguments = append([]string{"--user", "--preserve-credentials"}, arguments...)
	}
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, "nsenter", arguments...).CombinedOutput()
	if err != nil {
		t.Errorf("port %s: %v: %s", port, err, out)
	}
	return string(out)
}

// Where a port is taken, it says which, and starts nothing.
func TestMakeRunNamesThePortsThatAreTaken(t *testing.T) {
	t.Parallel()
	how := alone(t)
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	// The demo upstream is the one that takes the port.
	const script = `ip link set lo up
: >"$1"
"$0" demo --listen 127.0.0.1:6189 2>"$1" & demo=$!
until grep -q ready "$1"; do sleep 0.05; done
BINARY=$0 hack/run.sh; code=$?
kill $demo; wait $demo; exit $code`
	command := exec.CommandContext(ctx, how[0], append(slices.Clone(how[1:]), "bash", "-c", script, harness.Binary(t), filepath.Join(t.TempDir(), "said"))...)
	command.Dir = filepath.Join("..", "..")
	out, err := command.CombinedOutput()
	if command.ProcessState == nil || command.ProcessState.ExitCode() != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	if !strings.HasPrefix(string(out), "make run: already in use on 127.0.0.1: 6189\n") {
		t.Errorf("%s", out)
	}
}
