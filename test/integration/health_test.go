package integration_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// free reports whether addresses can be listened on.
func free(addresses ...string) bool {
	for _, address := range addresses {
		l, err := net.Listen("tcp", address) //nolint:noctx // local
		if err != nil {
			return false
		}
		_ = l.Close()
	}
	return true
}

// The seed is the file that people have. It works as it is written; where its ports are taken, with others in their place.
func TestSeedWorksAsWritten(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "fixtures", "config", "seed.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	yaml := string(text)
	upstreams := map[string]string{"admin-portal": "127.0.0.1:3002", "oauth-service": "127.0.0.1:3001"}
	binds := map[string]string{"admin-portal": "0.0.0.0:6188", "oauth-service": "0.0.0.0:6189"}
	if !free("0.0.0.0:6188", "0.0.0.0:6189") {
		t.Log("6188 or 6189 is taken: other ports take their place")
		for _, bind := range binds {
			yaml = strings.ReplaceAll(yaml, bind, "0.0.0.0:0")
		}
		yaml = strings.Replace(yaml, "0.0.0.0:0", "0.0.0.0:00", 1) // two listeners, not one with two services
		yaml = strings.Replace(yaml, "0.0.0.0:00", "127.0.0.1:0", 1)
	}
	if !free("127.0.0.1:3001", "127.0.0.1:3002") {
		t.Log("3001 or 3002 is taken: other ports take their place")
		for name, upstream := range upstreams {
			upstreams[name] = harness.StartOrigin(t, harness.Echo(name)).Addr
			yaml = strings.ReplaceAll(yaml, upstream, upstreams[name])
		}
	} else {
		for name, upstream := range upstreams {
			serveAt(t, upstream, harness.Echo(name))
		}
	}
	p := harness.Start(t, yaml, harness.Options{})
	for name, bind := range binds {
		address := p.Addr(t, name)
		if strings.Contains(yaml, bind) && address != bind {
			t.Errorf("%s is bound to %s, want %s", name, address, bind)
		}
		c := harness.Dial(t, address)
		if got := one(t, c); got != name {
			t.Errorf("%s is served by %s", name, got)
		}
		if r := c.Do(t, requestOf("GET", "/health")); r.StatusCode != http.StatusOK {
			t.Errorf("%s: /health: %d", name, r.StatusCode)
		}
	}
	harness.Eventually(t, "the first checks are done", func() bool {
		for name := range binds {
			for _, e := range p.Endpoints(t, name) {
				if e.LastCheck == nil || !e.Serving {
					return false
				}
			}
		}
		return true
	})
}

// serveAt runs a server on an address until the test ends.
func serveAt(t *testing.T, address string, handler http.Handler) {
	t.Helper()
	l, err := net.Listen("tcp", address) //nolint:noctx // local
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
}

