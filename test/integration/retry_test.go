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
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/traffic"
)

// webService is a configuration of one service, web, on a free port. more are further lines of the service, or, without
// their indentation's two spaces, of the top level.
func webService(upstreams []string, more ...string) string {
	var b strings.Builder
	b.WriteString("services:\n  - name: web\n    bind_address: '127.0.0.1:0'\n")
	if len(upstreams) > 0 {
		fmt.Fprintf(&b, "    upstreams: ['%s']\n", strings.Join(upstreams, "', '"))
	}
	for _, line := range more {
		b.WriteString("    " + line + "\n")
	}
	return b.String()
}

const unchecked = "health_check: {type: Disabled}"

var lastLoopback atomic.Uint32

// ownLoopback is an address of this host that nobody else uses, so that a port of it that was free stays free.
func ownLoopback() net.IP {
	n, pid := lastLoopback.Add(1), os.Getpid()
	return net.IPv4(127, byte(128+pid>>8&63), byte(pid), byte(1+n%254))
}

// refusing is an address where nobody listens.
func refusing(t *testing.T) string {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: ownLoopback()})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// deaf is an address that answers no connection: its queue is full.
func deaf(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	ip := ownLoopback()
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte(ip.To4())}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := (&net.TCPAddr{IP: ip, Port: name.(*syscall.SockaddrInet4).Port}).String()
	for range 8 {
		conn, err := net.DialTimeout("tcp", address, 200*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("a queue of no length takes 8 connections")
	return ""
}

// resetting reads a request and ends the connection with a reset, before a byte of a response.
func resetting(c *harness.OriginConn) {
	if c.Request() != nil {
		c.Reset()
	}
}

// silent reads a request and never answers.
func silent(c *harness.OriginConn) {
	if c.Request() != nil {
		_, _ = c.Rest()
	}
}

func requestOf(method, path string, fields ...string) string {
	head := method + " " + path + " HTTP/1.1\r\nHost: h\r\n"
	for _, f := range fields {
		head += f + "\r\n"
	}
	if method == "POST" || method == "PUT" || method == "PATCH" {
		return head + "Content-Length: 4\r\n\r\nbody"
	}
	return head + "\r\n"
}

func TestRefusedConnectionIsTriedElsewhere(t *testing.T) {
	t.Parallel()
	ledger := harness.NewLedger(t)
	origin := harness.StartOrigin(t, ledger.Echo("good"))
	p := harness.Start(t, webService([]string{refusing(t), origin.Addr}, unchecked), harness.Options{})
	tally := traffic.Start(t, traffic.Options{Addr: p.Addr(t, "web"), Workers: 4, Requests: 40}).Wait()
	if tally.Lost != 0 || tally.Answered != 40 {
		t.Errorf("%v %q", tally, tally.Losses)
	}
	// Every second one met the dead endpoint first: exactly, because the round robin is exact.
	p.AwaitMetric(t, 40, "requests_total", "code", "200")
	p.AwaitMetric(t, 20, "retries_total", "service", "web")
	p.AwaitMetric(t, 20, "upstream_errors_total", "reason", "connect_failed")
	for _, method := range []string{"GET", "POST"} {
		if replayed, received := ledger.Replayed(t, method); len(replayed) > 0 || received != tally.ByMethod[method] {
			t.Errorf("%s: %d received, twice %q", method, received, replayed)
		}
	}
	harness.Eventually(t, "all lines of the access log", func() bool { return len(p.AccessLog()) == 40 })
	tries := map[float64]int{}
	for _, line := range p.AccessLog() {
		tries[line.Number("attempts")]++
	}
	if tries[1] != 20 || tries[2] != 20 {
		t.Errorf("attempts: %v", tries)
	}
}

func TestFailuresHaveTheirReasons(t *testing.T) {
	t.Parallel()
	raw := func(serve func(*harness.OriginConn)) func(*testing.T) string {
		return func(t *testing.T) string { return harness.StartRawOrigin(t, serve).Addr }
	}
	cases := []struct {
		name     string
		upstream func(*testing.T) string
		more     string
		status   int
		reason   string
	}{
		{"refused", refusing, "", 502, "connect_failed"},
		{"no connection in time", deaf, "timeouts: {connect_ms: 200}", 504, "connect_timeout"},
		{"reset", raw(resetting), "", 502, "upstream_reset"},
		{"closed", raw(func(c *harness.OriginConn) { c.Request() }), "", 502, "upstream_reset"},
		{"closed within the head", raw(func(c *harness.OriginConn) {
			c.Request()
			c.Send("HTTP/1.1 200 OK\r\nContent-Le")
		}), "", 502, "upstream_reset"},
		{"no answer in time", raw(silent), "timeouts: {request_ms: 300}", 504, "upstream_timeout"},
		{"a try takes too long", raw(silent), "retry: {attempts: 1, per_try_timeout_ms: 300}", 504, "upstream_timeout"},
		{"not HTTP", raw(harness.Answer("SSH-2.0-OpenSSH_9.2\r\n\r\n")), "", 502, "upstream_protocol"},
	}
	var yaml strings.Builder
	yaml.WriteString("services:\n")
	for i, c := range cases {
		fmt.Fprintf(&yaml, "  - name: s%d\n    bind_address: '127.0.0.1:0'\n    hosts: [s%d.test]\n    upstreams: ['%s']\n    %s\n    %s\n",
			i, i, c.upstream(t), unchecked, c.more)
	}
	p := harness.Start(t, yaml.String(), harness.Options{})
	address := p.Addr(t, "s0")
	counts := map[string]float64{}
	for _, c := range cases {
		counts[c.reason]++
	}
	t.Run("answers", func(t *testing.T) {
		for i, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				path := fmt.Sprintf("/case-%d", i)
				r := harness.Dial(t, address).Do(t, strings.Replace(requestOf("GET", path), "Host: h", fmt.Sprintf("Host: s%d.test", i), 1))
				if r.StatusCode != c.status || r.Header.Get("Content-Type") != "application/problem+json" ||
					!strings.Contains(r.Text, `"reason":"`+c.reason+`"`) {
					t.Errorf("%d %v %s", r.StatusCode, r.Header, r.Text)
				}
				line := p.AccessOf(t, path)
				if line.Text("reason") != c.reason || line.Number("status") != float64(c.status) || line.Number("attempts") != 1 {
					t.Errorf("access log: %v", line)
				}
			})
		}
	})
	for reason, n := range counts {
		p.AwaitMetric(t, n, "local_responses_total", "reason", reason)
		p.AwaitMetric(t, n, "upstream_errors_total", "reason", reason)
	}
}

