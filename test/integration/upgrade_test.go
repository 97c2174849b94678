package integration_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

const (
	upgrade = "GET %s HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
	switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)

// upgraded opens a tunnel.
func upgraded(t *testing.T, s site, path string) *harness.Client {
	t.Helper()
	c := s.dial(t)
	c.Send(t, fmt.Sprintf(upgrade, path))
	head := readHead(t, c)
	for _, want := range []string{"HTTP/1.1 101 ", "\r\nUpgrade: websocket\r\n", "\r\nConnection: Upgrade\r\n", "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"} {
		if !strings.Contains(head, want) {
			t.Fatalf("%q has no %q", head, want)
		}
	}
	return c
}

// startTunnels starts an origin that switches protocols and echoes what arrives, until the client ends its side.
func startTunnels(t *testing.T) *harness.RawOrigin {
	t.Helper()
	return harness.StartRawOrigin(t, func(c *harness.OriginConn) {
		head := c.Head()
		for _, want := range []string{"\r\nUpgrade: websocket\r\n", "\r\nConnection: Upgrade\r\n", "\r\nSec-WebSocket-Version: 13\r\n"} {
			if !strings.Contains(head, want) {
				c.Fail("the request %q has no %q", head, want)
			}
		}
		c.Send(switching + "welcome") // the first bytes of the new protocol may come with the head
		_, _ = io.Copy(c.Conn, c.Reader)
		c.Send("bye")
	})
}

