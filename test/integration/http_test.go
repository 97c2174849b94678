package integration_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// A site is a proxy with one service, `web`, in front of one origin.
type site struct {
	*harness.Proxy
	addr string
}

// front starts a site. service is what the service has besides its name, address and upstream: one YAML flow mapping's
// inside. globals stand above the services.
func front(t *testing.T, origin, service, globals string) site {
	t.Helper()
	p := harness.Start(t, siteConfig(origin, service, globals), harness.Options{})
	return site{p, p.Addr(t, "web")}
}

func siteConfig(origin, service, globals string) string {
	if !strings.Contains(service, "health_check:") {
		service += ", health_check: {type: Disabled}" // nothing arrives at the origin but what the test has sent
	}
	return fmt.Sprintf("%s\nservices:\n  - {name: web, bind_address: '127.0.0.1:0', upstreams: ['%s'], %s}\n",
		globals, origin, strings.TrimPrefix(service, ", "))
}

// dial opens a connection to the site.
func (s site) dial(t *testing.T) *harness.Client {
	t.Helper()
	return harness.Dial(t, s.addr)
}

// A script answers requests by their path, on connections that are kept. What returns false ends the connection.
type script map[string]func(c *harness.OriginConn, r *harness.OriginRequest) bool

// says answers with fixed bytes and keeps the connection.
func says(answer string) func(*harness.OriginConn, *harness.OriginRequest) bool {
	return func(c *harness.OriginConn, _ *harness.OriginRequest) bool {
		c.Send(answer)
		return true
	}
}

// saysAndCloses answers with fixed bytes and ends the connection.
func saysAndCloses(answer string) func(*harness.OriginConn, *harness.OriginRequest) bool {
	return func(c *harness.OriginConn, _ *harness.OriginRequest) bool {
		c.Send(answer)
		return false
	}
}

func (s script) start(t *testing.T) *harness.RawOrigin {
	t.Helper()
	return harness.StartRawOrigin(t, func(c *harness.OriginConn) {
		for c.More() {
			r := c.Request()
			if r == nil {
				return
			}
			answer := s[r.URL.Path]
			if answer == nil {
				c.Fail("asked for %s", r.RequestURI)
				return
			}
			if !answer(c, r) {
				return
			}
		}
	})
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// request is a request without a body to the path.
func request(method, target string, fields ...string) string {
	text := method + " " + target + " HTTP/1.1\r\nHost: site.example\r\n"
	for _, f := range fields {
		text += f + "\r\n"
	}
	return text + "\r\n"
}

// chunks is a chunked body.
func chunks(pieces ...string) string {
	text := ""
	for _, p := range pieces {
		text += fmt.Sprintf("%x\r\n%s\r\n", len(p), p)
	}
	return text + "0\r\n\r\n"
}

func expect(t *testing.T, r *harness.Response, status int, body string) {
	t.Helper()
	if r.StatusCode != status || r.Text != body {
		t.Errorf("%d %.200q, want %d %.200q", r.StatusCode, r.Text, status, body)
	}
}

func TestConnectionsAreKeptOnBothSides(t *testing.T) {
	t.Parallel()
	origin := harness.StartRawOrigin(t, harness.Answer(ok))
	// One processor: each has connections of its own.
	p := harness.Start(t, siteConfig(origin.Addr, "", ""), harness.Options{Env: []string{"WORKER_THREADS=1"}})
	s := site{p, p.Addr(t, "web")}
	c := s.dial(t)
	for range 3 {
		r := c.Do(t, request("GET", "/"))
		expect(t, r, 200, "ok")
		if r.Close || r.Header.Get("Connection") != "" || r.Header.Get("Date") == "" {
			t.Error(r.Header)
		}
	}
	r := c.Do(t, request("GET", "/", "Connection: close"))
	expect(t, r, 200, "ok")
	if !r.Close {
		t.Error("the answer to Connection: close does not say close")
	}
	c.Closed(t)
	expect(t, s.dial(t).Do(t, request("GET", "/")), 200, "ok")
	if n := len(origin.Conns()); n != 1 {
		t.Errorf("%d connections to the origin for requests one after another", n)
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t, harness.Echo("web"))
	s := front(t, origin.Addr, "", "")
	steps := []struct{ method, target, rest, body string }{
		{"GET", "/1?bytes=5", "", ""},
		{"POST", "/2", "Content-Length: 4\r\n\r\nGET ", "GET "},
		{"HEAD", "/3", "", ""},
		{"GET", "/health", "", ""}, // answered by the proxy itself
		{"POST", "/4", "Transfer-Encoding: chunked\r\n\r\n" + chunks("abc", "defg"), "abcdefg"},
		{"PUT", "/5", "Content-Length: 40000\r\n\r\n" + harness.Pattern(40000), harness.Pattern(40000)},
		{"DELETE", "/6?status=404", "", ""},
		{"GET", "/7?bytes=100000", "", ""},
		{"PURGE", "/8", "", ""},
		{"OPTIONS", "*", "", ""},
		{"POST", "/9", "Content-Length: 0\r\n\r\n", ""},
		{"GET", "/10", "Connection: close\r\n\r\n", ""},
	}
	all := ""
	for _, step := range steps {
		all += step.method + " " + step.target + " HTTP/1.1\r\nHost: h\r\n"
		if step.rest == "" {
			all += "\r\n"
		}
		all += step.rest
	}
	for name, size := range map[string]int{"at once": len(all), "in pieces": 1021, "in small pieces": 61} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := s.dial(t)
			sent := make(chan error, 1)
			go func() {
				var err error
				for rest := all; rest != "" && err == nil; {
					n := min(size, len(rest))
					err = c.TrySend(rest[:n])
					rest = rest[n:]
				}
				sent <- err
			}()
			for _, step := range steps {
				r := c.Response(t, step.method)
				path, query, _ := strings.Cut(step.target, "?")
				switch {
				case step.method == "HEAD":
					expect(t, r, 200, "")
				case path == "/health":
					expect(t, r, 200, "{\"status\":\"healthy\"}\n")
				case strings.HasPrefix(query, "bytes="):
					expect(t, r, 200, harness.Pattern(int(r.ContentLength)))
				case step.target == "*": // net/http answers that itself
					if r.StatusCode != http.StatusOK {
						t.Error(r.Status)
					}
				default:
					e := harness.ParseEchoed(t, r.Text)
					if e.Method != step.method || e.Target != step.target || e.Bytes != int64(len(step.body)) {
						t.Errorf("%s %s: the answer is for %s %s with %d bytes", step.method, step.target, e.Method, e.Target, e.Bytes)
					}
				}
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
			c.Closed(t)
		})
	}
}

