package forward

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

type field = [2]string

// A service is the one that is asked. It keeps what it was asked last.
type service struct {
	status int
	fields []field
	body   string
	broken error // in place of the body's end
	err    error

	cluster  string
	timeout  time.Duration
	target   string
	asked    []string
	released int
	x        *exchange.Exchange
}

// Release implements exchange.Stream.
func (s *service) Release() { s.released++ }

type brokenBody struct {
	exchange.Bytes
	err error
}

func (b *brokenBody) Read(p []byte) (int, error) {
	n, err := b.Bytes.Read(p)
	if errors.Is(err, io.EOF) {
		err = b.err
	}
	return n, err
}

func (s *service) send(cluster string, x *exchange.Exchange, timeout time.Duration) error {
	s.cluster, s.timeout, s.x = cluster, timeout, x
	r := &x.Request
	s.target = fmt.Sprintf("%s %s%s", r.MethodName, r.Host, r.Path)
	if r.HasQuery {
		s.target += "?" + string(r.Query)
	}
	s.asked = lines(&r.Header)
	if r.Body != nil || r.Method != exchange.GET || r.Upgrade {
		return errors.New("it is no plain GET")
	}
	if s.err != nil {
		return s.err
	}
	x.Response.Status, x.Response.Stream = s.status, s
	for _, f := range s.fields {
		x.Response.Header.Add(f[0], f[1])
	}
	body := &brokenBody{err: io.EOF}
	if s.broken != nil {
		body.err = s.broken
	}
	body.Reset([]byte(s.body))
	x.Response.Body = body
	return nil
}

func lines(h *exchange.Header) (out []string) {
	for i := range h.Len() {
		if _, name, value, ok := h.At(i); ok {
			out = append(out, string(name)+": "+string(value))
		}
	}
	return out
}

func config() Config {
	return Config{
		Owner: "shop", Cluster: "auth", Host: "oauth2-proxy:4180", Path: "/oauth2/auth?strict=1", Timeout: 3 * time.Second,
		Request: []string{"X-Tenant", "X-Forwarded-Method", "Cookie"}, Response: []string{"X-User", "X-Groups", "Authorization"},
	}
}

