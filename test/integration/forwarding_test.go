package integration_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// ask sends a GET with the fields and returns what the origin saw of it, and the response.
func ask(t *testing.T, c *harness.Client, fields ...string) (harness.Echoed, *harness.Response) {
	t.Helper()
	r := c.Do(t, request("GET", "/", fields...))
	if r.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", r.StatusCode, r.Text)
	}
	return harness.ParseEchoed(t, r.Text), r
}

// seen compares fields that the origin has seen; an empty value says that there was none.
func seen(t *testing.T, e harness.Echoed, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got := strings.Join(e.Header[http.CanonicalHeaderKey(name)], " | "); got != value {
			t.Errorf("the origin saw %s: %q, want %q", name, got, value)
		}
	}
}

var madeID = regexp.MustCompile(`^[0-9a-f]{32}$`)

func TestForwardingForAnybody(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t, harness.Echo("web"))
	s := front(t, origin.Addr, "", "")
	e, r := ask(t, s.dial(t),
		"X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 7.7.7.7", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.example",
		"X-Forwarded-Port: 666", "X-Forwarded-Prefix: /evil", "X-Forwarded-Server: evil", "X-Forwarded-Uri: /evil",
		"X-Real-IP: 6.6.6.6", "X-Original-URL: /evil", "X-Rewrite-URL: /evil", "Forwarded: for=6.6.6.6;proto=https",
		"X_Forwarded_For: 6.6.6.6", "X-Request-Id: mine", "X-Request-Id: mine too")
	seen(t, e, map[string]string{
		"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "site.example",
		"X-Forwarded-Port": "", "X-Forwarded-Prefix": "", "X-Forwarded-Server": "", "X-Forwarded-Uri": "",
		"X-Real-Ip": "", "X-Original-Url": "", "X-Rewrite-Url": "", "X_forwarded_for": "",
		"Forwarded": `for=127.0.0.1;host="site.example";proto=http`,
	})
	id := e.Header["X-Request-Id"]
	if len(id) != 1 || !madeID.MatchString(id[0]) || !cmp.Equal(r.Header["X-Request-Id"], id) {
		t.Errorf("request id %q at the origin, %q returned", id, r.Header["X-Request-Id"])
	}
	if line := s.AccessOf(t, "/"); line.Text("client_ip") != "127.0.0.1" || len(id) == 1 && line.Text("request_id") != id[0] {
		t.Error(line)
	}
	if r := s.dial(t).Do(t, request("GET", "/health")); !madeID.MatchString(r.Header.Get("X-Request-Id")) {
		t.Error("the proxy's own answer has no request id:", r.Header)
	}
	// Without them, nobody's Forwarded is made up.
	e, _ = ask(t, s.dial(t))
	seen(t, e, map[string]string{"Forwarded": "", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "site.example"})
}

func TestForwardingForTrustedPeers(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t, harness.Echo("web"))
	s := front(t, origin.Addr, "client_ip: {trusted_proxies: [127.0.0.0/8, 10.0.0.0/8, '2001:db8::/32']}", "")
	for name, c := range map[string]struct {
		fields []string
		want   map[string]string
		client string
	}{
		"none": {nil, map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "site.example"}, "127.0.0.1"},
		"one hop": {
			[]string{"X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https", "X-Forwarded-Host: shop.example"},
			map[string]string{"X-Forwarded-For": "203.0.113.7, 127.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.example"},
			"203.0.113.7",
		},
		"a chain over several lines": {
			[]string{"X-Forwarded-For: 6.6.6.6, 203.0.113.7", "X-Forwarded-For: 10.1.1.1,10.2.2.2"},
			map[string]string{"X-Forwarded-For": "6.6.6.6, 203.0.113.7, 10.1.1.1,10.2.2.2, 127.0.0.1"},
			"203.0.113.7",
		},
		"IPv6 and a port": {
			[]string{"X-Forwarded-For: 2001:db9::1, [2001:db8::2]:443"},
			map[string]string{"X-Forwarded-For": "2001:db9::1, [2001:db8::2]:443, 127.0.0.1"},
			"2001:db9::1",
		},
		"nonsense in the chain": {
			[]string{"X-Forwarded-For: 203.0.113.7, unknown, 10.1.1.1"},
			map[string]string{"X-Forwarded-For": "203.0.113.7, unknown, 10.1.1.1, 127.0.0.1"},
			"10.1.1.1",
		},
		"Forwarded": {
			[]string{"Forwarded: for=203.0.113.7;proto=https"},
			map[string]string{"Forwarded": `for=203.0.113.7;proto=https, for=127.0.0.1;host="site.example";proto=http`},
			"",
		},
		"other fields of a proxy": {
			[]string{"X-Forwarded-Prefix: /shop", "X-Forwarded-Port: 443"},
			map[string]string{"X-Forwarded-Prefix": "/shop", "X-Forwarded-Port": "443"},
			"127.0.0.1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id := strings.ReplaceAll(name, " ", "-")
			e, r := ask(t, s.dial(t), append(c.fields, "X-Request-Id: "+id)...)
			seen(t, e, c.want)
			if seen(t, e, map[string]string{"X-Request-Id": id}); r.Header.Get("X-Request-Id") != id {
				t.Errorf("request id %q returned", r.Header.Get("X-Request-Id"))
			}
			line := s.AwaitAccess(t, id, func(l harness.Line) bool { return l.Text("request_id") == id })
			if c.client != "" && line.Text("client_ip") != c.client {
				t.Errorf("client_ip %q, want %q", line.Text("client_ip"), c.client)
			}
		})
	}
	t.Run("no request id", func(t *testing.T) {
		t.Parallel()
		if e, _ := ask(t, s.dial(t)); !madeID.MatchString(e.Header.Get("X-Request-Id")) {
			t.Error(e.Header)
		}
	})
	t.Run("a request id that is too long", func(t *testing.T) {
		t.Parallel()
		e, _ := ask(t, s.dial(t), "X-Request-Id: "+strings.Repeat("x", 4000))
		if id := e.Header["X-Request-Id"]; len(id) != 1 || !madeID.MatchString(id[0]) {
			t.Errorf("%q", id)
		}
	})
}

