package integration_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/traffic"
)

// A gate is an origin that holds requests for /held back until it is opened. Requests for anything else are echoed.
type gate struct {
	*harness.WebOrigin
	held   atomic.Int32
	opened chan struct{}
}

func newGate(t *testing.T) *gate {
	t.Helper()
	g := &gate{opened: make(chan struct{})}
	g.WebOrigin = harness.StartOrigin(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/held" {
			g.held.Add(1)
			select {
			case <-g.opened:
			case <-r.Context().Done():
				return
			}
		}
		harness.Echo("gate").ServeHTTP(w, r)
	}))
	return g
}

// hold sends a request that the gate holds back, and returns when the gate has it.
func (g *gate) hold(t *testing.T, address string) *harness.Client {
	t.Helper()
	before := g.held.Load()
	c := harness.Dial(t, address)
	c.Send(t, requestOf("GET", "/held"))
	harness.Eventually(t, "the origin has the request", func() bool { return g.held.Load() > before })
	return c
}

// stopping sends a signal and waits until the proxy says that it is not ready.
func stopping(t *testing.T, p *harness.Proxy, s os.Signal) {
	t.Helper()
	admin := p.AdminAddr(t)
	p.Signal(t, s)
	harness.Eventually(t, "the proxy is not ready", func() bool { return probe(t, admin, "/readyz") == http.StatusServiceUnavailable })
}

// probe is the status with which an address answers a GET, 0 for none.
func probe(t *testing.T, address, path string) int {
	t.Helper()
	conn, err := net.Dial("tcp", address) //nolint:noctx // local
	if err != nil {
		return 0
	}
	_ = conn.Close()
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + address + path) //nolint:noctx // local
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

func TestDrainUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	ledger := harness.NewLedger(t)
	g := newGate(t)
	a, b := harness.StartOrigin(t, ledger.Echo("a")), harness.StartOrigin(t, ledger.Echo("b"))
	p := harness.Start(t, webService([]string{a.Addr, b.Addr}, unchecked)+
		fmt.Sprintf("  - {name: held, bind_address: '127.0.0.2:0', upstreams: ['%s']}\n", g.Addr), harness.Options{})
	web, held := p.Addr(t, "web"), p.Addr(t, "held")
	admin, metrics := p.AdminAddr(t), p.MetricsAddr(t)
	inFlight := g.hold(t, held)
	load := traffic.Start(t, traffic.Options{Addr: web, Workers: 8, Leave: true})
	load.Await(t, 200)

	// Whoever is refused a connection must have been able to know: readiness goes first.
	refused := make(chan int)
	go func() {
		for {
			conn, err := net.Dial("tcp", held) //nolint:noctx // local
			if err != nil {
				refused <- probe(t, admin, "/readyz")
				return
			}
			_ = conn.Close()
		}
	}()
	p.Signal(t, syscall.SIGTERM)
	if status := <-refused; status != http.StatusServiceUnavailable {
		t.Errorf("when the first connection was refused, /readyz said %d, want 503", status)
	}
	if status := probe(t, metrics, "/readyz"); status != http.StatusServiceUnavailable {
		t.Errorf("/readyz of the metrics address: %d", status)
	}
	if status := probe(t, admin, "/livez"); status != http.StatusOK {
		t.Errorf("/livez while draining: %d", status)
	}

	tally := load.Wait()
	t.Logf("%v", tally)
	if tally.Lost != 0 {
		t.Errorf("lost: %q", tally.Losses)
	}
	if tally.Closed == 0 {
		t.Error("no answer said Connection: close")
	}
	for _, method := range []string{"GET", "POST"} {
		if replayed, received := ledger.Replayed(t, method); len(replayed) > 0 || received != tally.ByMethod[method] {
			t.Errorf("%s: %d answered, %d received, twice %q", method, tally.ByMethod[method], received, replayed)
		}
	}

	// The one that was under way is finished, and only then the process ends.
	select {
	case <-p.Exited():
		t.Fatal("the proxy has ended before its last request")
	default:
	}
	close(g.opened)
	if r := inFlight.Response(t, "GET"); r.StatusCode != http.StatusOK || !r.Close {
		t.Errorf("the request in flight: %d, closes %v", r.StatusCode, r.Close)
	}
	inFlight.Closed(t)
	if code := p.Wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if status := probe(t, admin, "/livez"); status != 0 {
		t.Errorf("somebody still answers on the admin address: %d", status)
	}
}

