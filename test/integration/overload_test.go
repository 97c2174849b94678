package integration_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// turnedAway checks that a request was refused for a limit.
func turnedAway(t *testing.T, r *matrix.Response, reason string) {
	t.Helper()
	if r.Status != http.StatusServiceUnavailable || !strings.Contains(r.Body, `"`+reason+`"`) || r.Header.Get("Retry-After") != "1" {
		t.Errorf("%d %s, Retry-After %q; want 503 %s", r.Status, r.Body, r.Header.Get("Retry-After"), reason)
	}
}

// Above max_requests, of the process or of a service, requests are refused at once, and those that run finish.
func TestMaxRequests(t *testing.T) {
	t.Parallel()
	for name, limits := range map[string]struct{ global, service string }{
		"global":  {"limits: {max_requests: 2}", ""},
		"service": {"", "limits: {max_requests: 2}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
				entered, open, done := make(chan string), make(chan struct{}), make(chan int, 8)
				at := holding(t, c, "origin", entered, open)
				c.Globals = limits.global
				service := func(limit string, idle int) string {
					return fmt.Sprintf(`
  - name: shop
    bind_address: '${host}:8080'
    hosts: [shop.example]
    upstreams: ['%s']
    health_path: /healthz
    timeouts: {idle_secs: %d}
    %s
  - name: other
    bind_address: '${host}:8080'
    hosts: [other.example]
    upstreams: ['%s']
`, at, idle, limit, at)
				}
				c.Serve(t, service(limits.service, 60))
				get := func(url string) *matrix.Response { return c.Get(t, "http://"+url) }
				hold(t, c, entered, done)
				hold(t, c, entered, done)
				turnedAway(t, get("shop.example:8080/"), "too_many_requests")
				turnedAway(t, c.Do(t, "POST", "http://shop.example:8080/", strings.Repeat("x", 100_000)), "too_many_requests")
				if r := get("shop.example:8080/healthz"); r.Status != http.StatusOK {
					t.Errorf("/healthz: %d", r.Status)
				}
				if r := get("other.example:8080/"); (r.Status == http.StatusOK) != (limits.global == "") {
					t.Errorf("another service: %d", r.Status)
				}
				c.Serve(t, service(limits.service, 61))
				turnedAway(t, get("shop.example:8080/"), "too_many_requests")
				if limits.global == "" { // the limit follows a reload, and counts what runs
					c.Serve(t, service("limits: {max_requests: 3}", 61))
					if r := get("shop.example:8080/"); r.Status != http.StatusOK {
						t.Errorf("with a higher limit: %d", r.Status)
					}
				}
				close(open)
				for range 2 {
					if status := next(t, done); status != http.StatusOK {
						t.Errorf("a request that ran: %d", status)
					}
				}
				for range 5 {
					if r := get("shop.example:8080/"); r.Status != http.StatusOK {
						t.Errorf("afterwards: %d %s", r.Status, r.Body)
					}
				}
			})
		})
	}
}

// A service takes no more client connections than its max_connections; those of others do not count.
func TestMaxConnectionsOfAService(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		c.Serve(t, `
  - name: shop
    bind_address: '${host}:8080'
    hosts: [shop.example]
    upstreams: ['${origin}']
    limits: {max_connections: 2}
  - name: other
    bind_address: '${host}:8080'
    hosts: [other.example]
    upstreams: ['${origin}']
`)
		ask := func(client *http.Client, host string) *matrix.Response {
			t.Helper()
			r, err := c.Try(client, matrix.Request(t, "GET", "http://"+host+":8080/", ""))
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		clients := []*http.Client{c.Client(t, nil), c.Client(t, nil), c.Client(t, nil)}
		for range 3 {
			for i, client := range clients[:2] {
				if r := ask(client, "shop.example"); r.Status != http.StatusOK {
					t.Fatalf("client %d: %d", i, r.Status)
				}
			}
		}
		turnedAway(t, ask(clients[2], "shop.example"), "too_many_connections")
		if r := ask(clients[2], "other.example"); r.Status != http.StatusOK {
			t.Errorf("another service: %d", r.Status)
		}
		clients[0].CloseIdleConnections()
		for i := 0; ; i++ { // until the proxy has seen the end of the connection
			if r := ask(clients[2], "shop.example"); r.Status == http.StatusOK {
				break
			} else if i == 1000 {
				t.Fatalf("a connection has ended, and the next one is refused: %d", r.Status)
			}
		}
	})
}