func TestTunnelCarriesBytesBothWays(t *testing.T) {
	t.Parallel()
	s := front(t, startTunnels(t).Addr, "", "")
	c := upgraded(t, s, "/ws")
	if got := c.Read(t, 7); got != "welcome" {
		t.Errorf("%q", got)
	}
	for i := range 100 {
		message := fmt.Sprint("message ", i)
		c.Send(t, message)
		if got := c.Read(t, len(message)); got != message {
			t.Fatalf("%q, want %q", got, message)
		}
	}
	s.AwaitMetric(t, 1, "open_tunnels")
	s.AwaitMetric(t, 0, "active_requests")

	text := harness.Pattern(2 << 20)
	sent := make(chan error, 1)
	go func() { sent <- c.TrySend(text) }()
	if got := c.Read(t, len(text)); got != text {
		t.Error("other bytes came back than were sent")
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	c.CloseWrite(t) // the other direction goes on
	if rest, err := c.Rest(); rest != "bye" || err != nil {
		t.Errorf("%q %v", rest, err)
	}
	line := s.AccessOf(t, "/ws")
	moved := float64(len(text))
	for i := range 100 {
		moved += float64(len(fmt.Sprint("message ", i)))
	}
	if line.Number("status") != 101 || line.Number("bytes_in") != moved || line.Number("bytes_out") != moved+float64(len("welcome"+"bye")) ||
		line.Text("reason") != "" || line.Number("upstream_status") != 101 {
		t.Error(line, moved)
	}
	s.AwaitMetric(t, 0, "open_tunnels")
	s.AwaitMetric(t, 1, "requests_total", "code", "101", "service", "web")
}

// Bytes that the client sends behind its request, before it has the 101, belong to the new protocol.
func TestTunnelTakesBytesThatCameEarly(t *testing.T) {
	t.Parallel()
	s := front(t, startTunnels(t).Addr, "", "")
	c := s.dial(t)
	c.Send(t, fmt.Sprintf(upgrade, "/ws")+"early")
	readHead(t, c)
	if got := c.Read(t, 12); got != "welcomeearly" {
		t.Errorf("%q", got)
	}
}

func TestTunnelEndsWithEitherSide(t *testing.T) {
	t.Parallel()
	left := make(chan string, 1)
	origin := harness.StartRawOrigin(t, func(c *harness.OriginConn) {
		head := c.Head()
		c.Send(switching)
		if strings.HasPrefix(head, "GET /origin-closes") {
			c.Read(1)
			c.Send("last")
			return
		}
		rest, _ := c.Rest()
		left <- rest
	})
	s := front(t, origin.Addr, "", "")
	c := upgraded(t, s, "/origin-closes")
	c.Send(t, "x")
	if got := c.Read(t, 4); got != "last" {
		t.Errorf("%q", got)
	}
	c.Closed(t)
	if err := c.Conn.Close(); err != nil { // until then it could still send
		t.Error(err)
	}

	c = upgraded(t, s, "/client-closes")
	c.Send(t, "abc")
	if err := c.Conn.Close(); err != nil {
		t.Error(err)
	}
	if got := <-left; got != "abc" {
		t.Errorf("%q", got)
	}

	c = upgraded(t, s, "/client-resets")
	c.Send(t, "abc")
	s.AwaitMetric(t, 1, "open_tunnels")
	c.Reset()
	<-left
	s.AwaitMetric(t, 0, "open_tunnels")
}

func TestIdleTunnelIsClosed(t *testing.T) {
	t.Parallel()
	s := front(t, startTunnels(t).Addr, "timeouts: {idle_secs: 1}", "")
	c := upgraded(t, s, "/ws")
	c.Read(t, len("welcome"))
	c.Closed(t)
	line := s.AccessOf(t, "/ws")
	if line.Text("reason") != "tunnel_idle" || line.Number("duration_ms") < 1000 {
		t.Error(line)
	}
	s.AwaitMetric(t, 1, "aborted_responses_total", "reason", "tunnel_idle")
	s.AwaitMetric(t, 0, "open_tunnels")
}

// A refusal is an ordinary response: the connection carries further requests, and what was sent behind the request is one.
func TestUpgradeThatIsRefused(t *testing.T) {
	t.Parallel()
	origin := harness.StartRawOrigin(t, func(c *harness.OriginConn) {
		for c.More() {
			head := c.Head()
			switch strings.Fields(head)[1] {
			case "/refused":
				c.Send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
			case "/ignored":
				c.Send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nplain")
			case "/":
				if !strings.Contains(head, "\r\nX-Forwarded-For: 127.0.0.1\r\n") {
					c.Fail("a request went around the proxy: %q", head)
				}
				c.Send(ok)
			}
		}
	})
	s := front(t, origin.Addr, "", "")
	c := s.dial(t)
	for path, want := range map[string]string{"/refused": "no", "/ignored": "plain"} {
		status := map[string]int{"/refused": 403, "/ignored": 200}[path]
		c.Send(t, fmt.Sprintf(upgrade, path)+request("GET", "/")) // the second one must not be taken for the new protocol
		expect(t, c.Response(t, "GET"), status, want)
		expect(t, c.Response(t, "GET"), 200, "ok")
		expect(t, c.Do(t, request("GET", "/")), 200, "ok")
	}
	if n := len(origin.Conns()); n != 1 {
		t.Errorf("%d connections to the origin", n)
	}
	s.AwaitMetric(t, 0, "open_tunnels")
}

// A 101 is believed only by who asked for it.
func TestSwitchThatWasNotAskedFor(t *testing.T) {
	t.Parallel()
	origin := harness.StartRawOrigin(t, func(c *harness.OriginConn) {
		head := c.Head()
		if strings.Contains(strings.ToLower(head), "\r\nupgrade:") {
			c.Fail("the client did not ask for an upgrade: %q", head)
		}
		c.Send(switching + "evil")
		_, _ = c.Rest()
	})
	s := front(t, origin.Addr, "", "")
	for name, head := range map[string]string{
		"no field":                     "GET /no-field HTTP/1.1\r\nHost: h\r\n\r\n",
		"an Upgrade not in Connection": "GET /not-listed HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n",
		"a Connection without Upgrade": "GET /not-there HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n\r\n",
		"HTTP/1.0":                     "GET /old HTTP/1.0\r\nHost: h\r\nConnection: Upgrade, keep-alive\r\nUpgrade: websocket\r\n\r\n",
	} {
		c := s.dial(t)
		r := c.Do(t, head)
		if r.StatusCode != http.StatusBadGateway || !strings.Contains(r.Text, "upstream_protocol") {
			t.Errorf("%s: %d %q", name, r.StatusCode, r.Text)
		}
		if strings.Contains(c.Received(), "evil") {
			t.Errorf("%s: a tunnel was opened", name)
		}
	}
}

// A tunnel is drained like a request: it may end by itself, and the process waits for it.
func TestTunnelSurvivesReloadAndDrains(t *testing.T) {
	t.Parallel()
	origin := startTunnels(t)
	s := front(t, origin.Addr, "", "")
	c := upgraded(t, s, "/ws")
	c.Read(t, len("welcome"))
	s.Reload(t, siteConfig(origin.Addr, "timeouts: {request_ms: 1234}", ""))
	c.Send(t, "after the reload")
	if got := c.Read(t, len("after the reload")); got != "after the reload" {
		t.Errorf("%q", got)
	}
	s.Signal(t, syscall.SIGTERM)
	s.AwaitLog(t, "stopping", func(l harness.Line) bool { return strings.HasPrefix(l.Text("msg"), "stopping") })
	c.Send(t, "while it drains")
	if got := c.Read(t, len("while it drains")); got != "while it drains" {
		t.Errorf("%q", got)
	}
	c.CloseWrite(t)
	if rest, err := c.Rest(); rest != "bye" || err != nil {
		t.Errorf("%q %v", rest, err)
	}
	if code := s.Wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
