package redirect

import (
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

func build(t testing.TB, c Config) filter.Filter {
	t.Helper()
	f, err := c.New(filter.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// request is made of "host path?query".
func request(target string) *exchange.Exchange {
	x := &exchange.Exchange{Conn: &exchange.Conn{}}
	host, rest, _ := strings.Cut(target, " ")
	path, query, hasQuery := strings.Cut(rest, "?")
	q := &x.Request
	q.Method, q.Host, q.Path, q.Query, q.HasQuery = exchange.GET, []byte(host), []byte(path), []byte(query), hasQuery
	return x
}

func location(t testing.TB, f filter.Filter, x *exchange.Exchange) string {
	t.Helper()
	if v := f.Request(x); v != filter.Respond {
		t.Fatalf("verdict %d", v)
	}
	return string(x.Response.Header.Value(exchange.Location))
}

func TestLocation(t *testing.T) {
	v1 := []string{"^/v1/(.*)"}
	for _, test := range []struct {
		config Config
		target string
		secure bool
		want   string
	}{
		{Config{Scheme: "https"}, "a.test /x?y=1", false, "https://a.test/x?y=1"},
		{Config{Scheme: "https"}, "a.test:8080 /x", false, "https://a.test/x"},
		{Config{Scheme: "https", Port: 8443}, "a.test:8080 /x", false, "https://a.test:8443/x"},
		{Config{Scheme: "https", Port: 443}, "a.test /", false, "https://a.test/"},
		{Config{Scheme: "http", Port: 443}, "a.test /", true, "http://a.test:443/"},
		{Config{Scheme: "http"}, "a.test:8443 /", true, "http://a.test/"},
		{Config{Host: "b.test"}, "a.test:8080 /x/?", false, "http://b.test:8080/x/?"},
		{Config{Host: "b.test"}, "a.test:80 /", false, "http://b.test/"},
		{Config{Host: "b.test"}, "a.test:80 /", true, "https://b.test:80/"},
		{Config{Host: "b.test"}, "a.test:443 /", true, "https://b.test/"},
		{Config{Host: "[::1]"}, "[::2]:81 /", false, "http://[::1]:81/"},
		{Config{Port: 8080}, "[::2]:81 /", false, "http://[::2]:8080/"},
		{Config{Port: 80}, "a.test:81 /", false, "http://a.test/"},
		{Config{Path: "/new"}, "a.test /old?q", false, "http://a.test/new?q"},
		{Config{Path: "/new/$1"}, "a.test /old", false, "http://a.test/new/$1"},
		{Config{Path: "/api/v2/$1", Patterns: v1}, "a.test /v1/x/y?q", false, "http://a.test/api/v2/x/y?q"},
		{Config{Path: "/api/v2/$1", Patterns: v1}, "a.test /other", false, "http://a.test/api/v2/"},
		{Config{Path: "/$1", Patterns: []string{"^/v1(/.*)"}}, "a.test /v1/evil.test", false, "http://a.test/evil.test"},
		{Config{Path: "/$1", Patterns: []string{"^/v1(/.*)"}}, " /v1/evil.test", false, "/evil.test"},
		{Config{Path: "/new"}, " /old", false, "/new"},
		{Config{Scheme: "https", Host: "b.test"}, " /old", false, "https://b.test/old"},
		{Config{Scheme: "https"}, "a.test *", false, "https://a.test/"},
		{Config{Scheme: "https"}, "a.test /a%0D%0Ab?x=%0d%0a", false, "https://a.test/a%0D%0Ab?x=%0d%0a"},
		{Config{Scheme: "https"}, "a.test /?\x00\r\n \"<>#\\é", false, "https://a.test/?%00%0D%0A%20%22%3C%3E%23%5C%C3%A9"},
		{Config{Scheme: "https"}, "a@evil.test /x", false, "/x"}, // no engine lets it through
		{Config{Path: "/x"}, "a.test:123456 /", false, "/x"},
	} {
		x := request(test.target)
		x.Conn.Secure = test.secure
		if got := location(t, build(t, test.config), x); got != test.want {
			t.Errorf("%+v for %q: %q, want %q", test.config, test.target, got, test.want)
		}
	}
}

func TestTrustedPeer(t *testing.T) {
	for _, test := range []struct {
		proto, host string
		trusted     bool
		secure      bool
		want        string
	}{
		{"https", "shop.test", true, false, "https://shop.test/new"},
		{"HTTPS", "shop.test:8443", true, false, "https://shop.test:8443/new"},
		{"http", "", true, true, "http://a.test:6188/new"},
		{"ftp", "", true, true, "https://a.test:6188/new"},
		{"https", "a, b", true, false, "https://a.test:6188/new"},
		{"https", "evil.test/x", true, false, "https://a.test:6188/new"},
		{"https", "evil.test", false, false, "http://a.test:6188/new"},
	} {
		x := request("a.test:6188 /old")
		x.ClientTrusted, x.Conn.Secure = test.trusted, test.secure
		x.Request.Header.Add("X-Forwarded-Proto", test.proto)
		if test.host != "" {
			x.Request.Header.Add("X-Forwarded-Host", test.host)
		}
		if got := location(t, build(t, Config{Path: "/new"}), x); got != test.want {
			t.Errorf("%+v: %s", test, got)
		}
	}
}

func TestResponse(t *testing.T) {
	for config, want := range map[int]int{0: 302, 301: 301, 302: 302, 303: 303, 307: 307, 308: 308} {
		x := request("a.test /")
		x.Response.Header.Add("X-Left-Over", "1")
		location(t, build(t, Config{Scheme: "https", Code: config}), x)
		r := &x.Response
		if r.Status != want || !r.Local || r.Protocol != exchange.HTTP11 || r.Body != nil || r.ContentLength != 0 || x.Record.Reason != exchange.Redirected {
			t.Errorf("%d: %+v, reason %s", config, r, x.Record.Reason)
		}
		if _, ok := r.Header.Get("X-Left-Over"); ok || r.Header.Len() != 1 {
			t.Errorf("%d fields", r.Header.Len())
		}
	}
}

func TestRefused(t *testing.T) {
	x := request("a.test /a.%2Fetc")
	f := build(t, Config{Path: "/x/.$1", Patterns: []string{"^/a(.*)"}})
	if v := f.Request(x); v != filter.Respond || x.Response.Status != 400 || x.Record.Reason != exchange.BadRequest {
		t.Errorf("verdict %d, %d %s", v, x.Response.Status, x.Record.Reason)
	}
}

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		config Config
		want   string
	}{
		{Config{}, "set `scheme`, `host`, `port` or `path`"},
		{Config{Code: 301}, "set `scheme`, `host`, `port` or `path`"},
		{Config{Scheme: "https", Code: 304}, "code: 304: must be one of 301"},
		{Config{Scheme: "HTTPS"}, `scheme: "HTTPS": must be one of http, https`},
		{Config{Scheme: "javascript"}, "scheme:"},
		{Config{Host: "a:80"}, `host: "a:80": must be a name or an address without a port`},
		{Config{Host: "a/b"}, "host:"},
		{Config{Host: "a\r\nb"}, "host:"},
		{Config{Path: "x"}, "path: must start with '/'"},
		{Config{Path: "$1", Patterns: []string{"(.)"}}, "path: must start with '/'"},
		{Config{Path: "/a?b"}, "path: must be a path"},
		{Config{Path: "/a\r\nb"}, "path: must be a path"},
		{Config{Path: "/$2", Patterns: []string{"(.)"}}, "path: $2"},
		{Config{Path: "/$1", Patterns: []string{"("}}, "path: regular expression"},
	} {
		err := test.config.Validate()
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v; want %q", test.config, err, test.want)
		}
		if f, err := test.config.New(filter.Env{}); err == nil || f != nil {
			t.Errorf("%+v: New says %v, %v", test.config, f, err)
		}
	}
}