func TestDrainFinishesUploadsAndClosesIdleConnections(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t, harness.Echo("origin"))
	p := harness.Start(t, webService([]string{origin.Addr}, unchecked), harness.Options{})
	address := p.Addr(t, "web")
	upload, idle, last := harness.Dial(t, address), harness.Dial(t, address), harness.Dial(t, address)
	one(t, idle)
	one(t, last)
	upload.Send(t, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc")
	harness.Eventually(t, "the upload runs", func() bool { return p.Metric(t, "active_requests") == 1 })
	stopping(t, p, syscall.SIGINT)
	// Readiness goes a moment before the draining. A request that crosses the closing is served, and is the last one.
	harness.Eventually(t, "an answer says Connection: close", func() bool {
		r := last.Do(t, requestOf("GET", "/last"))
		if r.StatusCode != http.StatusOK {
			t.Fatalf("a request while the proxy stops: %d", r.StatusCode)
		}
		return r.Close
	})
	last.Closed(t)
	idle.Closed(t)
	upload.Send(t, "def")
	r := upload.Response(t, "POST")
	if e := harness.ParseEchoed(t, r.Text); r.StatusCode != http.StatusOK || !r.Close || e.Bytes != 6 {
		t.Errorf("%d, closes %v, %+v", r.StatusCode, r.Close, e)
	}
	if code := p.Wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if line := p.AccessOf(t, "/last"); line.Number("status") != 200 {
		t.Error(line)
	}
}

func TestWebSocketGetsTheDrainTimeAndIsCut(t *testing.T) {
	t.Parallel()
	origin := talker(t)
	for _, c := range []struct {
		name    string
		seconds int
		cut     bool
	}{{"the time is over", 2, true}, {"the client ends it", 3600, false}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := harness.Start(t, fmt.Sprintf("limits: {drain_timeout_secs: %d}\n%s", c.seconds, webService([]string{origin.Addr}, unchecked)), harness.Options{})
			tunnel := openTunnel(t, p.Addr(t, "web"))
			tunnel.speak(t, "before")
			stopping(t, p, syscall.SIGTERM)
			tunnel.speak(t, "while it drains")
			if !c.cut {
				tunnel.CloseWrite(t)
			}
			tunnel.Closed(t)
			if code := p.Wait(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
			stopped := p.AwaitLog(t, "stopped", func(l harness.Line) bool { return l.Text("msg") == "stopped" })
			late := 0
			for _, l := range p.Log() {
				if l.Text("msg") == "not everything could be finished" {
					late++
				}
			}
			if c.cut && (stopped.Number("drained_ms") < float64(1000*c.seconds) || late != 1) {
				t.Errorf("the tunnel was cut early, or silently: %v", stopped)
			}
			if !c.cut && late != 0 {
				t.Error("the tunnel ended by itself, and is reported as cut")
			}
			p.AccessOf(t, "/socket")
		})
	}
}

func TestSecondSignalStopsAtOnce(t *testing.T) {
	t.Parallel()
	for _, s := range [][2]syscall.Signal{{syscall.SIGTERM, syscall.SIGTERM}, {syscall.SIGINT, syscall.SIGTERM}, {syscall.SIGTERM, syscall.SIGINT}} {
		t.Run(fmt.Sprint(s[0], " ", s[1]), func(t *testing.T) {
			t.Parallel()
			g := newGate(t)
			p := harness.Start(t, "limits: {drain_timeout_secs: 3600}\n"+webService([]string{g.Addr}, unchecked), harness.Options{})
			c := g.hold(t, p.Addr(t, "web"))
			stopping(t, p, s[0])
			p.Signal(t, syscall.SIGHUP) // neither reloads nor stops
			select {
			case <-p.Exited():
				t.Fatal("the first signal, or SIGHUP, ended the proxy at once")
			default:
			}
			p.Signal(t, s[1])
			if code := p.Wait(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if r, err := c.TryResponse("GET"); err == nil {
				t.Errorf("the request was answered: %d", r.StatusCode)
			}
		})
	}
}

func TestDrainIsOverInTime(t *testing.T) {
	t.Parallel()
	for _, seconds := range []int{0, 1} {
		t.Run(fmt.Sprint(seconds), func(t *testing.T) {
			t.Parallel()
			g := newGate(t)
			p := harness.Start(t, fmt.Sprintf("limits: {drain_timeout_secs: %d}\n%s", seconds, webService([]string{g.Addr}, unchecked)), harness.Options{})
			c := g.hold(t, p.Addr(t, "web"))
			p.Signal(t, syscall.SIGTERM)
			if code := p.Wait(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if r, err := c.TryResponse("GET"); err == nil {
				t.Errorf("the request was answered: %d", r.StatusCode)
			}
			p.AwaitLog(t, "what was cut", func(l harness.Line) bool {
				return l.Text("msg") == "not everything could be finished" && strings.HasPrefix(l.Text("error"), "1 connection")
			})
			p.AccessOf(t, "/held")
		})
	}
}