func TestOnlyWhatIsSafeIsSentAgain(t *testing.T) {
	t.Parallel()
	bad := harness.StartRawOrigin(t, resetting)
	ledger := harness.NewLedger(t)
	good := harness.StartOrigin(t, ledger.Echo("good"))
	p := harness.Start(t, webService([]string{bad.Addr, good.Addr}, unchecked), harness.Options{})
	c := harness.Dial(t, p.Addr(t, "web"))
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "DELETE", "POST", "PATCH"} {
		again := method != "POST" && method != "PATCH"
		for n := range 2 { // one of the two begins at the bad one
			id := fmt.Sprintf("%s-%d", method, n)
			r := c.Do(t, requestOf(method, "/"+id, harness.LoadID+": "+id))
			sent := strings.Contains(bad.Received(), "/"+id+" ")
			switch {
			case !sent || again:
				if r.StatusCode != http.StatusOK {
					t.Errorf("%s: %d %s", id, r.StatusCode, r.Text)
				}
			case r.StatusCode != http.StatusBadGateway || !strings.Contains(r.Text, "upstream_reset"):
				t.Errorf("%s: %d %s", id, r.StatusCode, r.Text)
			}
			want := 1.0
			if sent && again {
				want = 2
			}
			if line := p.AccessOf(t, "/"+id); line.Number("attempts") != want {
				t.Errorf("%s: %v", id, line)
			}
		}
		if got := strings.Count(bad.Received(), method+" /"); got != 1 {
			t.Errorf("%d %s met the bad endpoint, want 1: the test shows nothing", got, method)
		}
		want := 1
		if again {
			want = 2
		}
		if replayed, received := ledger.Replayed(t, method); received != want || len(replayed) > 0 {
			t.Errorf("%s: the good endpoint received %d, want %d; twice %q", method, received, want, replayed)
		}
	}
}

