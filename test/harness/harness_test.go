package harness_test

import (
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

func config(service, origin string) string {
	return "services: [{name: " + service + ", bind_address: '127.0.0.1:0', upstreams: ['" + origin + "']}]\n"
}

func TestProxyRunsReloadsAndStops(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t, harness.Echo("web"))
	p := harness.Start(t, config("a", origin.Addr), harness.Options{})
	c := harness.Dial(t, p.Addr(t, "a"))
	r := c.Do(t, "GET /x?y HTTP/1.1\r\nHost: h\r\n\r\n")
	e := harness.ParseEchoed(t, r.Text)
	if r.StatusCode != http.StatusOK || e.Origin != "web" || e.Target != "/x?y" || e.Host != "h" || origin.Requests.Load() != 1 {
		t.Errorf("%d %+v", r.StatusCode, e)
	}
	if line := p.AccessOf(t, "/x"); line.Number("status") != 200 || line.Text("service") != "a" {
		t.Error(line)
	}
	p.AwaitMetric(t, 1, "requests_total", "service", "a", "code", "200")
	if n := p.Metric(t, "requests_total", "service", "b"); n != 0 {
		t.Error(n)
	}
	if e := p.Endpoints(t, "a"); len(e) != 1 || e[0].Address != origin.Addr || e[0].Requests != 1 {
		t.Errorf("%+v", e)
	}

	p.ReloadRefused(t, "services: [{}]")
	p.Reload(t, config("b", origin.Addr))
	if r := harness.Dial(t, p.Addr(t, "b")).Do(t, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); r.StatusCode != http.StatusOK {
		t.Error(r.StatusCode)
	}
	p.AwaitLog(t, "the reload", func(l harness.Line) bool { return l.Text("msg") == "configuration reloaded" })
	if code := p.Stop(t); code != 0 {
		t.Error(code)
	}
	c.Closed(t)
}

func TestRun(t *testing.T) {
	t.Parallel()
	if r := harness.Run(t, []string{"CONFIG_PATH=missing.yaml"}, "--validate"); r.Code != 1 || !strings.Contains(r.Stdout+r.Stderr, "missing.yaml") {
		t.Errorf("%+v", r)
	}
}

func TestRawOriginKeepsWhatItReceives(t *testing.T) {
	t.Parallel()
	origin := harness.StartRawOrigin(t, harness.Answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"))
	c := harness.Dial(t, origin.Addr)
	const request = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
	for range 2 {
		if r := c.Do(t, request); r.Text != "hi" {
			t.Errorf("%q", r.Text)
		}
	}
	idle := harness.Dial(t, origin.Addr)
	idle.CloseWrite(t)
	idle.Closed(t)
	if got := origin.Received(); got != request+request || len(origin.Conns()) != 1 {
		t.Errorf("%q", got)
	}
	if got := c.Received(); strings.Count(got, "HTTP/1.1 200 OK\r\n") != 2 {
		t.Errorf("%q", got)
	}
}

func TestClientSeesABodyThatIsCutShort(t *testing.T) {
	t.Parallel()
	origin := harness.StartRawOrigin(t, func(c *harness.OriginConn) {
		c.Request()
		c.Send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi")
	})
	c := harness.Dial(t, origin.Addr)
	c.Send(t, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	r, err := c.TryResponse("GET")
	if err != nil || r.BodyErr == nil || r.Text != "hi" {
		t.Errorf("%+v %v", r, err)
	}
}

func TestOriginProcessComesBackOnItsAddress(t *testing.T) {
	t.Parallel()
	origin := harness.StartOriginProcess(t, "p")
	ask := func() {
		t.Helper()
		r := harness.Dial(t, origin.Addr).Do(t, "GET /?bytes=3 HTTP/1.1\r\nHost: h\r\n\r\n")
		if r.Header.Get("X-Origin") != "p" || r.Text != harness.Pattern(3) {
			t.Errorf("%+v", r)
		}
	}
	ask()
	before := origin.Addr
	origin.Signal(t, syscall.SIGSTOP) // a stopped process dies as well
	origin.Kill(t)
	origin.Start(t)
	if origin.Addr != before {
		t.Errorf("%s, before %s", origin.Addr, before)
	}
	ask()
}