func TestKey(t *testing.T) {
	full := Config{Owner: "o", Scheme: "https", Host: "h", Port: 1, Path: "/x", Patterns: []string{"a", "b"}, Code: 301}
	v := reflect.ValueOf(full)
	for i := range v.NumField() {
		changed := full
		reflect.ValueOf(&changed).Elem().Field(i).SetZero()
		if changed.Key() == full.Key() {
			t.Errorf("the key does not hold %s", v.Type().Field(i).Name)
		}
	}
	other := full
	other.Patterns = []string{`a" "b`}
	if other.Key() == full.Key() {
		t.Error("the patterns run into each other")
	}
	other.Patterns = []string{"a", "b"}
	if other.Key() != full.Key() {
		t.Error("equal configurations have two keys")
	}
}

func TestAllocates(t *testing.T) {
	for _, c := range []Config{{Scheme: "https", Code: 308}, {Host: "b.test", Path: "/x", Port: 8080}} {
		f := build(t, c)
		x := &exchange.Exchange{Conn: &exchange.Conn{}}
		host, path, query := []byte("a.test:80"), []byte("/x/y"), []byte("q=1")
		if n := testing.AllocsPerRun(100, func() {
			x.Reset()
			x.Request.Host, x.Request.Path, x.Request.Query, x.Request.HasQuery = host, path, query, true
			f.Request(x)
		}); n != 0 {
			t.Errorf("%+v: %v allocations", c, n)
		}
	}
}

// FuzzLocation asks that a Location leads where it is meant to: a client that parses it finds the host of the
// configuration or of the request, and none that the path or the query smuggled in.
func FuzzLocation(f *testing.F) {
	f.Add("a.test:8080", "/x/y", "q=1", "")
	f.Add("", "//evil.test", "\r\nSet-Cookie: a", "^/(.*)$")
	f.Add("a.test", "/@evil.test", "#", "^(.*)$")
	f.Fuzz(func(t *testing.T, host, raw, query, pattern string) {
		path, ok := exchange.NormalizePath(nil, []byte(raw))
		if !ok || len(pattern) > 50 {
			return
		}
		configs := []Config{{Scheme: "https"}, {Port: 81}}
		if pattern != "" {
			configs = append(configs, Config{Path: "/$1", Patterns: []string{pattern}})
		}
		for _, c := range configs {
			fl, err := c.New(filter.Env{})
			if err != nil {
				continue
			}
			x := request(" /")
			x.Request.Host, x.Request.Path, x.Request.Query, x.Request.HasQuery = []byte(host), path, []byte(query), true
			if fl.Request(x); x.Response.Status != 302 {
				continue
			}
			got := string(x.Response.Header.Value(exchange.Location))
			for _, b := range []byte(got) {
				if b <= ' ' || b >= 0x7f {
					t.Fatalf("%q holds %q", got, b)
				}
			}
			u, err := url.Parse(got)
			if err != nil {
				t.Fatalf("%q: %v", got, err)
			}
			name, _ := exchange.SplitPort(host)
			if u.Host != "" && !strings.EqualFold(u.Hostname(), strings.Trim(name, "[]")) || u.Host == "" && u.Scheme != "" || u.User != nil || u.Fragment != "" {
				t.Errorf("%q for the host %q leads to %q", got, host, u.Host)
			}
			if u.Host == "" && exchange.ValidHost(name) && len(host)-len(name) < 6 {
				t.Errorf("%q forgets the host %q", got, host)
			}
		}
	})
}