func TestHealthEndpoint(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t, harness.Echo("origin"))
	down := refusing(t)
	service := func(name, upstream string, more ...string) string {
		s := fmt.Sprintf("  - {name: %s, bind_address: '127.0.0.1:0', hosts: [%s.test], ", name, name)
		if upstream != "" {
			s += fmt.Sprintf("upstreams: ['%s'], ", upstream)
		}
		return s + strings.Join(append(more, "timeouts: {}"), ", ") + "}\n"
	}
	const quick = "health_check: {frequency_secs: 1, unhealthy_threshold: 1}"
	p := harness.Start(t, "services:\n"+
		service("up", origin.Addr)+
		service("down", down, quick)+
		service("moved", origin.Addr, "health_path: /status/live")+
		service("turnedoff", origin.Addr, "health_path: off")+
		service("route", down, quick, fmt.Sprintf("routes: [{name: own, matches: [{path: {type: Exact, value: /health}}], "+
			"backends: [{address: '%s'}]}]", origin.Addr))+
		service("prefix", origin.Addr, fmt.Sprintf("routes: [{name: all, matches: [{path: {value: /health}}], backends: [{address: '%s'}]}]", down), quick)+
		service("redirect", "", "routes: [{name: away, filters: [{redirect: {scheme: https}}]}]"),
		harness.Options{})
	address := p.Addr(t, "up")
	harness.Eventually(t, "the endpoints that are down are known", func() bool {
		for _, name := range []string{"down", "route", "prefix"} {
			known := false
			for _, e := range p.Endpoints(t, name) {
				known = known || e.Address == down && !e.Healthy
			}
			if !known {
				return false
			}
		}
		return true
	})
	ask := func(t *testing.T, method, host, path string) *harness.Response {
		t.Helper()
		return harness.Dial(t, address).Do(t, strings.Replace(requestOf(method, path), "Host: h", "Host: "+host+".test", 1))
	}
	for _, c := range []struct {
		method, host, path string
		status             int
		proxy              bool // it is the proxy that answers
	}{
		{"GET", "up", "/health", 200, true},
		{"GET", "up", "/health?x=1", 200, true},
		{"HEAD", "up", "/health", 200, true},
		{"POST", "up", "/health", 200, false},
		{"GET", "up", "/health/x", 200, false},
		{"GET", "up", "/Health", 200, false},
		{"GET", "down", "/health", 503, true},
		{"HEAD", "down", "/health", 503, true},
		{"GET", "moved", "/health", 200, false},
		{"GET", "moved", "/status/live", 200, true},
		{"GET", "turnedoff", "/health", 200, false},
		{"GET", "route", "/health", 200, false},
		{"GET", "prefix", "/health", 200, true}, // one of its endpoints is up
		{"GET", "redirect", "/health", 200, true},
	} {
		t.Run(c.method+" "+c.host+c.path, func(t *testing.T) {
			before := origin.Requests.Load()
			r := ask(t, c.method, c.host, c.path)
			if r.StatusCode != c.status {
				t.Fatalf("%d %s", r.StatusCode, r.Text)
			}
			if asked := origin.Requests.Load() > before; asked == c.proxy {
				t.Errorf("the origin was asked: %v", asked)
			}
			if !c.proxy {
				return
			}
			if r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Cache-Control") != "no-store" || r.ContentLength <= 0 {
				t.Errorf("%d %v", r.ContentLength, r.Header)
			}
			if (c.method == "HEAD") != (r.Text == "") || strings.Contains(r.Text, "127.0.0.1") {
				t.Errorf("%q", r.Text)
			}
		})
	}
	if line := p.AccessOf(t, "/status/live"); line.Text("reason") != "health_endpoint" || line.Text("service") != "moved" {
		t.Error(line)
	}
}

func TestAllDownIs503AtOnceAndRecovers(t *testing.T) {
	t.Parallel()
	a, b := harness.StartOriginProcess(t, "a"), harness.StartOriginProcess(t, "b")
	p := harness.Start(t, webService([]string{a.Addr, b.Addr}, "health_check: {frequency_secs: 1, unhealthy_threshold: 2}",
		// Were a request tried at an endpoint that is down, or did it wait for one, the answer would be another.
		"retry: {attempts: 1}"), harness.Options{})
	c := harness.Dial(t, p.Addr(t, "web"))
	one(t, c)
	a.Kill(t)
	b.Kill(t)
	serving := func() (n int) {
		for _, e := range p.Endpoints(t, "web") {
			if e.Serving {
				n++
			}
		}
		return n
	}
	harness.Eventually(t, "both are down", func() bool { return serving() == 0 })
	for range 5 {
		r := c.Do(t, requestOf("GET", "/down"))
		if r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(r.Text, `"reason":"no_healthy_upstream"`) {
			t.Fatalf("%d %s", r.StatusCode, r.Text)
		}
	}
	if line := p.AccessOf(t, "/down"); line.Text("reason") != "no_healthy_upstream" || line.Number("attempts") != 0 || line.Text("upstream_addr") != "" {
		t.Error(line)
	}
	p.AwaitMetric(t, 5, "local_responses_total", "reason", "no_healthy_upstream")
	p.AwaitMetric(t, 0, "upstream_healthy")

	b.Start(t)
	checks := p.Metric(t, "health_checks_total", "result", "failure")
	harness.Eventually(t, "the one that is back serves", func() bool {
		return c.Do(t, requestOf("GET", "/back")).StatusCode == http.StatusOK
	})
	// Within one interval: until then each of the two was checked at most once more, and twice for the scheduling.
	if more := p.Metric(t, "health_checks_total", "result", "failure") - checks; more > 4 {
		t.Errorf("%v checks failed between the start of an endpoint and its first request", more)
	}
	if serving() != 1 {
		t.Error("not exactly one endpoint serves")
	}
	changes := map[string]int{}
	for _, line := range p.Log() {
		if line.Text("endpoint") != "" {
			changes[line.Text("msg")+" "+line.Text("endpoint")]++
			if line.Text("service") != "web" || line.Text("msg") == unhealthyMessage && line.Text("reason") == "" {
				t.Errorf("%v", line)
			}
		}
	}
	want := map[string]int{unhealthyMessage + " " + a.Addr: 1, unhealthyMessage + " " + b.Addr: 1, "endpoint is healthy again " + b.Addr: 1}
	if fmt.Sprint(changes) != fmt.Sprint(want) {
		t.Errorf("log: %v, want %v", changes, want)
	}
}

