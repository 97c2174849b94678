package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// podVariable makes a test binary the process of a pod; its value is an originJob.
const podVariable = "KUBE_TEST_POD"

// An originJob says what an origin serves. Its process gets it as JSON.
type originJob struct {
	Name      string
	Addresses []string
	Ledger    string // the file for the requests of a process
}

// A Request is what a pod remembers of one. It counts from its head on.
type Request struct {
	Address string // of the pod, with the port
	Method  string
	Target  string
	Host    string
	ID      string // the field harness.LoadID
}

// An origin is the server of a pod.
type origin interface {
	// shutdown lets requests end, as a good program does on SIGTERM.
	shutdown() error
	// kill ends it at once.
	kill() error
	// pid is that of its process, 0 if it has none.
	pid() int
}

// handler echoes, and remembers before.
func (j originJob) handler(remember func(Request) error) http.Handler {
	echo := harness.Echo(j.Name)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request := Request{Method: r.Method, Target: r.RequestURI, Host: r.Host, ID: r.Header.Get(harness.LoadID)}
		if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
			request.Address = local.String()
		}
		if err := remember(request); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		echo.ServeHTTP(w, r)
	})
}

// serve listens on all addresses and serves in the background.
func (j originJob) serve(remember func(Request) error) (*goroutine, error) {
	g := &goroutine{server: &http.Server{Handler: j.handler(remember), ReadHeaderTimeout: time.Minute}}
	for _, address := range j.Addresses {
		listener, err := net.Listen("tcp", address) //nolint:noctx // local
		if err != nil {
			return nil, errors.Join(err, g.kill())
		}
		g.running.Go(func() { _ = g.server.Serve(listener) })
	}
	return g, nil
}

// A goroutine is the origin of a light pod, which lives in this process.
type goroutine struct {
	server  *http.Server
	running sync.WaitGroup
}

func (g *goroutine) shutdown() error {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	err := g.server.Shutdown(ctx)
	g.running.Wait()
	return err
}

func (g *goroutine) kill() error {
	err := g.server.Close()
	g.running.Wait()
	return err
}

func (*goroutine) pid() int { return 0 }

// A process is the origin of an ordinary pod.
type process struct{ command *exec.Cmd }

// start starts a process, which serves when this returns.
func (j originJob) start() (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	job, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	command := exec.Command(self)
	command.Env = append(os.Environ(), podVariable+"="+string(job))
	command.Stderr = os.Stderr
	command.SysProcAttr = dieWithTests()
	said, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(said, make([]byte, 1)); err != nil {
		_ = command.Process.Kill()
		return nil, fmt.Errorf("the pod's process does not serve on %v: %w", j.Addresses, errors.Join(err, command.Wait()))
	}
	return &process{command}, nil
}

func (p *process) shutdown() error {
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	timer := time.AfterFunc(Patience, func() { _ = p.command.Process.Kill() })
	defer timer.Stop()
	return p.command.Wait()
}

func (p *process) kill() error {
	err := p.command.Process.Kill()
	_ = p.command.Wait() // it was killed: that is the error
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

func (p *process) pid() int { return p.command.Process.Pid }

// podMain is the whole program of a pod's process.
func podMain(value string) int {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, "test/kube: pod:", err)
		return 1
	}
	var job originJob
	if err := json.Unmarshal([]byte(value), &job); err != nil {
		return fail(err)
	}
	ledger, err := os.OpenFile(job.Ledger, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fail(err)
	}
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM)
	server, err := job.serve(func(r Request) error {
		line, err := json.Marshal(r)
		if err != nil {
			return err
		}
		_, err = ledger.Write(append(line, '\n')) // one write is not mixed with other requests'
		return err
	})
	if err != nil {
		return fail(err)
	}
	fmt.Print("+") // it serves
	<-terminate
	if err := server.shutdown(); err != nil {
		return fail(err)
	}
	return 0
}

// readLedger reads what a process has written, which it may be doing.
func readLedger(t testing.TB, path string) []Request {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []Request
	for line := range bytes.Lines(text[:bytes.LastIndexByte(text, '\n')+1]) {
		var r Request
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("%s: %v: %q", path, err, line)
		}
		all = append(all, r)
	}
	return all
}