func TestResponsesWithoutABody(t *testing.T) {
	t.Parallel()
	origin := script{
		"/head": says("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\n\r\n"),
		"/204":  says("HTTP/1.1 204 No Content\r\nX-A: 2\r\n\r\n"),
		"/205":  says("HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n"),
		"/304":  says("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: \"x\"\r\n\r\n"),
		"/0":    says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
		"/":     says(ok),
	}.start(t)
	s := front(t, origin.Addr, "", "")
	c := s.dial(t)
	for range 2 { // each leaves both connections where the next request finds them
		r := c.Do(t, request("HEAD", "/head"))
		if expect(t, r, 200, ""); r.ContentLength != 5 || r.Header.Get("X-A") != "1" {
			t.Error(r.Header)
		}
		r = c.Do(t, request("GET", "/204"))
		if expect(t, r, 204, ""); r.Header.Get("Content-Length") != "" || r.Header.Get("X-A") != "2" {
			t.Error(r.Header)
		}
		expect(t, c.Do(t, request("GET", "/205")), 205, "")
		r = c.Do(t, request("GET", "/304"))
		if expect(t, r, 304, ""); r.Header.Get("ETag") != `"x"` {
			t.Error(r.Header)
		}
		expect(t, c.Do(t, request("GET", "/0")), 200, "")
		expect(t, c.Do(t, request("GET", "/")), 200, "ok")
		// The proxy's own answer to HEAD has a length, too, and no body.
		r = c.Do(t, request("HEAD", "/health"))
		if expect(t, r, 200, ""); r.ContentLength <= 0 {
			t.Error(r.Header)
		}
	}
	if n := len(origin.Conns()); n != 1 {
		t.Errorf("%d connections to the origin", n)
	}
}