func TestRetryCodes(t *testing.T) {
	t.Parallel()
	answer := func(status string) *harness.RawOrigin {
		return harness.StartRawOrigin(t, harness.Answer("HTTP/1.1 "+status+"\r\nContent-Length: 3\r\n\r\nbad"))
	}
	ask := func(t *testing.T, bad *harness.RawOrigin, retry, method string) (statuses map[int]int) {
		t.Helper()
		good := harness.StartOrigin(t, harness.Echo("good"))
		p := harness.Start(t, webService([]string{bad.Addr, good.Addr}, unchecked, retry), harness.Options{})
		c := harness.Dial(t, p.Addr(t, "web"))
		statuses = map[int]int{}
		for range 4 {
			r := c.Do(t, requestOf(method, "/"))
			statuses[r.StatusCode]++
			if r.StatusCode != http.StatusOK && r.Text != "bad" {
				t.Errorf("the origin's own answer is not passed on: %q", r.Text)
			}
		}
		return statuses
	}
	for _, test := range []struct {
		name, status, retry, method string
		bad                         int
	}{
		{"listed", "503 Busy", "retry: {codes: [503]}", "GET", 0},
		{"not idempotent", "503 Busy", "retry: {codes: [503]}", "POST", 2},
		{"not listed", "500 Broken", "retry: {codes: [503]}", "GET", 2},
		{"none listed", "503 Busy", "retry: {}", "GET", 2},
		{"one attempt", "503 Busy", "retry: {codes: [503], attempts: 1}", "GET", 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			bad := answer(test.status)
			statuses := ask(t, bad, test.retry, test.method)
			if statuses[200] != 4-test.bad {
				t.Errorf("%v, want %d good ones", statuses, 4-test.bad)
			}
			if n := strings.Count(bad.Received(), " / HTTP/1.1\r\n"); n != 2 {
				t.Errorf("the bad endpoint was asked %d times: the test shows nothing", n)
			}
		})
	}
}

func TestRetriesGoToOtherEndpoints(t *testing.T) {
	t.Parallel()
	var bad []*harness.RawOrigin
	var upstreams []string
	for range 3 {
		o := harness.StartRawOrigin(t, resetting)
		bad, upstreams = append(bad, o), append(upstreams, o.Addr)
	}
	p := harness.Start(t, webService(upstreams, unchecked, "retry: {attempts: 10, budget_percent: 100}"), harness.Options{})
	r := harness.Dial(t, p.Addr(t, "web")).Do(t, requestOf("GET", "/x"))
	if r.StatusCode != http.StatusBadGateway {
		t.Error(r.StatusCode)
	}
	for _, o := range bad {
		if n := strings.Count(o.Received(), "GET /x "); n != 1 {
			t.Errorf("an endpoint was asked %d times for the same request", n)
		}
	}
	if line := p.AccessOf(t, "/x"); line.Number("attempts") != 3 {
		t.Errorf("%v", line)
	}
}

func TestATryThatTakesTooLongIsTriedElsewhere(t *testing.T) {
	t.Parallel()
	hangs := harness.StartRawOrigin(t, silent)
	good := harness.StartOrigin(t, harness.Echo("good"))
	p := harness.Start(t, webService([]string{hangs.Addr, good.Addr}, unchecked, "retry: {per_try_timeout_ms: 2000}"), harness.Options{})
	c := harness.Dial(t, p.Addr(t, "web"))
	statuses := map[string]int{}
	for _, method := range []string{"GET", "GET", "POST", "POST"} {
		r := c.Do(t, requestOf(method, "/"))
		statuses[fmt.Sprint(method, r.StatusCode)]++
		if r.StatusCode == http.StatusGatewayTimeout && !strings.Contains(r.Text, `"reason":"upstream_timeout"`) {
			t.Error(r.Text)
		}
	}
	if statuses["GET200"] != 2 || statuses["POST200"] != 1 || statuses["POST504"] != 1 {
		t.Errorf("%v", statuses)
	}
	p.AwaitMetric(t, 2, "upstream_errors_total", "reason", "upstream_timeout")
}

