package integration_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/traffic"
)

// A succession is where a process and those that take its place meet.
type succession struct {
	socket string
	env    []string
}

func newSuccession(t *testing.T) *succession {
	t.Helper()
	dir, err := os.MkdirTemp("", "upgrade") //nolint:usetesting // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	s := &succession{socket: filepath.Join(dir, "u.sock")}
	s.env = []string{"PINGORA_UPGRADE_SOCKET=" + s.socket, "PINGORA_UPGRADE_TIMEOUT=1m"}
	return s
}

// start starts the first one.
func (s *succession) start(t *testing.T, yaml string, more ...string) *harness.Proxy {
	t.Helper()
	return harness.Start(t, yaml, harness.Options{Env: append(s.env, more...)})
}

// next starts one that is to take the place of p, with the same file, and does not wait for it. Variables in more beat the
// others.
func (s *succession) next(t *testing.T, p *harness.Proxy, more ...string) *harness.Proxy {
	t.Helper()
	return harness.Start(t, "", harness.Options{Path: p.Path, Args: []string{"--upgrade"}, Env: append(s.env, more...), NoWait: true})
}

// waits returns when a process waits to take over.
func (s *succession) waits(t *testing.T, p *harness.Proxy) {
	t.Helper()
	p.AwaitLog(t, "waiting for the sockets", logged("waiting for the sockets: send SIGQUIT to the process that serves"))
}

func logged(text string) func(harness.Line) bool {
	return func(l harness.Line) bool { return strings.Contains(l.Text("msg")+" "+l.Text("error"), text) }
}

// serves returns when a process has taken over.
func serves(t *testing.T, p *harness.Proxy) {
	t.Helper()
	p.AwaitLog(t, "it serves", logged("serving"))
	harness.Eventually(t, "it is ready", func() bool { return probe(t, p.AdminAddr(t), "/readyz") == http.StatusOK })
}

// ended checks that a process has ended in good order.
func ended(t *testing.T, p *harness.Proxy) {
	t.Helper()
	if code := p.Wait(t); code != 0 {
		t.Errorf("the process before ended with code %d", code)
	}
}

func TestBinaryUpgradeUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]bool{"the new process waits": false, "the signal comes first": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSuccession(t)
			ledger := harness.NewLedger(t)
			origin := harness.StartOrigin(t, ledger.Echo("o"))
			pidFile := filepath.Join(t.TempDir(), "p.pid")
			old := harness.Start(t, webService([]string{origin.Addr}, unchecked), harness.Options{Env: s.env, Args: []string{"--pid-file", pidFile}})
			address, admin, metrics := old.Addr(t, "web"), old.AdminAddr(t), old.MetricsAddr(t)
			load := traffic.Start(t, traffic.Options{Addr: address, Workers: 8, FreshPercent: 30})
			for range 3 {
				load.Await(t, 100)
				sockets := traffic.OpenSockets(t, address, 3, time.Millisecond)
				if before {
					old.Signal(t, syscall.SIGQUIT)
					old.AwaitLog(t, "it looks for the new one", logged("handing the sockets over"))
				}
				next := harness.Start(t, "", harness.Options{
					Path: old.Path, Env: s.env, Args: []string{"--upgrade", "--pid-file", pidFile}, NoWait: true,
				})
				if !before {
					s.waits(t, next)
					old.Signal(t, syscall.SIGQUIT)
				}
				serves(t, next)
				old.AwaitLog(t, "it has let go", logged("another process serves now"))
				if next.Addr(t, "web") != address || next.AdminAddr(t) != admin || next.MetricsAddr(t) != metrics {
					t.Error("the new process listens elsewhere")
				}
				load.Await(t, 100)
				// What is open stays with the old process.
				select {
				case <-old.Exited():
					t.Error("the old process did not wait for its WebSockets")
				default:
				}
				if lost := sockets.Stop(); len(lost) > 0 || sockets.Messages() == 0 {
					t.Errorf("%d messages; %q", sockets.Messages(), lost)
				}
				sockets.Close()
				ended(t, old)
				if text, err := os.ReadFile(pidFile); err != nil || strings.TrimSpace(string(text)) != strconv.Itoa(next.PID()) {
					t.Errorf("the PID file has %q: %v", text, err)
				}
				if _, err := os.Lstat(s.socket); !os.IsNotExist(err) {
					t.Errorf("the socket is left: %v", err)
				}
				old = next
			}
			tally := load.Stop()
			t.Log(tally)
			if tally.Lost > 0 {
				t.Errorf("lost: %q", tally.Losses)
			}
			for _, method := range []string{"GET", "POST"} {
				if replayed, received := ledger.Replayed(t, method); len(replayed) > 0 || received != tally.ByMethod[method] {
					t.Errorf("%s: %d answered, %d received, twice %q", method, tally.ByMethod[method], received, replayed)
				}
			}
		})
	}
}