func TestCredentialsPassUntouched(t *testing.T) {
	t.Parallel()
	origin := harness.StartRawOrigin(t, harness.Answer(
		"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/; HttpOnly\r\nset-cookie: b=\"2\"; Secure\r\nWWW-Authenticate: Bearer\r\nContent-Length: 2\r\n\r\nok"))
	s := front(t, origin.Addr, "", "")
	r := s.dial(t).Do(t, request("GET", "/", "Authorization: Bearer a.b.c==", "Cookie: s=1; t=\"2\"; u=%20", "Cookie: v=3"))
	expect(t, r, 200, "ok")
	want := http.Header{"Set-Cookie": {"a=1; Path=/; HttpOnly", `b="2"; Secure`}, "Www-Authenticate": {"Bearer"}}
	for name, values := range want {
		if !cmp.Equal(values, r.Header[name]) {
			t.Errorf("%s: %q, want %q", name, r.Header[name], values)
		}
	}
	for _, line := range []string{"Authorization: Bearer a.b.c==", `Cookie: s=1; t="2"; u=%20`, "Cookie: v=3"} {
		if !strings.Contains(origin.Received(), "\r\n"+line+"\r\n") {
			t.Errorf("no line %q at the origin: %q", line, origin.Received())
		}
	}
	if !strings.Contains(r.Proto, "1.1") || strings.Contains(origin.Received(), "\r\nVia:") || r.Header.Get("Via") != "" {
		t.Error("Via was not asked for")
	}
}

func TestHopByHopFieldsAreRemoved(t *testing.T) {
	t.Parallel()
	origin := harness.StartRawOrigin(t, harness.Answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: timeout=5\r\n"+
		"Proxy-Connection: keep-alive\r\nConnection: keep-alive, X-Gone, Content-Length, Set-Cookie\r\nX-Gone: 1\r\nX-Stays: 1\r\n"+
		"Set-Cookie: a=1\r\nUpgrade: h2c\r\nTE: trailers\r\n\r\nok"))
	s := front(t, origin.Addr, "", "")
	c := s.dial(t)
	r := c.Do(t, request("POST", "/", "Connection: keep-alive, x-gone, Host, AUTHORIZATION, content-length, Cookie, X-Forwarded-For, transfer-encoding",
		"Connection: X-Also-Gone,,", "X-Gone: 1", "X-Also-Gone: 1", "X-Stays: 1", "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive",
		"TE: trailers, deflate", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__", "Proxy-Authorization: Basic c2VjcmV0",
		"Authorization: Bearer x", "Cookie: a=1", "Content-Length: 3")+"abc")
	expect(t, r, 200, "ok")
	got := origin.Received()
	for _, gone := range []string{"X-Gone", "X-Also-Gone", "Keep-Alive", "Proxy-Connection", "TE", "Upgrade", "HTTP2-Settings", "Proxy-Authorization", "Connection"} {
		if strings.Contains(strings.ToLower(got), "\r\n"+strings.ToLower(gone)+":") {
			t.Errorf("%s reached the origin", gone)
		}
		if r.Header.Get(gone) != "" {
			t.Errorf("%s reached the client", gone)
		}
	}
	for _, stays := range []string{"Host: site.example", "Authorization: Bearer x", "Cookie: a=1", "Content-Length: 3", "X-Stays: 1", "X-Forwarded-For: 127.0.0.1"} {
		if strings.Count(got, "\r\n"+stays+"\r\n") != 1 {
			t.Errorf("the origin has not exactly one line %q: %q", stays, got)
		}
	}
	if !strings.HasSuffix(got, "\r\n\r\nabc") || r.Header.Get("X-Stays") != "1" || r.Header.Get("Set-Cookie") != "a=1" {
		t.Errorf("%q %v", got, r.Header)
	}
	expect(t, c.Do(t, request("GET", "/")), 200, "ok")
	if n := len(origin.Conns()); n != 1 {
		t.Errorf("%d connections to the origin", n)
	}
}