// The budget lets 30 retries in ten seconds pass whatever the traffic, and no more than its share beyond that.
func TestRetryBudget(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t, harness.Echo("good"))
	p := harness.Start(t, webService([]string{refusing(t), origin.Addr}, unchecked, "retry: {budget_percent: 5}"), harness.Options{})
	began := time.Now()
	tally := traffic.Start(t, traffic.Options{Addr: p.Addr(t, "web"), Requests: 400, Methods: []string{"GET"}, Pause: -1}).Wait()
	if tally.Sent != 400 || tally.ByStatus[200]+tally.ByStatus[502] != 400 {
		t.Fatal(tally)
	}
	retries := p.Metric(t, "retries_total")
	most := 30 * (1 + float64(time.Since(began)/(10*time.Second)))
	if retries < 30 || retries > most {
		t.Errorf("%v retries, want 30 to %v", retries, most)
	}
	// Without a retry every second request would fail; with one each, none.
	if want := 200 - int(retries); tally.ByStatus[502] != want {
		t.Errorf("%d requests failed, want %d", tally.ByStatus[502], want)
	}
}

// Two or three endpoints, one of which is killed and comes back, again and again.
func TestKilledUpstreamLosesNoIdempotentRequest(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			ledger := harness.NewLedger(t)
			var origins []*harness.OriginProcess
			var upstreams []string
			for i := range n {
				o := ledger.StartOriginProcess(t, fmt.Sprint(i))
				origins, upstreams = append(origins, o), append(upstreams, o.Addr)
			}
			p := harness.Start(t, webService(upstreams, "health_check: {frequency_secs: 1, unhealthy_threshold: 1}",
				"retry: {budget_percent: 100}"), harness.Options{})
			address := p.Addr(t, "web")
			gets := traffic.Start(t, traffic.Options{Addr: address, Workers: 6, Methods: []string{"GET", "HEAD", "DELETE"}})
			posts := traffic.Start(t, traffic.Options{Addr: address, Workers: 4, Methods: []string{"POST"}})
			healthy := func(i int, want bool) {
				t.Helper()
				harness.Eventually(t, fmt.Sprintf("endpoint %d is healthy: %v", i, want), func() bool {
					for _, e := range p.Endpoints(t, "web") {
						if e.Address == origins[i].Addr {
							return e.Healthy == want
						}
					}
					return false
				})
			}
			for round := range 3 {
				i := round % n
				gets.Await(t, 100)
				origins[i].Kill(t)
				gets.Await(t, 200)
				if round == 1 {
					healthy(i, false) // the checks take it out, and bring it back
				}
				origins[i].Start(t)
				healthy(i, true)
			}
			gets.Await(t, 200)
			tally, posted := gets.Stop(), posts.Stop()
			t.Logf("idempotent: %v; POST: %v", tally, posted)
			if tally.Lost != 0 {
				t.Errorf("lost idempotent requests: %q", tally.Losses)
			}
			if len(tally.ByOrigin) != n {
				t.Errorf("not every origin has served: %v", tally.ByOrigin)
			}
			if replayed, received := ledger.Replayed(t, "POST"); len(replayed) > 0 || received < posted.Answered {
				t.Errorf("of %d POSTs these were received twice: %q", received, replayed)
			}
			// A POST that met the kill is lost honestly: 502, and nothing else.
			if posted.Lost != posted.ByStatus[502] || posted.Answered == 0 {
				t.Errorf("POST: %v %q", posted, posted.Losses)
			}
		})
	}
}
