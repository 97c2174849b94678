package integration_test

import (
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// startMute starts an origin that reads a request and says no more than the bytes given, until the proxy gives up.
func startMute(t *testing.T, says map[string]string) *harness.RawOrigin {
	t.Helper()
	return harness.StartRawOrigin(t, func(c *harness.OriginConn) {
		for c.More() {
			path := strings.Fields(c.Head())[1]
			if path != "/ok" {
				c.Send(says[path])
				_, _ = c.Rest()
				return
			}
			c.Send(ok)
		}
	})
}

func TestOriginThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	origin := startMute(t, map[string]string{
		"/mute/half-head": "HTTP/1.1 200 OK\r\nX: ", "/mute/interim": "HTTP/1.1 103 Early Hints\r\n\r\n",
	})
	s := front(t, origin.Addr, "retry: {attempts: 1}, routes: [{name: mute, matches: [{path: {value: /mute}}], timeouts: {request_ms: 300}}]", "")
	for path, body := range map[string]string{"/mute/nothing": "", "/mute/half-head": "", "/mute/interim": "", "/mute/body": "abc"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			c := s.dial(t)
			if body != "" {
				c.Send(t, request("POST", path, "Content-Length: 3")+body)
			} else {
				c.Send(t, request("POST", path, "Content-Length: 0"))
			}
			r := c.Response(t, "POST")
			if r.StatusCode == http.StatusEarlyHints {
				r = c.Response(t, "POST")
			}
			if r.StatusCode != http.StatusGatewayTimeout || !strings.Contains(r.Text, `"reason":"upstream_timeout"`) {
				t.Errorf("%d %s", r.StatusCode, r.Text)
			}
			line := s.AccessOf(t, path)
			if line.Text("reason") != "upstream_timeout" || line.Number("status") != 504 || line.Number("attempts") != 1 ||
				line.Number("duration_ms") < 300 || line.Text("upstream_addr") != origin.Addr {
				t.Error(line)
			}
			expect(t, c.Do(t, request("GET", "/ok")), 200, "ok") // the client's connection is not at fault
		})
	}
	t.Cleanup(func() {
		if n := s.Metric(t, "upstream_errors_total", "reason", "upstream_timeout"); n != 4 {
			t.Errorf("%v upstream errors are counted, want 4", n)
		}
		if n := s.Metric(t, "local_responses_total", "reason", "upstream_timeout"); n != 4 {
			t.Errorf("%v local responses are counted, want 4", n)
		}
	})
}

// The time for a request counts all tries together.
func TestRequestTimeoutOfARoute(t *testing.T) {
	t.Parallel()
	origin := startMute(t, nil)
	s := front(t, origin.Addr, "timeouts: {request_ms: 60000}, routes: [{name: quick, matches: [{path: {value: /quick}}], timeouts: {request_ms: 200}}]", "")
	r := s.dial(t).Do(t, request("GET", "/quick"))
	if r.StatusCode != http.StatusGatewayTimeout || !strings.Contains(r.Text, "upstream_timeout") {
		t.Errorf("%d %s", r.StatusCode, r.Text)
	}
	if line := s.AccessOf(t, "/quick"); line.Text("route") != "quick" {
		t.Error(line)
	}
}

func TestOriginThatRefusesConnections(t *testing.T) {
	t.Parallel()
	origin := harness.StartOriginProcess(t, "gone") // on an address where nobody else will listen
	origin.Kill(t)
	s := front(t, origin.Addr, "", "")
	r := s.dial(t).Do(t, request("GET", "/"))
	if r.StatusCode != http.StatusBadGateway || !strings.Contains(r.Text, `"reason":"connect_failed"`) {
		t.Errorf("%d %s", r.StatusCode, r.Text)
	}
	if strings.Contains(r.Text, origin.Addr) || strings.Contains(r.Text, "refused") {
		t.Errorf("the answer tells what is inside: %s", r.Text)
	}
	if line := s.AccessOf(t, "/"); line.Text("reason") != "connect_failed" || line.Text("upstream_addr") != origin.Addr || line.Number("attempts") < 1 {
		t.Error(line)
	}
}