func start(t testing.TB, s *service) filter.Filter {
	t.Helper()
	f, err := config().New(filter.Env{Send: s.send})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func request(fields ...field) *exchange.Exchange {
	x := &exchange.Exchange{Conn: &exchange.Conn{}, ClientIP: netip.MustParseAddr("10.0.0.1"), RequestID: []byte("id-1")}
	r := &x.Request
	r.Method, r.MethodName, r.Host, r.Path, r.Query, r.HasQuery = exchange.POST, []byte("POST"), []byte("shop.example.com"), []byte("/a/b"), []byte("c=d"), true
	r.Upgrade, r.ContentLength = true, 5
	for _, f := range append([]field{{"X-Forwarded-For", "10.0.0.1"}, {"X-Forwarded-Proto", "https"}, {"X-Forwarded-Host", "shop.example.com"}, {"X-Request-Id", "id-1"}}, fields...) {
		r.Header.Add(f[0], f[1])
	}
	return x
}

func TestQuestion(t *testing.T) {
	s := &service{status: 200}
	f := start(t, s)
	for range 2 { // also with memory that was used before
		x := request(
			field{"Authorization", "Bearer x"}, field{"Cookie", "a=b"}, field{"Cookie", "c=d"}, field{"x-tenant", "acme"}, field{"X-Tenant", "more"},
			field{"X-Forwarded-Method", "GET"}, field{"X_Forwarded_Uri", "/public"}, field{"Accept", "*/*"}, field{"Content-Length", "5"}, field{"Upgrade", "websocket"},
		)
		if f.Request(x) != filter.Continue {
			t.Fatalf("status %d", x.Response.Status)
		}
		if s.cluster != "auth" || s.timeout != 3*time.Second || s.target != "GET oauth2-proxy:4180/oauth2/auth?strict=1" {
			t.Errorf("%s is asked for %s within %v", s.cluster, s.target, s.timeout)
		}
		if diff := cmp.Diff([]string{
			"Authorization: Bearer x", "Cookie: a=b; c=d", "X-Tenant: acme", "X-Tenant: more", "X-Forwarded-Method: POST", "X-Forwarded-Uri: /a/b?c=d",
			"X-Forwarded-For: 10.0.0.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: shop.example.com", "X-Request-Id: id-1",
		}, s.asked); diff != "" {
			t.Error(diff)
		}
		if x.Request.Method != exchange.POST || string(x.Request.Path) != "/a/b" {
			t.Error("the request has changed")
		}
	}
	if s.released != 2 {
		t.Errorf("%d answers are released", s.released)
	}
}

func TestPass(t *testing.T) {
	s := &service{
		status: 202, body: "ignored",
		fields: []field{{"x-user", "alice"}, {"X-Groups", "a"}, {"X-Groups", "b"}, {"X-Other", "1"}, {"Set-Cookie", "s=1"}, {"Set-Cookie", "t=2"}},
	}
	f := start(t, s)
	x := request(field{"X-USER", "root"}, field{"x_user", "root"}, field{"Authorization", "Bearer x"}, field{"X-Groups", "admin"}, field{"X-Keep", "1"})
	if f.Request(x) != filter.Continue {
		t.Fatalf("status %d", x.Response.Status)
	}
	if diff := cmp.Diff([]string{"X-Keep: 1", "X-User: alice", "X-Groups: a", "X-Groups: b"}, lines(&x.Request.Header)[4:]); diff != "" {
		t.Error(diff)
	}
	x.ResetResponse() // an attempt that failed
	x.Response.Status = 200
	x.Response.Header.Add("Set-Cookie", "own=1")
	other := request()
	f.Response(x)
	f.Response(other)
	if diff := cmp.Diff([]string{"Set-Cookie: own=1", "Set-Cookie: s=1", "Set-Cookie: t=2"}, lines(&x.Response.Header)); diff != "" {
		t.Error(diff)
	}
	if other.Response.Header.Len() != 0 {
		t.Error("another client gets the cookies")
	}
	f.Done(x)
	x.ResetResponse()
	if f.Response(x); x.Response.Header.Len() != 0 {
		t.Error("the next request of the connection gets the cookies")
	}

	// One whose end was never seen.
	f.Request(x)
	s.fields = nil
	x.ResetResponse()
	f.Request(x)
	if f.Response(x); x.Response.Header.Len() != 0 {
		t.Error("the request behind one that was given up gets its cookies")
	}
	if n := f.(*forward).waiting.Load(); n != 0 {
		t.Errorf("%d wait", n)
	}
}

func TestDeny(t *testing.T) {
	long := strings.Repeat("x", maxBody+1)
	for name, test := range map[string]struct {
		s      service
		method exchange.Method
		want   string
		fields []string
		body   string
	}{
		"401": {
			service{status: 401, body: "who?", fields: []field{{"Content-Type", "text/plain"}, {"WWW-Authenticate", "Basic"}, {"WWW-Authenticate", "Bearer"}, {"X-Inner", "1"}, {"Connection", "close"}}},
			exchange.GET, "401 auth_denied",
			[]string{"Content-Type: text/plain", "Cache-Control: no-store", "WWW-Authenticate: Basic", "WWW-Authenticate: Bearer"},
			"who?",
		},
		"302": {
			service{status: 302, fields: []field{{"Location", "https://login"}, {"Set-Cookie", "a=1"}, {"Cache-Control", "private"}}},
			exchange.GET, "302 auth_denied",
			[]string{"Cache-Control: private", "Location: https://login", "Set-Cookie: a=1"},
			"",
		},
		"500": {service{status: 500, body: "oops"}, exchange.GET, "500 auth_denied", []string{"Cache-Control: no-store"}, "oops"},
		"HEAD": {
			service{status: 403, body: "no", fields: []field{{"Content-Type", "text/plain"}, {"Content-Encoding", "br"}}},
			exchange.HEAD, "403 auth_denied",
			[]string{"Content-Type: text/plain", "Content-Encoding: br", "Cache-Control: no-store"},
			"",
		},
		"just as long as it may be": {service{status: 403, body: long[1:]}, exchange.GET, "403 auth_denied", []string{"Cache-Control: no-store"}, long[1:]},
		"too long": {
			service{status: 403, body: long, fields: []field{{"Content-Type", "text/plain"}, {"Retry-After", "9"}}},
			exchange.GET, "403 auth_denied",
			[]string{"Content-Type: application/problem+json", "Cache-Control: no-store", "Retry-After: 9"},
			`{"type":"about:blank","title":"Forbidden","status":403,"reason":"auth_denied","request_id":"id-1"}` + "\n",
		},
		"cut off":      {service{status: 403, body: "x", broken: errors.New("reset")}, exchange.GET, "503 auth_unavailable", nil, ""},
		"not modified": {service{status: 304}, exchange.GET, "503 auth_unavailable", nil, ""},
		"switching":    {service{status: 101}, exchange.GET, "503 auth_unavailable", nil, ""},
		"no answer":    {service{err: &exchange.Failure{Reason: exchange.UpstreamTimeout, Err: errors.New("x")}}, exchange.GET, "503 auth_unavailable", nil, ""},
	} {
		s := test.s
		f := start(t, &s)
		x := request(field{"X-User", "root"})
		x.Request.Method = test.method
		if f.Request(x) != filter.Respond {
			t.Errorf("%s: the request passes", name)
			continue
		}
		f.Response(x)
		if got := fmt.Sprintf("%d %s", x.Response.Status, x.Record.Reason); got != test.want || !x.Response.Local {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
		if test.want == "503 auth_unavailable" {
			continue
		}
		if diff := cmp.Diff(test.fields, lines(&x.Response.Header)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		var body []byte
		if x.Response.Body != nil {
			body, _ = io.ReadAll(x.Response.Body)
			if x.Response.ContentLength != int64(len(body)) {
				t.Errorf("%s: %d bytes, %d are announced", name, len(body), x.Response.ContentLength)
			}
		}
		if !bytes.Equal(body, []byte(test.body)) {
			t.Errorf("%s: body %.100q", name, body)
		}
		if s.released != 1 {
			t.Errorf("%s: %d answers are released", name, s.released)
		}
	}
}

func TestFailsClosed(t *testing.T) {
	f, err := config().New(filter.Env{})
	if err != nil {
		t.Fatal(err)
	}
	x := request()
	if f.Request(x) != filter.Respond || x.Response.Status != 503 || x.Record.Reason != exchange.AuthUnavailable {
		t.Errorf("nobody to ask: %d %s", x.Response.Status, x.Record.Reason)
	}
	s := &service{status: 200}
	x = request(field{"Authorization", "a"}, field{"Authorization", "b"})
	if start(t, s).Request(x) != filter.Respond || x.Response.Status != 400 || s.asked != nil {
		t.Errorf("two Authorization fields: %d", x.Response.Status)
	}
}

func TestValidate(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"":                            func(*Config) {},
		"there is nobody to ask":      func(c *Config) { c.Cluster = "" },
		"host: it cannot":             func(c *Config) { c.Host = "a b" },
		"path: it must":               func(c *Config) { c.Path = "a" },
		"neither spaces":              func(c *Config) { c.Path = "/a\r\nX: y" },
		"nor '#'":                     func(c *Config) { c.Path = "/a#b" },
		"timeout: it must":            func(c *Config) { c.Timeout = 0 },
		`request header "Host"`:       func(c *Config) { c.Request = []string{"Host"} },
		`response header "Upgrade"`:   func(c *Config) { c.Response = []string{"Upgrade"} },
		`response header "a\r\nb": a`: func(c *Config) { c.Response = []string{"a\r\nb"} },
	} {
		c := config()
		change(&c)
		err := c.Validate()
		f, err2 := c.New(filter.Env{})
		if want == "" {
			if err != nil || err2 != nil {
				t.Errorf("%v, %v", err, err2)
			}
		} else if err == nil || !strings.Contains(err.Error(), want) || err2 == nil || f != nil {
			t.Errorf("%v; want %q", err, want)
		}
	}
}

func TestKey(t *testing.T) {
	base := config().Key()
	v := reflect.ValueOf(config())
	for i := range v.NumField() {
		c := config()
		at := reflect.ValueOf(&c).Elem().Field(i)
		at.SetZero()
		if c.Key() == base {
			t.Errorf("%s is not in the key", v.Type().Field(i).Name)
		}
	}
}

func BenchmarkPass(b *testing.B) {
	s := &service{status: 200, fields: []field{{"X-User", "alice"}}}
	f := start(b, s)
	x := request()
	b.ReportAllocs()
	for b.Loop() {
		x.Request.Header.Reset(nil)
		x.Request.Header.Add("X-Forwarded-For", "10.0.0.1")
		x.Request.Header.Add("Authorization", "Bearer x")
		if f.Request(x) != filter.Continue {
			b.Fatal(x.Response.Status)
		}
	}
}
