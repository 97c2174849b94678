package integration_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

func TestHeadsThatAreTooLarge(t *testing.T) {
	t.Parallel()
	origin := harness.StartRawOrigin(t, func(c *harness.OriginConn) {
		for c.More() {
			if strings.HasPrefix(c.Head(), "POST") {
				_, _ = c.Rest() // no body of these is ever whole
				return
			}
			c.Send(ok)
		}
	})
	s := front(t, origin.Addr, "", "limits: {max_request_line_bytes: 512, max_header_bytes: 2048, max_headers: 10}")
	var nine []string // and Host
	for i := range 9 {
		nine = append(nine, fmt.Sprintf("X-%d: 1", i))
	}
	line := len("GET / HTTP/1.1")
	for name, c := range map[string]struct {
		status int
		reason string
		head   string
	}{
		"the longest line":     {200, "", request("GET", "/"+strings.Repeat("a", 512-line))},
		"a longer line":        {414, "uri_too_long", request("GET", "/"+strings.Repeat("a", 513-line))},
		"a line without end":   {414, "uri_too_long", "GET /" + strings.Repeat("a", 5000)},
		"a query without end":  {414, "uri_too_long", "GET /?" + strings.Repeat("a", 5000)},
		"as many fields":       {200, "", request("GET", "/", nine...)},
		"more fields":          {431, "header_too_large", request("GET", "/", append(slices.Clone(nine), "X-9: 1")...)},
		"as many bytes":        {200, "", request("GET", "/", "X: "+strings.Repeat("a", 2048-len(request("GET", "/", "X: "))))},
		"more bytes":           {431, "header_too_large", request("GET", "/", "X: "+strings.Repeat("a", 2049-len(request("GET", "/", "X: "))))},
		"a field without end":  {431, "header_too_large", "GET / HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("a", 50_000)},
		"fields without end":   {431, "header_too_large", "GET / HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("X: 1\r\n", 10_000)},
		"trailer without end":  {0, "bad_request", request("POST", "/", "Transfer-Encoding: chunked") + "0\r\n" + strings.Repeat("X: 1\r\n", 5000)},
		"chunk extension bomb": {0, "bad_request", request("POST", "/", "Transfer-Encoding: chunked") + strings.Repeat("1;"+strings.Repeat("e", 4000)+"\r\na\r\n", 500)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := s.dial(t)
			sent := make(chan error, 1)
			go func() { sent <- conn.TrySend(c.head) }()
			r := conn.Response(t, "GET")
			switch {
			case c.status == 200:
				expect(t, r, 200, "ok")
				expect(t, conn.Do(t, request("GET", "/")), 200, "ok")
			case c.status != 0 && r.StatusCode != c.status, r.StatusCode < http.StatusBadRequest, r.StatusCode >= http.StatusInternalServerError, !strings.Contains(r.Text, `"reason":"`+c.reason+`"`), !r.Close:
				t.Errorf("%d %s", r.StatusCode, r.Text)
			default:
				if rest, _ := conn.Rest(); rest != "" {
					t.Errorf("more than one answer: %q", rest)
				}
			}
			if err := <-sent; err != nil && c.status == http.StatusOK { // else it may have closed before it had everything
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		for _, reason := range []string{"uri_too_long", "header_too_large"} {
			if s.Metric(t, "local_responses_total", "reason", reason) < 3 {
				t.Errorf("%s is not counted", reason)
			}
		}
	})
}

// A head must arrive in time, counted from its first byte or from the opening of the connection.
func TestHeadsThatDoNotArrive(t *testing.T) {
	t.Parallel()
	origin := harness.StartRawOrigin(t, harness.Answer(ok))
	s := front(t, origin.Addr, "", "limits: {header_timeout_ms: 500}")
	t.Run("nothing", func(t *testing.T) {
		t.Parallel()
		s.dial(t).Closed(t)
	})
	t.Run("half a head", func(t *testing.T) {
		t.Parallel()
		c := s.dial(t)
		c.Send(t, "GET /half HTTP/1.1\r\nHost: h\r\n")
		if r := c.Response(t, "GET"); r.StatusCode != http.StatusRequestTimeout || !strings.Contains(r.Text, `"reason":"request_timeout"`) || !r.Close {
			t.Errorf("%d %s", r.StatusCode, r.Text)
		}
		c.Closed(t)
	})
	t.Run("a byte now and then", func(t *testing.T) {
		t.Parallel()
		c := s.dial(t)
		c.Send(t, "GET / HTTP/1.1\r\nX: ")
		stop := drip(c, "x")
		r := c.Response(t, "GET") // bytes that keep coming buy no time
		stop()
		if r.StatusCode != http.StatusRequestTimeout {
			t.Errorf("%d %s", r.StatusCode, r.Text)
		}
	})
	t.Run("half a head behind a request", func(t *testing.T) {
		t.Parallel()
		c := s.dial(t)
		expect(t, c.Do(t, request("GET", "/")), 200, "ok")
		c.Send(t, "GET /")
		if r := c.Response(t, "GET"); r.StatusCode != http.StatusRequestTimeout {
			t.Errorf("%d %s", r.StatusCode, r.Text)
		}
	})
	t.Cleanup(func() {
		if n := s.Metric(t, "local_responses_total", "reason", "request_timeout"); n < 2 {
			t.Errorf("%v time-outs are counted", n)
		}
	})
}

func TestBodiesThatDoNotArrive(t *testing.T) {
	t.Parallel()
	origin := harness.StartRawOrigin(t, func(c *harness.OriginConn) {
		c.Head()
		rest, _ := c.Rest()
		if strings.Contains(rest, "0\r\n\r\n") {
			c.Fail("half a body was made to look whole: %q", rest)
		}
	})
	s := front(t, origin.Addr, "timeouts: {idle_secs: 1}", "limits: {min_body_bytes_per_sec: 0}")
	for path, body := range map[string]string{
		"/length": "Content-Length: 10\r\n\r\nabc", "/nothing": "Content-Length: 10\r\n\r\n",
		"/chunked": "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "/in-size": "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1",
		"/large": "Content-Length: 1000000\r\n\r\n" + harness.Pattern(500_000),
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			c := s.dial(t)
			c.Send(t, "POST "+path+" HTTP/1.1\r\nHost: h\r\n"+body)
			if r := c.Response(t, "POST"); r.StatusCode != http.StatusRequestTimeout || !strings.Contains(r.Text, `"reason":"request_timeout"`) || !r.Close {
				t.Errorf("%d %s", r.StatusCode, r.Text)
			}
			c.Closed(t)
			if line := s.AccessOf(t, path); line.Text("reason") != "request_timeout" || line.Number("duration_ms") < 1000 {
				t.Error(line)
			}
		})
	}
	t.Cleanup(func() { // it is the client's fault, and no endpoint's
		if n := s.Metric(t, "upstream_errors_total"); n != 0 {
			t.Errorf("%v upstream errors", n)
		}
	})
}

// drip sends the same few bytes now and then, until that fails or stop is called.
func drip(c *harness.Client, text string) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-quit:
				return
			default:
				if c.TrySend(text) != nil {
					return
				}
			}
			harness.Breathe()
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