// fullBacklog is an address whose connections stay half open: its queue is full, and nobody accepts.
func fullBacklog(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: bound.(*syscall.SockaddrInet4).Port}).String()
	harness.Dial(t, address) // takes the one place of the queue
	return address
}

func TestOriginThatCannotBeReached(t *testing.T) {
	t.Parallel()
	address := fullBacklog(t)
	s := front(t, address, "timeouts: {connect_ms: 200}", "")
	r := s.dial(t).Do(t, request("GET", "/"))
	if r.StatusCode != http.StatusGatewayTimeout || !strings.Contains(r.Text, `"reason":"connect_timeout"`) {
		t.Errorf("%d %s", r.StatusCode, r.Text)
	}
	line := s.AccessOf(t, "/")
	if line.Text("reason") != "connect_timeout" || line.Number("upstream_connect_ms") < 200 || line.Text("upstream_addr") != address {
		t.Error(line)
	}
	s.AwaitMetric(t, 1, "upstream_errors_total", "reason", "connect_timeout")
}

// A response that stalls is cut off, and never looks complete.
func TestOriginThatStallsInABody(t *testing.T) {
	t.Parallel()
	origin := startMute(t, map[string]string{
		"/length": "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "/chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
		"/close": "HTTP/1.1 200 OK\r\n\r\nabc",
		"/large": "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + harness.Pattern(500_000),
	})
	s := front(t, origin.Addr, "timeouts: {idle_secs: 1}", "")
	for _, path := range []string{"/length", "/chunked", "/close", "/large"} {
		for _, version := range []string{"HTTP/1.1", "HTTP/1.0"} {
			t.Run(path+version, func(t *testing.T) {
				t.Parallel()
				c := s.dial(t)
				c.Send(t, "GET "+path+" "+version+"\r\nHost: "+version[5:]+".example\r\n\r\n")
				r, err := c.TryResponse("GET")
				if err != nil || r.StatusCode != http.StatusOK || r.BodyErr == nil || !strings.HasPrefix(r.Text, harness.Pattern(2)) && !strings.HasPrefix(r.Text, "abc") {
					t.Fatalf("%+v %v", r, err)
				}
				line := s.AwaitAccess(t, path, func(l harness.Line) bool {
					return l.Text("path") == path && l.Text("host") == version[5:]+".example"
				})
				if line.Text("reason") != "upstream_idle" || line.Number("status") != 200 || line.Number("bytes_out") != float64(len(r.Text)) {
					t.Error(line, len(r.Text))
				}
			})
		}
	}
}

// An origin that takes nothing of an upload is given up.
func TestOriginThatStallsInAnUpload(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	origin := harness.StartRawOrigin(t, func(c *harness.OriginConn) {
		c.Head()
		<-release
	})
	t.Cleanup(func() { close(release) })
	// Long enough for the kernel's own pauses: what overflows a buffer is sent again after up to a second.
	s := front(t, origin.Addr, "timeouts: {idle_secs: 3}, retry: {attempts: 1}", "")
	c := s.dial(t)
	piece := harness.Pattern(1 << 20)
	c.Send(t, request("POST", "/", "Content-Length: 200000000"))
	go func() { // until the proxy has had enough
		for range 200 {
			if c.TrySend(piece) != nil {
				return
			}
		}
	}()
	r := c.Response(t, "POST")
	if r.StatusCode != http.StatusGatewayTimeout || !strings.Contains(r.Text, "upstream_timeout") {
		t.Errorf("%d %s", r.StatusCode, r.Text)
	}
}

// A connection on which nothing happens is closed after the idle time, and not before.
func TestIdleClientConnectionIsClosed(t *testing.T) {
	t.Parallel()
	origin := harness.StartRawOrigin(t, harness.Answer(ok))
	s := front(t, origin.Addr, "timeouts: {idle_secs: 2}", "")
	c := s.dial(t)
	for range 2 {
		expect(t, c.Do(t, request("GET", "/")), 200, "ok")
	}
	s.AwaitMetric(t, 1, "open_connections")
	c.Closed(t) // in silence: there is no request to answer
	s.AwaitMetric(t, 0, "open_connections")
	if n := len(s.AccessLog()); n != 2 {
		t.Errorf("%d lines in the access log", n)
	}
}