const unhealthyMessage = "endpoint is unhealthy: it gets no requests"

func TestFirstCheckComesAtOnce(t *testing.T) {
	t.Parallel()
	up, down := harness.StartOrigin(t, harness.Echo("up")), refusing(t)
	// The second check would come after a day.
	p := harness.Start(t, webService([]string{up.Addr, down}, "health_check: {frequency_secs: 86400, unhealthy_threshold: 100}"), harness.Options{})
	line := p.AwaitLog(t, "the endpoint is out", func(l harness.Line) bool { return l.Text("msg") == unhealthyMessage })
	if line.Text("endpoint") != down || !strings.Contains(line.Text("reason"), "refused") {
		t.Error(line)
	}
	for _, e := range p.Endpoints(t, "web") {
		if e.Healthy != (e.Address == up.Addr) || !e.Healthy && !strings.Contains(e.LastError, "refused") {
			t.Errorf("%+v", e)
		}
	}
	// An endpoint that a reload brings is checked at once too.
	another := refusing(t)
	p.Reload(t, webService([]string{up.Addr, down, another}, "health_check: {frequency_secs: 86400, unhealthy_threshold: 100}"))
	p.AwaitLog(t, "the new endpoint is out", func(l harness.Line) bool {
		return l.Text("msg") == unhealthyMessage && l.Text("endpoint") == another
	})
	if got := burst(t, p.Addr(t, "web"), 4, 20); got["up"] != 20 {
		t.Errorf("%v", got)
	}
}

func TestHTTPCheckKeepsToItsThresholds(t *testing.T) {
	t.Parallel()
	var status, checks atomic.Int32
	status.Store(200)
	origin := harness.StartOrigin(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ready" {
			code := int(status.Load())
			w.WriteHeader(code)
			checks.Add(1)
			if r.Method != http.MethodGet || r.Header.Get("User-Agent") == "" {
				t.Errorf("check: %s %v", r.Method, r.Header)
			}
			return
		}
		harness.Echo("origin").ServeHTTP(w, r)
	}))
	p := harness.Start(t, webService([]string{origin.Addr},
		"health_check: {type: HTTP, path: /ready, frequency_secs: 1, unhealthy_threshold: 2, healthy_threshold: 2}"), harness.Options{})
	endpoint := func() harness.Endpoint { return p.Endpoints(t, "web")[0] }
	harness.Eventually(t, "the first check", func() bool { return checks.Load() > 0 })
	set := func(code int, healthy bool) (seen int32) {
		t.Helper()
		status.Store(int32(code))
		before := checks.Load()
		harness.Eventually(t, fmt.Sprintf("with %d it is healthy: %v", code, healthy), func() bool { return endpoint().Healthy == healthy })
		return checks.Load() - before
	}
	if seen := set(500, false); seen < 2 {
		t.Errorf("out after %d failed checks, the threshold is 2", seen)
	}
	if e := endpoint(); !strings.Contains(e.LastError, "500") || e.FailedChecks < 2 {
		t.Errorf("%+v", e)
	}
	c := harness.Dial(t, p.Addr(t, "web"))
	if r := c.Do(t, requestOf("GET", "/")); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%d: the endpoint serves requests though its checks fail", r.StatusCode)
	}
	if seen := set(399, true); seen < 2 {
		t.Errorf("back after %d good checks, the threshold is 2", seen)
	}
	one(t, c)
	if p.Metric(t, "health_checks_total", "result", "failure") < 2 || p.Metric(t, "upstream_ejections_total", "reason", "health_check") != 1 {
		t.Error(p.MetricsText(t))
	}
}