// A client that sends a byte now and then never is silent for long, but too slow on average.
func TestBodiesThatArriveTooSlowly(t *testing.T) {
	t.Parallel()
	origin := harness.StartRawOrigin(t, func(c *harness.OriginConn) {
		c.Head()
		_, _ = c.Rest()
	})
	s := front(t, origin.Addr, "timeouts: {idle_secs: 60, request_ms: 600000}", "limits: {min_body_bytes_per_sec: 100000, header_timeout_ms: 500}")
	for name, framing := range map[string][2]string{
		"length": {"Content-Length: 1000000", "x"}, "large": {"Content-Length: 100000000", "x"}, "chunked": {"Transfer-Encoding: chunked", "1\r\na\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := s.dial(t)
			c.Send(t, request("POST", "/"+name, framing[0]))
			stop := drip(c, framing[1])
			r := c.Response(t, "POST")
			stop()
			if r.StatusCode != http.StatusRequestTimeout || !strings.Contains(r.Text, "request_timeout") || !r.Close {
				t.Errorf("%d %s", r.StatusCode, r.Text)
			}
		})
	}
}

// An upload that an endpoint slows down is not the client's fault.
func TestSlowOriginsDoNotMakeClientsSlow(t *testing.T) {
	t.Parallel()
	text := harness.Pattern(12 << 20)
	release := make(chan struct{})
	origin := harness.StartRawOrigin(t, func(c *harness.OriginConn) {
		c.Head()
		<-release
		if c.Read(len(text)) != text {
			c.Fail("other bytes arrived than were sent")
		}
		c.Send(ok)
	})
	s := front(t, origin.Addr, "", "limits: {min_body_bytes_per_sec: 1000000000, header_timeout_ms: 1000}")
	c := s.dial(t)
	sent := make(chan error, 1)
	go func() { sent <- c.TrySend(request("POST", "/", fmt.Sprintf("Content-Length: %d", len(text))) + text) }()
	// Another client that sends nothing is cut off meanwhile: so much time has passed.
	s.dial(t).Closed(t)
	close(release)
	expect(t, c.Response(t, "POST"), 200, "ok")
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// A client that does not take its response is cut off, and costs nothing afterwards.
func TestSlowReadersAreCutOff(t *testing.T) {
	t.Parallel()
	text := strings.Repeat(harness.Pattern(1<<20), 48)
	message := bodies(text)
	origin := script{
		"/length": func(c *harness.OriginConn, _ *harness.OriginRequest) bool {
			return c.TrySend("HTTP/1.1 200 OK\r\n"+message["length"]) == nil
		},
		"/chunked": func(c *harness.OriginConn, _ *harness.OriginRequest) bool {
			return c.TrySend("HTTP/1.1 200 OK\r\n"+message["chunked"]) == nil
		},
	}.start(t)
	for name, limits := range map[string][2]string{
		"in silence": {"timeouts: {idle_secs: 1}", "limits: {min_body_bytes_per_sec: 0}"},
		"on average": {"timeouts: {idle_secs: 60}", "limits: {min_body_bytes_per_sec: 1000000000, header_timeout_ms: 1000}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := front(t, origin.Addr, limits[0], limits[1])
			for _, path := range []string{"/length", "/chunked"} {
				c := s.dial(t)
				c.Send(t, request("GET", path))
				line := s.AccessOf(t, path) // while nothing is read
				if line.Text("reason") != "client_slow" || line.Number("status") != 200 || line.Number("bytes_out") >= float64(len(text)) {
					t.Error(line)
				}
				if r, err := c.TryResponse("GET"); err == nil && r.BodyErr == nil {
					t.Errorf("%d bytes look like the whole response", len(r.Text))
				}
			}
			s.AwaitMetric(t, 2, "aborted_responses_total", "reason", "client_slow")
			s.AwaitMetric(t, 0, "active_requests")
			s.AwaitMetric(t, 0, "open_connections")
			if e := s.Endpoints(t, "web"); e[0].InFlight != 0 || e[0].ConsecutiveFailures != 0 {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestMaxConnections(t *testing.T) {
	t.Parallel()
	origin := harness.StartRawOrigin(t, harness.Answer(ok))
	s := front(t, origin.Addr, "", "limits: {max_connections: 3}")
	var open []*harness.Client
	for range 3 {
		c := s.dial(t)
		expect(t, c.Do(t, request("GET", "/")), 200, "ok")
		open = append(open, c)
	}
	for _, send := range []bool{true, false} {
		c := s.dial(t)
		if send {
			c.Send(t, request("GET", "/refused"))
		}
		r := c.Response(t, "GET") // even to a client that has not asked yet
		if r.StatusCode != http.StatusServiceUnavailable || !r.Close || !strings.Contains(r.Text, `"reason":"too_many_connections"`) || r.Header.Get("Retry-After") == "" {
			t.Errorf("%d %v %s", r.StatusCode, r.Header, r.Text)
		}
		c.Closed(t)
	}
	s.AwaitMetric(t, 2, "rejected_connections_total", "reason", "too_many_connections")
	for _, c := range open { // those that are in are served on
		expect(t, c.Do(t, request("GET", "/")), 200, "ok")
	}
	if err := open[0].Conn.Close(); err != nil {
		t.Fatal(err)
	}
	s.AwaitMetric(t, 2, "open_connections")
	harness.Eventually(t, "a place is free again", func() bool {
		r, err := s.dial(t).TryResponseTo(request("GET", "/"))
		return err == nil && r.StatusCode == http.StatusOK
	})
	if strings.Contains(origin.Received(), "/refused") {
		t.Error("a request of a client that was turned away reached the origin")
	}
	// The limit is the configuration's, and a reload raises it.
	s.Reload(t, siteConfig(origin.Addr, "", "limits: {max_connections: 100}"))
	for range 10 {
		expect(t, s.dial(t).Do(t, request("GET", "/")), 200, "ok")
	}
}
