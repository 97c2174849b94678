package integration_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// fields are the names of a line's fields, without those that every line has.
func fields(l harness.Line) []string {
	var names []string
	for name := range l {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// The fields that every line has, in the order of the alphabet, and those of a request that was forwarded.
var (
	always = []string{
		"attempts", "bytes_in", "bytes_out", "client_ip", "config_hash", "duration_ms", "host", "method", "path", "protocol",
		"request_id", "route", "service", "status", "ts",
	}
	forwarded = []string{"upstream_addr", "upstream_connect_ms", "upstream_duration_ms", "upstream_status"}
)

func plus(lists ...[]string) []string {
	all := slices.Concat(lists...)
	slices.Sort(all)
	return all
}

func TestAccessLogFields(t *testing.T) {
	t.Parallel()
	origin := script{
		"/good": says("HTTP/1.1 201 Created\r\nContent-Length: 7\r\n\r\ncreated"),
		"/cut":  saysAndCloses("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ncut"),
		"/bad":  saysAndCloses("nonsense"),
	}.start(t)
	gone := harness.StartOriginProcess(t, "gone")
	gone.Kill(t)
	p := harness.Start(t, fmt.Sprintf(`
services:
  - name: shop
    bind_address: '127.0.0.1:0'
    hosts: [shop.example]
    upstreams: ['%s']
    health_check: {type: Disabled}
    routes:
      - {name: gone, matches: [{path: {value: /gone}}], backends: [{address: '%s'}]}
      - {name: away, matches: [{path: {value: /away}}], filters: [{redirect: {path: /x}}]}
`, origin.Addr, gone.Addr), harness.Options{})
	addr, hash := p.Addr(t, "shop"), p.ConfigHash(t)

	for name, c := range map[string]struct {
		request string
		fields  []string
		values  harness.Line
	}{
		"forwarded": {
			"POST /good?token=secret HTTP/1.1\r\nHost: shop.example:81\r\nContent-Length: 3\r\n\r\nabc",
			plus(always, forwarded),
			harness.Line{
				"method": "POST", "host": "shop.example:81", "path": "/good", "protocol": "HTTP/1.1", "status": 201., "bytes_in": 3., "bytes_out": 7.,
				"client_ip": "127.0.0.1", "service": "shop", "route": "default", "attempts": 1., "upstream_addr": origin.Addr, "upstream_status": 201.,
				"config_hash": hash,
			},
		},
		"HTTP/1.0, another method": {
			"PURGE /good HTTP/1.0\r\nHost: shop.example\r\n\r\n",
			plus(always, forwarded),
			harness.Line{"method": "PURGE", "protocol": "HTTP/1.0", "status": 201., "bytes_in": 0.},
		},
		"own answer": {
			"GET /away HTTP/1.1\r\nHost: shop.example\r\n\r\n",
			plus(always, []string{"reason"}),
			harness.Line{"status": 302., "reason": "redirect", "service": "shop", "route": "away", "attempts": 0.},
		},
		"health": {
			"GET /health HTTP/1.1\r\nHost: shop.example\r\n\r\n",
			plus(always, []string{"reason"}),
			harness.Line{"status": 200., "reason": "health_endpoint", "service": "shop", "route": ""},
		},
		"no route": {
			"GET /x HTTP/1.1\r\nHost: other.example\r\n\r\n",
			plus(always, []string{"reason"}),
			harness.Line{"status": 404., "reason": "no_route", "service": "", "route": "", "host": "other.example", "config_hash": hash},
		},
		"no head": {
			"GET / HTTP/1.1\r\n\r\n",
			plus(always, []string{"reason"}),
			harness.Line{"status": 400., "reason": "bad_request", "client_ip": "127.0.0.1", "service": "", "config_hash": hash},
		},
		"no connection": {
			"GET /gone HTTP/1.1\r\nHost: shop.example\r\n\r\n",
			plus(always, []string{"reason", "upstream_addr", "upstream_connect_ms", "upstream_duration_ms"}),
			harness.Line{"status": 502., "reason": "connect_failed", "route": "gone", "upstream_addr": gone.Addr},
		},
		"no response": {
			"GET /bad HTTP/1.1\r\nHost: shop.example\r\n\r\n",
			plus(always, []string{"reason", "upstream_addr", "upstream_connect_ms", "upstream_duration_ms"}),
			harness.Line{"status": 502., "reason": "upstream_protocol", "upstream_addr": origin.Addr},
		},
		"half a response": {
			"GET /cut HTTP/1.1\r\nHost: shop.example\r\n\r\n",
			plus(always, forwarded, []string{"reason"}),
			harness.Line{"status": 200., "reason": "upstream_truncated", "upstream_status": 200., "bytes_out": 3.},
		},
	} {
		t.Run(name, func(t *testing.T) {
			conn := harness.Dial(t, addr)
			before := time.Now().Add(-time.Second)
			r, err := conn.TryResponseTo(c.request)
			if err != nil {
				t.Fatal(err)
			}
			id := r.Header.Get("X-Request-Id")
			line := p.AwaitAccess(t, name, func(l harness.Line) bool { return l.Text("request_id") == id })
			if diff := cmp.Diff(c.fields, fields(line)); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
			for field, want := range c.values {
				if got := line[field]; got != want {
					t.Errorf("%s: %v, want %v", field, got, want)
				}
			}
			at, err := time.Parse("2006-01-02T15:04:05.000Z", line.Text("ts"))
			if err != nil || at.Before(before) || at.After(time.Now().Add(time.Second)) {
				t.Errorf("ts %q: %v", line.Text("ts"), err)
			}
			if took := line.Number("duration_ms"); took <= 0 || line.Number("upstream_connect_ms") > took || line.Number("upstream_duration_ms") > took {
				t.Errorf("times: %v", line)
			}
		})
	}
}

func TestAccessLogToAFile(t *testing.T) {
	t.Parallel()
	origin := harness.StartRawOrigin(t, harness.Answer(ok))
	file := filepath.Join(t.TempDir(), "access.log")
	config := func(log string) string { return siteConfig(origin.Addr, "", "access_log: {"+log+"}") }
	p := harness.Start(t, config("path: '"+file+"'"), harness.Options{})
	c := harness.Dial(t, p.Addr(t, "web"))
	holds := func(path string, n int, words string) {
		t.Helper()
		harness.Eventually(t, fmt.Sprintf("%s has %q %d times", path, words, n), func() bool {
			text, err := os.ReadFile(path)
			return err == nil && strings.Count(string(text), words) == n
		})
	}
	c.Do(t, request("GET", "/one"))
	holds(file, 1, `"path":"/one"`)
	if err := os.Rename(file, file+".1"); err != nil {
		t.Fatal(err)
	}
	p.Signal(t, syscall.SIGUSR1)
	harness.Eventually(t, "the file is there again", func() bool { _, err := os.Stat(file); return err == nil })
	c.Do(t, request("GET", "/two"))
	holds(file, 1, `"path":"/two"`)
	holds(file+".1", 1, "\n")

	p.Reload(t, config("path: '"+file+"', format: Console"))
	c.Do(t, request("GET", "/three"))
	holds(file, 1, "200 GET site.example/three ")
	p.Reload(t, config("path: '"+file+"', sample_percent: 0"))
	for range 20 {
		c.Do(t, request("GET", "/none"))
	}
	p.Reload(t, config("path: 'off'"))
	for range 20 {
		c.Do(t, request("GET", "/none"))
	}
	p.Reload(t, config("path: stdout"))
	c.Do(t, request("GET", "/four"))
	p.AccessOf(t, "/four")
	holds(file, 0, "/none")
	if strings.Contains(p.AccessLogText(), "/none") {
		t.Error("a log that is off was written")
	}
}

// A line of the access log is one line, whatever a client sends.
func TestAccessLogCannotBeForged(t *testing.T) {
	t.Parallel()
	origin := harness.StartRawOrigin(t, harness.Answer(ok))
	s := front(t, origin.Addr, "client_ip: {trusted_proxies: [127.0.0.1/32]}", "")
	c := s.dial(t)
	c.Do(t, "GET /%0a{%22ts%22:1}%1b[31m HTTP/1.1\r\nHost: h\r\nX-Request-Id: a\"b\\c\t\xff\xe2\x80\xae\r\n\r\n")
	c.Do(t, request("GET", "/last"))
	s.AccessOf(t, "/last")
	lines := s.AccessLog()
	if len(lines) != 2 || lines[0].Text("text") != "" || lines[0].Text("request_id") != "a\"b\\c\t�\u202e" {
		t.Errorf("%d lines: %q", len(lines), lines)
	}
	if text := s.AccessLogText(); strings.ContainsFunc(strings.ReplaceAll(text, "\n", ""), func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("%q", text)
	}
}

func TestMetricsCount(t *testing.T) {
	t.Parallel()
	origin := script{"/": says(ok), "/cut": saysAndCloses("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ncut"), "/404": says("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone")}.start(t)
	s := front(t, origin.Addr, "hosts: [site.example], routes: [{name: r, matches: [{path: {value: /r}}], filters: [{rewrite: {path: /}}]}]", "")
	if n := len(s.Metrics(t)["pingora_proxy_requests_total"]); n != 0 {
		t.Errorf("%d series before the first request", n)
	}
	c := s.dial(t)
	for range 3 {
		expect(t, c.Do(t, request("GET", "/")), 200, "ok")
	}
	expect(t, c.Do(t, request("POST", "/r", "Content-Length: 5")+"hello"), 200, "ok")
	expect(t, c.Do(t, request("GET", "/404")), 404, "gone")
	expect(t, c.Do(t, request("FROBNICATE", "/")), 200, "ok")
	c.Do(t, "GET / HTTP/1.1\r\nHost: other\r\n\r\n")
	expect(t, c.Do(t, "GET / HTTP/1.0\r\nHost: site.example\r\nConnection: keep-alive\r\n\r\n"), 200, "ok")
	c.Send(t, request("GET", "/cut"))
	_, _ = c.TryResponse("GET")
	bad := s.dial(t)
	bad.Do(t, "NONSENSE\r\n\r\n")
	bad.Closed(t)

	labels := func(service, route, method, code, protocol string) []string {
		return []string{"namespace", "", "service", service, "route", route, "method", method, "code", code, "protocol", protocol}
	}
	s.AwaitMetric(t, 10, "requests_total")
	s.AwaitMetric(t, 4, "requests_total", labels("web", "default", "GET", "200", "HTTP/1.1")...)
	s.AwaitMetric(t, 1, "requests_total", labels("web", "r", "POST", "200", "HTTP/1.1")...)
	s.AwaitMetric(t, 1, "requests_total", labels("web", "default", "GET", "404", "HTTP/1.1")...)
	s.AwaitMetric(t, 1, "requests_total", labels("web", "default", "OTHER", "200", "HTTP/1.1")...)
	s.AwaitMetric(t, 1, "requests_total", labels("web", "default", "GET", "200", "HTTP/1.0")...)
	s.AwaitMetric(t, 1, "requests_total", labels("", "", "GET", "404", "HTTP/1.1")...)
	s.AwaitMetric(t, 1, "requests_total", "service", "", "code", "400")
	s.AwaitMetric(t, 5, "request_bytes_total", "route", "r")
	s.AwaitMetric(t, 2, "response_bytes_total", "route", "r")
	s.AwaitMetric(t, 5*2+4+3, "response_bytes_total", "route", "default")
	s.AwaitMetric(t, 7, "request_duration_seconds", "service", "web", "route", "default")
	s.AwaitMetric(t, 7, "upstream_request_duration_seconds", "service", "web", "route", "default")
	s.AwaitMetric(t, 1, "local_responses_total", "reason", "no_route")
	s.AwaitMetric(t, 1, "local_responses_total", "reason", "bad_request")
	s.AwaitMetric(t, 1, "aborted_responses_total", "reason", "upstream_truncated")
	s.AwaitMetric(t, 2, "connections_total")
	s.AwaitMetric(t, 0, "open_connections")
	s.AwaitMetric(t, 0, "active_requests")
	s.AwaitMetric(t, 1, "upstream_healthy", "upstream", origin.Addr)
	s.AwaitMetric(t, 1, "config_reloads_total", "result", "success")
	s.AwaitMetric(t, 0, "config_reloads_total", "result", "error")
	s.AwaitMetric(t, 1, "config_last_reload_successful")
	for _, name := range []string{"go_goroutines", "process_open_fds", "pingora_proxy_build_info", "pingora_proxy_config_last_reload_success_timestamp_seconds"} {
		if s.Metric(t, name) == 0 {
			t.Errorf("no %s", name)
		}
	}
}

// Whatever clients ask for, the number of series stays what the configuration makes it.
func TestMetricsStayBounded(t *testing.T) {
	t.Parallel()
	origin := harness.StartRawOrigin(t, harness.Answer(ok))
	s := front(t, origin.Addr, "hosts: [site.example]", "access_log: {path: 'off'}")
	text := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[rand.IntN(26)]
		}
		return string(b)
	}
	const rounds, requests = 20, 100
	for range rounds {
		c := s.dial(t)
		all := ""
		for i := range requests {
			host := "site.example"
			if i%2 == 0 {
				host = text(10) + ".example"
			}
			all += fmt.Sprintf("%s /%s?%s HTTP/1.1\r\nHost: %s\r\nX-%s: %s\r\nUser-Agent: %s\r\n\r\n", text(8), text(8), text(8), host, text(8), text(8), text(8))
		}
		sent := make(chan error, 1)
		go func() { sent <- c.TrySend(all) }()
		for range requests {
			c.Response(t, "GET")
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	}
	s.AwaitMetric(t, rounds*requests/2, "requests_total", "service", "", "code", "404", "method", "OTHER")
	s.AwaitMetric(t, rounds*requests/2, "requests_total", "service", "web", "code", "200", "method", "OTHER")
	if n := len(s.Metrics(t)["pingora_proxy_requests_total"]); n != 2 {
		t.Errorf("%d series of requests_total", n)
	}
	total := 0
	for name, series := range s.Metrics(t) {
		if strings.HasPrefix(name, "pingora_proxy_") {
			total += len(series)
		}
	}
	if total > 100 {
		t.Errorf("%d series", total)
	}
}

// Canaries go through every way that a secret can take; none of them may come out where people look.
func TestSecretsAppearNowhere(t *testing.T) {
	t.Parallel()
	const canary = "CANARY"
	answers := map[string]string{
		"/":       "HTTP/1.1 200 OK\r\nSet-Cookie: s=" + canary + "\r\nX-Token: " + canary + "\r\nContent-Length: 8\r\n\r\n" + canary + "ok",
		"/cut":    "HTTP/1.1 200 OK\r\nSet-Cookie: s=" + canary + "\r\nContent-Length: 9\r\n\r\n" + canary,
		"/bad":    "HTTP/1.1 200 OK\r\nX-Token : " + canary + "\r\n\r\n",
		"/health": ok, // not the proxy's own, for a POST
		"/chunks": "",
	}
	origin := harness.StartRawOrigin(t, func(c *harness.OriginConn) {
		head := c.Head()
		path, _, _ := strings.Cut(strings.Fields(head)[1], "?")
		if answer, ok := answers[path]; !ok {
			c.Fail("asked for %s", path)
		} else if path == "/chunks" {
			_, _ = c.Rest()
		} else {
			c.Read(len(canary))
			c.Send(answer)
		}
	})
	gone := harness.StartOriginProcess(t, "gone")
	gone.Kill(t)
	config := func(value string) string {
		return fmt.Sprintf(`
services:
  - name: web
    bind_address: '127.0.0.1:0'
    upstreams: ['%s']
    health_check: {type: Disabled}
    routes:
      - name: key
        matches:
          - {path: {value: /key}, headers: [{name: X-Key, value: %[2]s}], query: [{name: key, type: Regex, value: '^%[2]s$'}]}
        filters:
          - request_headers: {set: {Authorization: 'Bearer %[2]s'}, add: {X-Api-Key: %[3]s}}
          - response_headers: {set: {X-Internal: %[2]s}}
          - rewrite: {path: /}
      - {name: gone, matches: [{path: {value: /gone}}], backends: [{address: '%[4]s'}]}
`, origin.Addr, canary, value, gone.Addr)
	}
	p := harness.Start(t, config("'"+canary+"'"), harness.Options{Env: []string{"LOG_LEVEL=trace"}})
	addr := p.Addr(t, "web")
	secrets := []string{"Authorization: Bearer " + canary, "Cookie: s=" + canary, "Proxy-Authorization: Basic " + canary, "X-Key: " + canary, "X-Api-Key: " + canary}
	for _, path := range []string{"/?token=" + canary, "/key?key=" + canary, "/cut?" + canary, "/bad?" + canary, "/gone?" + canary, "/health?" + canary} {
		c := harness.Dial(t, addr)
		c.Send(t, request("POST", path, append(secrets, "Content-Length: 6")...)+canary)
		if r, err := c.TryResponse("POST"); err == nil && r.StatusCode >= http.StatusBadRequest && strings.Contains(c.Received(), canary) {
			t.Errorf("%s: %q", path, c.Received())
		}
	}
	for _, wrong := range []string{ // heads that are refused, with the secret behind, in and before what is wrong
		request("GET", "/", append(secrets, "X : 1")...), request("GET", "/", append([]string{"X : " + canary}, secrets...)...),
		"GET / HTTP/1.1\r\nHost: u:" + canary + "@h\r\n\r\n", "GET http://u:" + canary + "@h/ HTTP/1.1\r\nHost: h\r\n\r\n",
		"CONNECT u:" + canary + "@h:443 HTTP/1.1\r\nHost: h\r\n\r\n", "GET x:" + canary + " HTTP/1.1\r\nHost: h\r\n\r\n",
		request("TRACE", "/", secrets...), "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: " + canary + "\r\n\r\n",
		"POST /chunks HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nCookie: " + canary + "\r\n\r\nzz" + canary + "\r\n",
	} {
		c := harness.Dial(t, addr)
		c.Do(t, wrong)
		if strings.Contains(c.Received(), canary) {
			t.Errorf("%q is answered with %q", wrong, c.Received())
		}
	}
	// A configuration that is refused because of a secret, and one that is taken.
	p.ReloadRefused(t, config(`"`+canary+`\u0001"`))
	p.Reload(t, config("'more "+canary+"'"))
	harness.Eventually(t, "all requests are logged", func() bool { return len(p.AccessLog()) >= 15 })

	places := map[string]string{"log": p.LogText(), "access log": p.AccessLogText(), "metrics": p.MetricsText(t)}
	for _, path := range []string{"overview", "listeners", "services", "routes", "endpoints", "config"} {
		places["admin/"+path] = p.Admin(t, "/api/v1/"+path)
	}
	for place, text := range places {
		for line := range bytes.Lines([]byte(text)) {
			if bytes.Contains(line, []byte(canary)) {
				t.Errorf("%s: %s", place, line)
			}
		}
	}
}