// Names and values go through as they came: their case, their order, their bytes.
func TestOtherFieldsPassAsTheyCame(t *testing.T) {
	t.Parallel()
	origin := harness.StartRawOrigin(t, harness.Answer("HTTP/1.1 299 Very Fine\r\nx-lower: 1\r\nX-UPPER:2\r\nX-Same: a\r\nX-Same: b\r\nX-Bytes: \xe4\xf6\r\n"+
		"Date: Mon, 01 Jan 2024 00:00:00 GMT\r\nServer: theirs\r\nX-Empty:\r\nContent-Length: 2\r\n\r\nok"))
	s := front(t, origin.Addr, "", "")
	c := s.dial(t)
	expect(t, c.Do(t, request("GET", "/", "x-lower: 1", "X-UPPER:   2  ", "X-Same: a", "X-Same: b", "X-Bytes: \xe4\xf6", "X-Empty:")), 299, "ok")
	if got, want := origin.Received(), "x-lower: 1\r\nX-UPPER: 2\r\nX-Same: a\r\nX-Same: b\r\nX-Bytes: \xe4\xf6\r\nX-Empty: \r\n"; !strings.Contains(got, want) {
		t.Errorf("the origin received %q, want in it %q", got, want)
	}
	want := "HTTP/1.1 299 Very Fine\r\nx-lower: 1\r\nX-UPPER: 2\r\nX-Same: a\r\nX-Same: b\r\nX-Bytes: \xe4\xf6\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nServer: theirs\r\nX-Empty: \r\n"
	if got := c.Received(); !strings.HasPrefix(got, want) {
		t.Errorf("the client received %q, want %q", got, want)
	}
}

func TestVia(t *testing.T) {
	t.Parallel()
	origin := harness.StartRawOrigin(t, harness.Answer("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nVia: 1.1 theirs\r\nContent-Length: 2\r\n\r\nok"))
	s := front(t, origin.Addr, "", "limits: {via: true}")
	r := s.dial(t).Do(t, request("GET", "/", "Via: 1.0 first"))
	if got := r.Header["Via"]; !cmp.Equal(got, []string{"1.1 theirs", "1.0 pingora-proxy"}) {
		t.Errorf("Via of the response: %q", got)
	}
	if got := origin.Received(); !strings.Contains(got, "\r\nVia: 1.0 first\r\n") || !strings.Contains(got, "\r\nVia: 1.1 pingora-proxy\r\n") {
		t.Errorf("the origin received %q", got)
	}
}

func TestForwardingOverIPv6(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t, harness.Echo("web"))
	p := harness.Start(t, fmt.Sprintf("services: [{name: web, bind_address: '[::1]:0', upstreams: ['%s']}]\n", origin.Addr), harness.Options{})
	c := harness.Dial(t, p.Addr(t, "web"))
	r := c.Do(t, "GET / HTTP/1.1\r\nHost: [::1]:80\r\nForwarded: for=evil\r\n\r\n")
	seen(t, harness.ParseEchoed(t, r.Text), map[string]string{
		"X-Forwarded-For": "::1", "X-Forwarded-Host": "[::1]:80", "Forwarded": `for="[::1]";host="[::1]:80";proto=http`,
	})
	if line := p.AccessOf(t, "/"); line.Text("client_ip") != "::1" || line.Text("host") != "[::1]:80" {
		t.Error(line)
	}
}

// A name with an underscore is the same name as one with a hyphen to many origins: it would go around what is removed.
func TestNamesWithUnderscoresAreDropped(t *testing.T) {
	t.Parallel()
	origin := harness.StartRawOrigin(t, harness.Answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX_From_Origin: 1\r\n\r\nok"))
	s := front(t, origin.Addr, "", "")
	expect(t, s.dial(t).Do(t, request("GET", "/", "X_Real_IP: 6.6.6.6", "Content_Length: 5", "Transfer_Encoding: chunked", "_: 1")), 200, "ok")
	head, _, _ := strings.Cut(origin.Received(), "\r\n\r\n")
	for line := range strings.SplitSeq(head, "\r\n") {
		if name, _, ok := strings.Cut(line, ":"); ok && strings.Contains(name, "_") {
			t.Errorf("%q reached the origin", line)
		}
	}
}