// What the kernel has queued for a process that accepts nothing is accepted by the next one.
func TestBinaryUpgradeKeepsTheQueue(t *testing.T) {
	t.Parallel()
	s := newSuccession(t)
	origin := harness.StartOrigin(t, harness.Echo("o"))
	old := harness.Start(t, webService([]string{origin.Addr}, unchecked), harness.Options{Env: s.env, Dirty: true})
	address := old.Addr(t, "web")
	next := s.next(t, old)
	s.waits(t, next)
	old.Signal(t, syscall.SIGQUIT)
	serves(t, next)
	old.AwaitLog(t, "it has let go", logged("another process serves now"))
	ended(t, old)

	next.Signal(t, syscall.SIGSTOP) // its kernel queue goes on
	var clients []*harness.Client
	for range 20 {
		c := harness.Dial(t, address)
		c.Send(t, requestOf("GET", "/"))
		clients = append(clients, c)
	}
	next.Signal(t, syscall.SIGCONT)
	for _, c := range clients {
		if r := c.Response(t, "GET"); r.StatusCode != http.StatusOK {
			t.Error(r.Status)
		}
	}
}

// Listeners follow the new configuration: one is new, one goes, the rest are the sockets of before.
func TestBinaryUpgradeWithAnotherConfiguration(t *testing.T) {
	t.Parallel()
	s := newSuccession(t)
	origin := harness.StartOrigin(t, harness.Echo("o"))
	echo := harness.StartRawOrigin(t, func(c *harness.OriginConn) { _, _ = io.Copy(c.Conn, c.Reader) })
	six, wild := "[::1]:"+freePort(t), "0.0.0.0:"+freePort(t)
	every := "[::]:" + freePort(t)
	same := fmt.Sprintf(`services:
  - {name: web, bind_address: '127.0.0.1:0', upstreams: ['%[1]s'], health_check: {type: Disabled}}
  - {name: six, bind_address: '%[2]s', upstreams: ['%[1]s'], health_check: {type: Disabled}}
  - {name: wild, bind_address: '%[3]s', upstreams: ['%[1]s'], health_check: {type: Disabled}}
  - {name: every, bind_address: '%[5]s', upstreams: ['%[1]s'], health_check: {type: Disabled}}
  - {name: bytes, protocol: TCP, bind_address: '127.0.0.2:0', upstreams: ['%[4]s'], health_check: {type: Disabled}}
`, origin.Addr, six, wild, echo.Addr, every)
	old := s.start(t, same+fmt.Sprintf("  - {name: gone, bind_address: '127.0.0.3:0', upstreams: ['%s']}\n", origin.Addr))
	gone, bytes, web := old.Addr(t, "gone"), old.Addr(t, "bytes"), old.Addr(t, "web")
	path := filepath.Join(t.TempDir(), "new.yaml")
	if err := os.WriteFile(path, []byte(same+fmt.Sprintf("  - {name: added, bind_address: '127.0.0.4:0', upstreams: ['%s']}\n", origin.Addr)), 0o600); err != nil {
		t.Fatal(err)
	}
	next := harness.Start(t, "", harness.Options{Path: path, Args: []string{"-u"}, Env: s.env, NoWait: true})
	s.waits(t, next)
	old.Signal(t, syscall.SIGQUIT)
	serves(t, next)
	ended(t, old)
	_, port, _ := net.SplitHostPort(every)
	for _, address := range []string{
		web, six, "127.0.0.1:" + portOf(wild), next.Addr(t, "added"), "127.0.0.1:" + port, "[::1]:" + port,
	} {
		if got := one(t, harness.Dial(t, address)); got != "o" {
			t.Errorf("%s: %q", address, got)
		}
	}
	if next.Addr(t, "bytes") != bytes || next.Addr(t, "web") != web {
		t.Error("a socket with a chosen port was not passed on")
	}
	c := harness.Dial(t, bytes)
	c.Send(t, "bytes")
	if got := c.Read(t, 5); got != "bytes" {
		t.Errorf("%q", got)
	}
	if conn, err := net.Dial("tcp", gone); err == nil { //nolint:noctx // local
		_ = conn.Close()
		t.Error("the listener that is gone still listens")
	}
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

// Whatever becomes of the new process: before it serves, the old one does.
func TestBinaryUpgradeFails(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t, harness.Echo("o"))
	yaml := webService([]string{origin.Addr}, unchecked)
	still := func(t *testing.T, old *harness.Proxy, address string) {
		t.Helper()
		for range 3 {
			if got := one(t, harness.Dial(t, address)); got != "o" {
				t.Error(got)
			}
		}
		if status := probe(t, old.AdminAddr(t), "/readyz"); status != http.StatusOK {
			t.Errorf("the old process is not ready: %d", status)
		}
		old.Reload(t, yaml+"    timeouts: {idle_secs: 61}\n") // it follows its file as before
	}
	const served = "the sockets were not handed over: this process serves on"

	t.Run("nobody comes", func(t *testing.T) {
		t.Parallel()
		s := newSuccession(t)
		old := s.start(t, yaml, "PINGORA_UPGRADE_TIMEOUT=1s")
		old.Signal(t, syscall.SIGQUIT)
		old.AwaitLog(t, "it serves on", logged(s.socket+": nobody waits there"))
		still(t, old, old.Addr(t, "web"))
	})
	t.Run("nobody hands over", func(t *testing.T) {
		t.Parallel()
		s := newSuccession(t)
		old := s.start(t, yaml)
		next := s.next(t, old, "PINGORA_UPGRADE_TIMEOUT=1s")
		if code := next.Wait(t); code != 1 || !strings.Contains(next.LogText(), "nobody has handed sockets over in time") {
			t.Errorf("%d %s", code, next.LogText())
		}
		still(t, old, old.Addr(t, "web"))
	})
	t.Run("a configuration with a fault", func(t *testing.T) {
		t.Parallel()
		s := newSuccession(t)
		old := s.start(t, yaml, "PINGORA_UPGRADE_TIMEOUT=1s")
		path := filepath.Join(t.TempDir(), "bad.yaml")
		if err := os.WriteFile(path, []byte("services: [{name: x}]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		next := harness.Start(t, "", harness.Options{Path: path, Args: []string{"--upgrade"}, Env: s.env, NoWait: true})
		old.Signal(t, syscall.SIGQUIT)
		if code := next.Wait(t); code != 1 || !strings.Contains(next.LogText(), ":1:12: services[0].bind_address: ") {
			t.Errorf("%d %s", code, next.LogText())
		}
		old.AwaitLog(t, "it serves on", logged(served))
		still(t, old, old.Addr(t, "web"))
	})
	t.Run("an address that is taken", func(t *testing.T) {
		t.Parallel()
		s := newSuccession(t)
		old := s.start(t, yaml)
		path := filepath.Join(t.TempDir(), "taken.yaml")
		taken := fmt.Sprintf("%s  - {name: taken, bind_address: '%s', upstreams: ['%s']}\n", yaml, origin.Addr, origin.Addr)
		if err := os.WriteFile(path, []byte(taken), 0o600); err != nil {
			t.Fatal(err)
		}
		next := harness.Start(t, "", harness.Options{Path: path, Args: []string{"--upgrade"}, Env: s.env, NoWait: true})
		s.waits(t, next)
		old.Signal(t, syscall.SIGQUIT)
		if code := next.Wait(t); code != 1 {
			t.Errorf("%d %s", code, next.LogText())
		}
		old.AwaitLog(t, "it serves on, and says why", logged("the other process refuses: listen on "+origin.Addr))
		still(t, old, old.Addr(t, "web"))
	})
	t.Run("another proxy altogether", func(t *testing.T) {
		t.Parallel()
		s := newSuccession(t)
		old := s.start(t, "admin: {bind_address: 'off'}\nmetrics: {bind_address: '127.0.0.1:"+freePort(t)+"'}\n"+
			strings.Replace(yaml, "127.0.0.1:0", "127.0.0.1:"+freePort(t), 1)+"# ", "PINGORA_ADMIN_BIND_ADDRESS=127.0.0.1:0")
		path := filepath.Join(t.TempDir(), "other.yaml")
		other := "admin: {bind_address: 'off'}\nmetrics: {bind_address: 'off'}\n" + strings.Replace(yaml, "127.0.0.1:0", "127.0.0.9:0", 1)
		if err := os.WriteFile(path, []byte(other), 0o600); err != nil {
			t.Fatal(err)
		}
		next := harness.Start(t, "", harness.Options{Path: path, Args: []string{"--upgrade"}, Env: append(s.env, "PINGORA_ADMIN_BIND_ADDRESS=off", "PINGORA_METRICS_BIND_ADDRESS=off"), NoWait: true})
		s.waits(t, next)
		old.Signal(t, syscall.SIGQUIT)
		if code := next.Wait(t); code != 1 || !strings.Contains(next.LogText(), "is it the right process?") {
			t.Errorf("%d %s", code, next.LogText())
		}
		old.AwaitLog(t, "it serves on", logged(served))
		if got := one(t, harness.Dial(t, old.Addr(t, "web"))); got != "o" {
			t.Error(got)
		}
	})
	t.Run("two at once", func(t *testing.T) {
		t.Parallel()
		s := newSuccession(t)
		old := s.start(t, yaml)
		first := s.next(t, old)
		s.waits(t, first)
		second := s.next(t, old)
		if code := second.Wait(t); code != 1 || !strings.Contains(second.LogText(), "another process waits to take over already") {
			t.Errorf("%d %s", code, second.LogText())
		}
		old.Signal(t, syscall.SIGQUIT)
		serves(t, first)
		ended(t, old)
	})
	t.Run("the new process is killed while it waits", func(t *testing.T) {
		t.Parallel()
		s := newSuccession(t)
		old := s.start(t, yaml)
		dead := harness.Start(t, "", harness.Options{Path: old.Path, Args: []string{"--upgrade"}, Env: s.env, NoWait: true, Dirty: true})
		s.waits(t, dead)
		dead.Signal(t, syscall.SIGKILL)
		dead.Wait(t)
		if _, err := os.Lstat(s.socket); err != nil {
			t.Fatalf("nothing is left of it: %v", err)
		}
		old.Signal(t, syscall.SIGQUIT) // what is left keeps nobody
		next := s.next(t, old)
		serves(t, next)
		ended(t, old)
	})
	t.Run("what lies at the path is no socket", func(t *testing.T) {
		t.Parallel()
		s := newSuccession(t)
		old := s.start(t, yaml, "PINGORA_UPGRADE_TIMEOUT=1s")
		precious := filepath.Join(filepath.Dir(s.socket), "precious")
		for _, place := range []func() error{
			func() error { return os.WriteFile(s.socket, []byte("x"), 0o600) },
			func() error {
				if err := os.Rename(s.socket, precious); err != nil {
					return err
				}
				return os.Symlink(precious, s.socket)
			},
		} {
			if err := place(); err != nil {
				t.Fatal(err)
			}
			next := s.next(t, old)
			if code := next.Wait(t); code != 1 || !strings.Contains(next.LogText(), s.socket+": is there already, and no socket") {
				t.Errorf("%d %s", code, next.LogText())
			}
		}
		if text, err := os.ReadFile(precious); err != nil || string(text) != "x" {
			t.Errorf("%q %v", text, err)
		}
		old.Signal(t, syscall.SIGQUIT)
		old.AwaitLog(t, "it goes to no such thing", logged(s.socket+": is no socket"))
		still(t, old, old.Addr(t, "web"))
	})
	t.Run("the old process is told to stop meanwhile", func(t *testing.T) {
		t.Parallel()
		s := newSuccession(t)
		old := s.start(t, yaml)
		old.Signal(t, syscall.SIGQUIT)
		old.AwaitLog(t, "it looks for the new one", logged("handing the sockets over"))
		old.Signal(t, syscall.SIGTERM)
		ended(t, old)
	})
}

// Who comes to the socket and is not the old process keeps nobody from it.
func TestBinaryUpgradeSocketIsSafe(t *testing.T) {
	t.Parallel()
	s := newSuccession(t)
	origin := harness.StartOrigin(t, harness.Echo("o"))
	old := s.start(t, webService([]string{origin.Addr}, unchecked))
	next := s.next(t, old)
	s.waits(t, next)
	info, err := os.Lstat(s.socket)
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	call := func() *net.UnixConn {
		c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: s.socket, Net: "unixpacket"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	devNull, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer devNull.Close()
	var many []int
	for range 200 {
		many = append(many, int(devNull.Fd()))
	}
	for _, said := range []struct {
		text string
		fds  []int
	}{
		{"garbage\x00", nil},
		{`{"step":"sockets","sockets":[{"role":"services","address":"127.0.0.1:0"}]}`, nil},
		{`{"step":"sockets"}`, many},
		{`{"step":"yours"}`, nil},
		{`{"step":"refused","reason":"no"}`, nil},
		{strings.Repeat("x", 100<<10), nil},
	} {
		c := call()
		if _, _, err := c.WriteMsgUnix([]byte(said.text), syscall.UnixRights(said.fds...), nil); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Error(err)
		}
	}
	// One that comes and goes, and one that stays silent: the old process is not kept waiting for ever.
	_ = call().Close()
	old.Signal(t, syscall.SIGQUIT)
	serves(t, next)
	ended(t, old)
	if open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", next.PID())); err != nil || len(open) > 100 {
		t.Errorf("%d descriptors are open: %v", len(open), err)
	}
}

// The new process knows what the old one has learnt before it accepts: which endpoints are down.
func TestBinaryUpgradeChecksFirst(t *testing.T) {
	t.Parallel()
	s := newSuccession(t)
	origin := harness.StartOrigin(t, harness.Echo("o"))
	// The second one accepts and never answers: who does not know loses time to it, and POSTs.
	silent := harness.StartRawOrigin(t, func(c *harness.OriginConn) { _, _ = io.Copy(io.Discard, c.Conn) })
	old := s.start(t, webService([]string{origin.Addr, silent.Addr}, "health_check: {type: HTTP, path: /, frequency_secs: 1, timeout_ms: 300, unhealthy_threshold: 1}"))
	address := old.Addr(t, "web")
	harness.Eventually(t, "the silent one is out", func() bool {
		for _, e := range old.Endpoints(t, "web") {
			if e.Address == silent.Addr {
				return !e.Healthy
			}
		}
		return false
	})
	load := traffic.Start(t, traffic.Options{Addr: address, Workers: 4})
	load.Await(t, 50)
	next := s.next(t, old)
	s.waits(t, next)
	old.Signal(t, syscall.SIGQUIT)
	serves(t, next)
	load.Await(t, 200)
	if tally := load.Stop(); tally.Lost > 0 {
		t.Errorf("%v: %q", tally, tally.Losses)
	}
	ended(t, old)
}

func TestBinaryUpgradeOfADaemon(t *testing.T) {
	t.Parallel()
	s := newSuccession(t)
	d := newDaemon(t)
	d.arguments, d.env = nil, s.env
	if r := d.start(t); r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	before, err := strconv.Atoi(d.pidText())
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(before, syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	d.arguments = []string{"--upgrade"}
	if r := d.start(t); r.Code != 0 || !strings.Contains(r.Stderr, "pingora-proxy runs as process "+d.pidText()) {
		t.Fatalf("%+v, PID %q", r, d.pidText())
	}
	after, err := strconv.Atoi(d.pidText())
	if err != nil || after == before {
		t.Fatalf("process %d after %d: %v", after, before, err)
	}
	if got := one(t, harness.Dial(t, d.service)); got != "origin" {
		t.Error(got)
	}
	harness.Eventually(t, "the old one has ended", func() bool { return !running(before) })
	if d.pidText() != strconv.Itoa(after) {
		t.Error("the old one took the PID file away")
	}
	if err := syscall.Kill(after, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the new one has ended", func() bool { return !running(after) && d.pidText() == "" })
}

func TestControllerKnowsNoUpgrade(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{"--upgrade", "-u", "--upgrade-socket=x"} {
		if r := harness.Run(t, nil, "controller", flag); r.Code != 2 || !strings.Contains(r.Stderr, "unknown") {
			t.Errorf("%s: %+v", flag, r)
		}
	}
}

func TestUpgradeFlagsAreChecked(t *testing.T) {
	t.Parallel()
	for variable, want := range map[string]string{"10ms": "from 1s to 1h", "2h": "from 1s to 1h", "x": "such as 90s"} {
		r := harness.Run(t, []string{"PINGORA_UPGRADE_TIMEOUT=" + variable}, "--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1")
		if r.Code != 2 || !strings.Contains(r.Stderr, want) {
			t.Errorf("%s: %+v", variable, r)
		}
	}
}