// An endpoint that accepts connections and never answers is down for an HTTP check, and up for a TCP check.
func TestTypesOfChecks(t *testing.T) {
	t.Parallel()
	mute := harness.StartRawOrigin(t, silent)
	gone := refusing(t)
	var yaml strings.Builder
	yaml.WriteString("services:\n")
	for name, check := range map[string]string{
		"tcp":  "{type: TCP, frequency_secs: 1}",
		"http": "{type: HTTP, frequency_secs: 1, timeout_ms: 200}",
		"none": "{type: Disabled}",
	} {
		fmt.Fprintf(&yaml, "  - {name: %s, bind_address: '127.0.0.1:0', hosts: [%s.test], upstreams: ['%s', '%s'], health_check: %s}\n",
			name, name, mute.Addr, gone, check)
	}
	p := harness.Start(t, yaml.String(), harness.Options{})
	state := func(service string) (mutes, gones harness.Endpoint) {
		for _, e := range p.Endpoints(t, service) {
			if e.Address == gone {
				gones = e
			} else {
				mutes = e
			}
		}
		return mutes, gones
	}
	harness.Eventually(t, "checks have told", func() bool {
		httpMute, httpGone := state("http")
		tcpMute, tcpGone := state("tcp")
		return !httpMute.Healthy && !httpGone.Healthy && tcpMute.LastCheck != nil && tcpMute.Healthy && !tcpGone.Healthy
	})
	if m, _ := state("http"); !strings.Contains(m.LastError, "no answer within 200ms") {
		t.Errorf("%+v", m)
	}
	if m, g := state("none"); !m.Healthy || !g.Healthy || m.LastCheck != nil || g.LastCheck != nil {
		t.Errorf("checked though it is disabled: %+v %+v", m, g)
	}
}

func TestPassiveEjectionAndItsCap(t *testing.T) {
	t.Parallel()
	var failing atomic.Bool
	failing.Store(true)
	flaky := func(name string) *harness.WebOrigin {
		return harness.StartOrigin(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if failing.Load() {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			harness.Echo(name).ServeHTTP(w, r)
		}))
	}
	bad := []*harness.WebOrigin{flaky("f0"), flaky("f1"), flaky("f2")}
	good, _ := echoes(t, "good")
	p := harness.Start(t, webService([]string{bad[0].Addr, bad[1].Addr, bad[2].Addr, good[0]},
		"health_check: {type: Disabled, passive: {consecutive_errors: 3, ejection_secs: 2, max_ejection_percent: 50}}"), harness.Options{})
	c := harness.Dial(t, p.Addr(t, "web"))
	ejected := func() (n int) {
		for _, e := range p.Endpoints(t, "web") {
			if e.EjectedUntil != nil {
				n++
				if e.Serving || e.Address == good[0] {
					t.Errorf("%+v", e)
				}
			}
		}
		return n
	}
	// Three rounds of four: each bad one fails for the third time in a row, and two of four may go.
	for range 12 {
		c.Do(t, requestOf("GET", "/"))
	}
	p.AwaitLog(t, "an ejection", func(l harness.Line) bool {
		return l.Text("msg") == "endpoint is ejected: it failed too many requests in a row" && l.Text("reason") == "502"
	})
	most := 0
	for range 40 {
		c.Do(t, requestOf("GET", "/"))
		most = max(most, ejected())
	}
	if most != 2 {
		t.Errorf("at most %d endpoints were ejected at the same time, want 2 of 4", most)
	}
	if n := p.Metric(t, "upstream_ejections_total", "reason", "consecutive_errors"); n < 2 {
		t.Errorf("%v ejections", n)
	}
	failing.Store(false)
	harness.Eventually(t, "all are back and serve", func() bool {
		one(t, c)
		return ejected() == 0
	})
	if got := burst(t, p.Addr(t, "web"), 4, 40); len(got) != 4 || got["good"] != 10 {
		t.Errorf("%v", got)
	}
}