func TestHTTP10Clients(t *testing.T) {
	t.Parallel()
	origin := script{
		"/length":  says(ok),
		"/chunked": says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks("ab", "cde")),
		"/interim": says("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + ok),
	}.start(t)
	s := front(t, origin.Addr, "", "")
	c := s.dial(t)
	r := c.Do(t, "GET /length HTTP/1.0\r\n\r\n") // not even a Host
	if expect(t, r, 200, "ok"); !r.Close {
		t.Error(r.Header)
	}
	c.Closed(t)

	c = s.dial(t)
	for range 2 {
		r = c.Do(t, "GET /length HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
		if expect(t, r, 200, "ok"); !strings.EqualFold(r.Header.Get("Connection"), "keep-alive") {
			t.Errorf("kept-alive HTTP/1.0 client is told %q", r.Header.Get("Connection"))
		}
	}
	r = c.Do(t, "GET /interim HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
	expect(t, r, 200, "ok") // an HTTP/1.0 client gets no interim response
	// Without a length the end of the connection is the end of the body, and no coding is named.
	r = c.Do(t, "GET /chunked HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
	if expect(t, r, 200, "abcde"); len(r.TransferEncoding) > 0 || r.ContentLength >= 0 || !r.Close {
		t.Error(r.Header, r.TransferEncoding, r.ContentLength)
	}
	c.Closed(t)
	if !strings.Contains(origin.Received(), "GET /length HTTP/1.1\r\nHost: ") {
		t.Errorf("the origin is not spoken to in HTTP/1.1 with a Host: %q", origin.Received())
	}
}

func TestHTTP10Origins(t *testing.T) {
	t.Parallel()
	origin := script{
		"/length": saysAndCloses("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
		"/close":  saysAndCloses("HTTP/1.0 200 OK\r\n\r\nto the end"),
		"/keep":   says("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"),
	}.start(t)
	s := front(t, origin.Addr, "", "")
	c := s.dial(t)
	for range 2 {
		expect(t, c.Do(t, request("GET", "/length")), 200, "ok")
		r := c.Do(t, request("GET", "/close"))
		if expect(t, r, 200, "to the end"); r.Proto != "HTTP/1.1" || r.Close || !cmp.Equal(r.TransferEncoding, []string{"chunked"}) {
			t.Errorf("%s close=%v %v", r.Proto, r.Close, r.TransferEncoding)
		}
	}
	if n := len(origin.Conns()); n != 4 {
		t.Errorf("%d connections to an origin that closes each, for 4 requests", n)
	}
	for range 3 {
		expect(t, c.Do(t, request("GET", "/keep")), 200, "ok")
	}
	if n := len(origin.Conns()); n != 5 {
		t.Errorf("%d connections to the origin, want 4 that it closed and one that it keeps", n)
	}
}

func TestTargets(t *testing.T) {
	t.Parallel()
	heads := make(chan string, 1)
	origin := harness.StartRawOrigin(t, func(c *harness.OriginConn) {
		for c.More() {
			heads <- c.Head()
			c.Send(ok)
		}
	})
	s := front(t, origin.Addr, "", "")
	for _, c := range []struct{ name, head, want string }{
		{"origin form", "GET /a?b=%20&c HTTP/1.1\r\nHost: h.example:81\r\n\r\n", "GET /a?b=%20&c HTTP/1.1\r\nHost: h.example:81\r\n"},
		{"absolute form", "GET http://a.example/p?q HTTP/1.1\r\nHost: b.example\r\n\r\n", "GET /p?q HTTP/1.1\r\nHost: a.example\r\n"},
		{"absolute form without a path", "GET http://a.example HTTP/1.1\r\nHost: b.example\r\n\r\n", "GET / HTTP/1.1\r\nHost: a.example\r\n"},
		{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: h.example\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: h.example\r\n"},
		{"absolute asterisk", "OPTIONS http://a.example HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a.example\r\n"},
		{"normalised", "GET /a/../b//c/%7e/%2f HTTP/1.1\r\nHost: h\r\n\r\n", "GET /b/c/~/%2F HTTP/1.1\r\nHost: h\r\n"},
	} {
		expect(t, s.dial(t).Do(t, c.head), 200, "ok")
		got := <-heads
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: the origin received %q, want %q", c.name, got, c.want)
		}
		if strings.Contains(got, "b.example") {
			t.Errorf("%s: a Host that the target overrides reached the origin", c.name)
		}
	}
}

func TestMethodsThatAreRefused(t *testing.T) {
	t.Parallel()
	origin := harness.StartRawOrigin(t, harness.Answer(ok))
	s := front(t, origin.Addr, "", "")
	for name, head := range map[string]string{
		"CONNECT": "CONNECT site.example:443 HTTP/1.1\r\nHost: site.example:443\r\n\r\n",
		"TRACE":   "TRACE / HTTP/1.1\r\nHost: site.example\r\nCookie: secret\r\n\r\n",
	} {
		c := s.dial(t)
		r := c.Do(t, head)
		if r.StatusCode != http.StatusMethodNotAllowed || !strings.Contains(r.Text, `"reason":"method_refused"`) || r.Header.Get("Allow") == "" ||
			strings.Contains(r.Text, "secret") {
			t.Errorf("%s: %d %v %s", name, r.StatusCode, r.Header, r.Text)
		}
		if name == "CONNECT" { // what follows might be meant for a tunnel
			c.Closed(t)
		}
	}
	if got := origin.Received(); got != "" {
		t.Errorf("the origin received %q", got)
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	t.Parallel()
	origin := harness.StartRawOrigin(t, harness.Answer(ok))
	s := front(t, origin.Addr, "", "")
	for name, c := range map[string]struct {
		status int
		head   string
	}{
		"no Host":            {400, "GET / HTTP/1.1\r\n\r\n"},
		"two Hosts":          {400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"},
		"length and coding":  {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		"another coding":     {501, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"},
		"bare LF":            {400, "GET / HTTP/1.1\nHost: a\n\n"},
		"space before colon": {400, "GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n"},
		"folded line":        {400, "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n"},
		"HTTP/2.0 in text":   {400, "GET / HTTP/2.0\r\nHost: a\r\n\r\n"},
		"HTTP/1.2":           {505, "GET / HTTP/1.2\r\nHost: a\r\n\r\n"},
		"HTTP/0.9":           {400, "GET /\r\n"},
		"TLS":                {400, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"},
		"expectation":        {417, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: more\r\n\r\n"},
		"path outside":       {400, "GET /../x HTTP/1.1\r\nHost: a\r\n\r\n"},
	} {
		conn := s.dial(t)
		// The request behind it must never be served: where it begins is in doubt.
		conn.Send(t, c.head+"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
		r := conn.Response(t, "GET")
		if r.StatusCode != c.status || r.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d, want %d: %s", name, r.StatusCode, c.status, r.Text)
		}
		if name != "path outside" { // there the framing is in no doubt
			if !r.Close {
				t.Errorf("%s: the connection is kept", name)
			}
			conn.Closed(t)
		}
	}
	if got := origin.Received(); strings.Count(got, "GET /smuggled") > 1 || strings.Contains(got, "POST") {
		t.Errorf("the origin received %q", got)
	}
}

func TestResponsesThatAreRefused(t *testing.T) {
	t.Parallel()
	origin := script{
		"/not-http":   saysAndCloses("220 mail.example ESMTP\r\n"),
		"/lengths":    saysAndCloses("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc"),
		"/both":       saysAndCloses("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		"/101":        saysAndCloses("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nabc"),
		"/half":       saysAndCloses("HTTP/1.1 200 OK\r\nConte"),
		"/nothing":    saysAndCloses(""),
		"/bare-lf":    saysAndCloses("HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
		"/large-head": saysAndCloses("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<17) + "\r\n\r\n"),
	}.start(t)
	s := front(t, origin.Addr, "", "")
	c := s.dial(t)
	for path, reason := range map[string]string{
		"/not-http": "upstream_protocol", "/lengths": "upstream_protocol", "/both": "upstream_protocol", "/101": "upstream_protocol",
		"/bare-lf": "upstream_protocol", "/large-head": "upstream_protocol", "/half": "upstream_reset", "/nothing": "upstream_reset",
	} {
		r := c.Do(t, request("GET", path)) // the client's connection is not at fault, and is kept
		if r.StatusCode != http.StatusBadGateway || !strings.Contains(r.Text, `"reason":"`+reason+`"`) || r.Close {
			t.Errorf("%s: %d %s", path, r.StatusCode, r.Text)
		}
		if line := s.AccessOf(t, path); line.Text("reason") != reason || line.Number("status") != 502 {
			t.Error(line)
		}
	}
}

// What an origin sends behind its response, or unasked, must never become the answer to another request.
func TestBytesBehindAResponseAreNeverAnAnswer(t *testing.T) {
	t.Parallel()
	const evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
	origin := script{
		"/length": says(ok + evil),
		"/head":   says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + evil),
		"/204":    says("HTTP/1.1 204 No Content\r\n\r\n" + evil),
		"/304":    says("HTTP/1.1 304 Not Modified\r\n\r\n" + evil),
		"/chunks": says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks("ok") + evil),
		"/good":   says(ok),
	}.start(t)
	s := front(t, origin.Addr, "", "")
	c := s.dial(t)
	for path, method := range map[string]string{"/length": "GET", "/head": "HEAD", "/204": "GET", "/304": "GET", "/chunks": "GET"} {
		r := c.Do(t, request(method, path))
		if strings.Contains(r.Text, "evil") {
			t.Errorf("%s: %q", path, r.Text)
		}
		for range 3 {
			expect(t, c.Do(t, request("GET", "/good")), 200, "ok")
		}
	}
}
