package integration_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// open503 checks that the circuit breaker has answered, and returns for how long.
func open503(t *testing.T, r *matrix.Response) int {
	t.Helper()
	seconds, err := strconv.Atoi(r.Header.Get("Retry-After"))
	if r.Status != http.StatusServiceUnavailable || !strings.Contains(r.Body, `"circuit_open"`) || err != nil || seconds < 1 {
		t.Fatalf("%d %s, Retry-After %q", r.Status, r.Body, r.Header.Get("Retry-After"))
	}
	return seconds
}

func TestCircuitBreaker(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		var failing atomic.Bool
		var asked atomic.Int64
		failing.Store(true)
		shaky := c.Origin(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			if failing.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}))
		service := func(openSecs, idle int) string {
			return fmt.Sprintf(`
  - name: shop
    bind_address: '${host}:8080'
    upstreams: ['%s']
    health_check: {type: Disabled}
    retry: {attempts: 1}
    timeouts: {idle_secs: %d}
    circuit_breaker: {error_percent: 50, min_requests: 10, open_secs: %d}
    routes:
      - {name: two, matches: [{path: {value: /two}}], backends: [{address: '%s'}, {address: '${origin}', protocol: HTTP, role: Backup}]}
`, shaky, idle, openSecs, shaky)
		}
		c.Serve(t, service(3600, 30))
		get := func(path string) *matrix.Response { return c.Get(t, "http://shop.example:8080"+path) }
		for i := range 10 {
			if r := get("/"); r.Status != http.StatusServiceUnavailable || strings.Contains(r.Body, "circuit_open") {
				t.Fatalf("request %d: %d %s", i, r.Status, r.Body)
			}
		}
		if n := open503(t, get("/")); n < 3590 || n > 3600 {
			t.Errorf("Retry-After: %d", n)
		}
		if n := asked.Load(); n != 10 {
			t.Errorf("the origin was asked %d times", n)
		}
		c.Proxy.AwaitMetric(t, 2, "pingora_proxy_circuit_breaker_state")
		c.Proxy.AwaitLog(t, "the open circuit", func(l harness.Line) bool {
			return l["msg"] == "circuit breaker changed" && l["to"] == "open"
		})
		if text := c.Proxy.Admin(t, "/api/v1/status"); !strings.Contains(strings.ReplaceAll(text, " ", ""), `"circuit":"open"`) {
			t.Errorf("the admin API does not tell of the open circuit:\n%s", text)
		}
		// Another route's cluster has a circuit of its own; when it is open the backup serves.
		for range 10 {
			get("/two")
		}
		if r := get("/two"); r.Status != http.StatusOK {
			t.Errorf("with a backup: %d %s", r.Status, r.Body)
		}
		// It stays open over a reload. With a shorter time it closes after its next opening; the time that runs is not changed.
		c.Serve(t, service(3600, 31))
		open503(t, get("/"))

		// Half-open: probes decide.
		before := asked.Load()
		c.Serve(t, strings.ReplaceAll(service(1, 31), "error_percent: 50, ", "")) // it is closed without a percentage
		failing.Store(false)
		if r := get("/"); r.Status != http.StatusOK {
			t.Errorf("without a percentage: %d", r.Status)
		}
		c.Serve(t, service(1, 31))
		failing.Store(true)
		for range 10 {
			get("/")
		}
		open503(t, get("/"))
		harness.Eventually(t, "a probe", func() bool { get("/"); return asked.Load() > before+11 })
		failing.Store(false)
		harness.Eventually(t, "the circuit to close", func() bool { return get("/").Status == http.StatusOK })
		for range 10 {
			if r := get("/"); r.Status != http.StatusOK && !strings.Contains(r.Body, "circuit_open") {
				t.Errorf("%d %s", r.Status, r.Body)
			}
		}
		c.Proxy.AwaitLog(t, "the closed circuit", func(l harness.Line) bool {
			return l["msg"] == "circuit breaker changed" && l["from"] == "half-open" && l["to"] == "closed"
		})
	})
}

// One request runs, one waits for it, the third is refused at once.
func TestCircuitBreakerBoundsConnections(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		entered, open, done := make(chan string), make(chan struct{}), make(chan int, 8)
		at := holding(t, c, "origin", entered, open)
		c.Serve(t, fmt.Sprintf(`
  - name: shop
    bind_address: '${host}:8080'
    upstreams: ['%s']
    health_check: {type: Disabled}
    timeouts: {connect_ms: 60000}
    circuit_breaker: {max_connections: 1, max_pending: 1}
`, at))
		hold(t, c, entered, done)
		waiting := make(chan int, 1)
		client := c.Client(t, nil)
		r := matrix.Request(t, "GET", "http://shop.example:8080/", "")
		go func() {
			response, err := c.Try(client, r)
			if err != nil {
				t.Error(err)
				waiting <- 0
				return
			}
			waiting <- response.Status
		}()
		harness.Eventually(t, "one to wait", func() bool {
			return strings.Contains(strings.ReplaceAll(c.Proxy.Admin(t, "/api/v1/status"), " ", ""), `"waiting":1`)
		})
		if n := open503(t, c.Get(t, "http://shop.example:8080/")); n != 1 {
			t.Errorf("Retry-After: %d", n)
		}
		close(open)
		if a, b := next(t, done), next(t, waiting); a != http.StatusOK || b != http.StatusOK {
			t.Errorf("the one that ran: %d, the one that waited: %d", a, b)
		}
		if r := c.Get(t, "http://shop.example:8080/"); r.Status != http.StatusOK {
			t.Errorf("afterwards: %d %s", r.Status, r.Body)
		}
	})
}
