package rewrite

import (
	"bytes"
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

func TestReplacePrefix(t *testing.T) {
	for _, test := range []struct{ path, matched, replace, want string }{
		// the Gateway API's table
		{"/foo/bar", "/foo", "/xyz", "/xyz/bar"},
		{"/foo/bar", "/foo", "/xyz/", "/xyz/bar"},
		{"/foo", "/foo", "/xyz", "/xyz"},
		{"/foo/", "/foo", "/xyz", "/xyz/"},
		{"/foo/bar", "/foo", "/", "/bar"},
		{"/foo/", "/foo", "/", "/"},
		{"/foo", "/foo", "/", "/"},

		{"/api/v2/x", "/api/v2", "/", "/x"},
		{"/foo", "/foo", "/xyz/", "/xyz/"},
		{"/foo", "", "/xyz", "/xyz/foo"}, // the prefix "/"
		{"/", "", "/xyz", "/xyz/"},
		{"/foo/a%2Fb", "/foo", "/%7ex//y/../z", "/~x/z/a%2Fb"},
		{"/foo", "/foo/longer", "/x", "/x/foo"}, // what matched is gone
		{"/foo;v=1/bar", "/foo;v=1", "/x", "/x/bar"},
	} {
		f := build(t, Config{ReplacePrefix: test.replace})
		x := exchange.Exchange{PrefixLen: len(test.matched)}
		x.Request.Path, x.Request.Host = []byte(test.path), []byte("a")
		if v := f.Request(&x); v != filter.Continue || string(x.Request.Path) != test.want {
			t.Errorf("%s with %s for %q: %s, verdict %d; want %s", test.path, test.replace, test.matched, x.Request.Path, v, test.want)
		}
		if string(x.Request.Host) != "a" {
			t.Errorf("the host became %s", x.Request.Host)
		}
		if got := string(x.Request.Path[:x.PrefixLen]); !strings.HasPrefix(test.want, got) || strings.HasSuffix(got, "/") {
			t.Errorf("%s: a further rewrite would replace %q", x.Request.Path, got)
		}
	}
}

func TestPathAndHost(t *testing.T) {
	for _, test := range []struct {
		name             string
		config           Config
		path             string
		want, host       string
		wantAfterRewrite string // by a further one that replaces the prefix by /p
	}{
		{"path", Config{Path: "/x/./y"}, "/a/b", "/x/y", "a", "/p/x/y"},
		{"path with a dollar", Config{Path: "/$1"}, "/a/b", "/$1", "a", "/p/$1"},
		{"group", Config{Path: "/new/$1", Patterns: []string{"^/a/(.*)"}}, "/a/b/c", "/new/b/c", "a", "/p/new/b/c"},
		{"group with a slash", Config{Path: "/$1", Patterns: []string{"^/a(/.*)"}}, "/a/b/c", "/b/c", "a", "/p/b/c"},
		{"no group in the path", Config{Path: "/new", Patterns: []string{"^/a/(.*)"}}, "/a/b/c", "/new", "a", "/p/new"},
		{"host", Config{Host: "b.test:8080"}, "/a/b", "/a/b", "b.test:8080", "/p/b"},
		{"host and path", Config{Host: "[::1]:80", Path: "/x"}, "/a/b", "/x", "[::1]:80", "/p/x"},
		{"host and prefix", Config{Host: "b", ReplacePrefix: "/x/"}, "/a/b", "/x/b", "b", "/p/b"},
		{"asterisk", Config{Host: "b", Path: "/x"}, "*", "*", "b", "*"},
	} {
		t.Run(test.name, func(t *testing.T) {
			x := exchange.Exchange{PrefixLen: len("/a")}
			if test.path == "*" {
				x.PrefixLen = 0
			}
			x.Request.Path, x.Request.Host, x.Request.Query = []byte(test.path), []byte("a"), []byte("q=1")
			if v := build(t, test.config).Request(&x); v != filter.Continue {
				t.Fatalf("verdict %d", v)
			}
			if string(x.Request.Path) != test.want || string(x.Request.Host) != test.host || string(x.Request.Query) != "q=1" {
				t.Errorf("%s%s?%s", x.Request.Host, x.Request.Path, x.Request.Query)
			}
			build(t, Config{ReplacePrefix: "/p"}).Request(&x)
			if string(x.Request.Path) != test.wantAfterRewrite {
				t.Errorf("a further rewrite makes %s, want %s", x.Request.Path, test.wantAfterRewrite)
			}
		})
	}
}

// What groups make of a path is checked like a client's: an escaped slash and dots that were apart must not meet.
func TestRefused(t *testing.T) {
	for _, test := range []struct {
		config Config
		path   string
	}{
		{Config{Path: "/x/..$1", Patterns: []string{"^/a(.*)"}}, "/a%2Fetc"},
		{Config{Path: "/..$1", Patterns: []string{"^/a(.*)"}}, "/a/etc"},
		{Config{Path: "/x/..;$1", Patterns: []string{"^/a(.*)"}}, "/ax"},
	} {
		f, err := test.config.New(filter.Env{})
		if err != nil { // refused even for an empty group
			continue
		}
		var x exchange.Exchange
		x.Request.Path = []byte(test.path)
		if v := f.Request(&x); v != filter.Respond || x.Response.Status != 400 || x.Record.Reason != exchange.BadRequest {
			t.Errorf("%q for %s: verdict %d, %d %s, path %s", test.config.Path, test.path, v, x.Response.Status, x.Record.Reason, x.Request.Path)
		}
	}
	f := build(t, Config{Path: "/x/.$1", Patterns: []string{"^/a(.*)"}})
	var x exchange.Exchange
	x.Request.Path = []byte("/a.%2Fetc")
	if v := f.Request(&x); v != filter.Respond || x.Response.Status != 400 {
		t.Errorf("verdict %d, status %d, path %s", v, x.Response.Status, x.Request.Path)
	}
}

func TestRegex(t *testing.T) {
	for _, test := range []struct{ pattern, substitution, path, want string }{
		{"^/users/([0-9]+)", "/people/$1", "/users/42/x", "/people/42/x"},
		{"^/users/([0-9]+)", "/people/$1", "/users/x", "/users/x"},
		{"^/users/([0-9]+)", "/people/$1", "/a/users/42", "/a/users/42"},
		{"a", "b", "/a/ba/aa", "/b/bb/bb"},
		{"/([a-z]+)-([a-z]+)", "/${2}/$1", "/x-y/u-v", "/y/x/v/u"},
		{"(x)|(y)", "[$1$2]", "/xyz", "/%5Bx%5D%5By%5Dz"},
		{"/old", "", "/old/x/old", "/x"},
		{"b", "$$1", "/abc", "/a$1c"},
		{"//+|x", "/", "/axb", "/a/b"},
		{"^/a", "/a/../b", "/a/c", "/b/c"},
		{"x*", "-", "/a", ""}, // in front of everything: no path any more
		{"$", "/end", "/a", "/a/end"},
		{"%C3%A9", "e", "/caf%C3%A9", "/cafe"},
		{"(?i)/API", "/api", "/Api/x", "/api/x"},
		{"^/", "", "/a", ""},         // does not begin with a slash
		{"^/a", "/..", "/a/b", ""},   // above the root
		{"-", "%2F..", "/a-/b", ""},  // dots in disguise
		{"a(.)b", "$1%", "/aab", ""}, // an escape that is none
	} {
		f, err := (Config{Pattern: test.pattern, Substitution: test.substitution}).New(filter.Env{})
		if err != nil {
			if test.want != "" {
				t.Errorf("%q: %v", test.pattern, err)
			}
			continue
		}
		x := exchange.Exchange{PrefixLen: 1}
		x.Request.Path, x.Request.Query, x.Request.HasQuery = []byte(test.path), []byte("a"), true
		v := f.Request(&x)
		if test.want == "" {
			if v != filter.Respond || x.Response.Status != 400 || x.Record.Reason != exchange.BadRequest {
				t.Errorf("%q, %q for %s: verdict %d, %d, %s", test.pattern, test.substitution, test.path, v, x.Response.Status, x.Request.Path)
			}
			continue
		}
		if v != filter.Continue || string(x.Request.Path) != test.want || string(x.Request.Query) != "a" {
			t.Errorf("%q, %q for %s: %s, want %s (verdict %d)", test.pattern, test.substitution, test.path, x.Request.Path, test.want, v)
		}
	}
	f := build(t, Config{Pattern: "a", Substitution: "b", Host: "h"})
	var x exchange.Exchange
	x.Request.Path = []byte("*")
	if f.Request(&x); string(x.Request.Path) != "*" || string(x.Request.Host) != "h" {
		t.Errorf("%s of %s", x.Request.Path, x.Request.Host)
	}
}

// A pattern cannot make of a path as much as somebody likes.
func TestRegexIsBounded(t *testing.T) {
	for _, test := range []struct {
		c    Config
		path string
	}{
		{Config{Pattern: "x", Substitution: strings.Repeat("/yyyyyyy", 128)}, "/" + strings.Repeat("x", 100)},
		{Config{Pattern: "z*", Substitution: "/y"}, "/" + strings.Repeat("x", maxMatches)},
		{Config{Pattern: "^(.*)$", Substitution: "$1$1$1"}, "/" + strings.Repeat("x", maxPath/2)},
	} {
		var x exchange.Exchange
		x.Request.Path = []byte(test.path)
		if v := build(t, test.c).Request(&x); v != filter.Respond || x.Response.Status != 414 || x.Record.Reason != exchange.URITooLong {
			t.Errorf("%.20q: verdict %d, %d, %d bytes", test.c.Pattern, v, x.Response.Status, len(x.Request.Path))
		}
	}
}

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		config Config
		want   string
	}{
		{Config{}, "set `replace_prefix`, `path`, `regex` or `host`"},
		{Config{Substitution: "/x"}, "set `replace_prefix`, `path`, `regex` or `host`"},
		{Config{Pattern: "a", Path: "/b"}, "not both"},
		{Config{Pattern: "a", ReplacePrefix: "/b"}, "not both"},
		{Config{Pattern: "("}, "regex: regular expression"},
		{Config{Pattern: "(a)", Substitution: "$2"}, "regex: $2:"},
		{Config{Pattern: "a", Substitution: "/b?c"}, "regex: substitution: must be a part"},
		{Config{Pattern: "a", Substitution: "b c"}, "regex: substitution: must be a part"},
		{Config{Pattern: "a", Substitution: "b\r\nc"}, "regex: substitution: must be a part"},
		{Config{Pattern: "a", Substitution: "%zz"}, "regex: substitution: must be a part"},
		{Config{ReplacePrefix: "/a", Path: "/b"}, "set `replace_prefix` or `path`, not both"},
		{Config{ReplacePrefix: "a"}, "replace_prefix: must start with '/'"},
		{Config{ReplacePrefix: "/.."}, "replace_prefix: must be a path"},
		{Config{ReplacePrefix: "/a?b"}, "replace_prefix: must be a path"},
		{Config{Path: "a"}, "path: must start with '/'"},
		{Config{Path: "*"}, "path: must start with '/'"},
		{Config{Path: "/a b"}, "path: must be a path"},
		{Config{Path: "/a\r\nb"}, "path: must be a path"},
		{Config{Path: "/$2", Patterns: []string{"(.)"}}, "path: $2:"},
		{Config{Path: "/", Patterns: []string{"("}}, "path: regular expression"},
		{Config{Host: "a b"}, `host: "a b": must be a name`},
		{Config{Host: "u@a"}, "must be a name"},
		{Config{Host: ":80"}, "must be a name"},
		{Config{Host: "a:"}, "port must be between"},
		{Config{Host: "a:0"}, "port must be between"},
		{Config{Host: "a:65536"}, "port must be between"},
		{Config{Host: "a\r\nb"}, "must be a name"},
	} {
		err := test.config.Validate()
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v; want %q", test.config, err, test.want)
		}
		if f, err := test.config.New(filter.Env{}); err == nil || f != nil {
			t.Errorf("%+v: New says %v, %v", test.config, f, err)
		}
	}
	if err := (Config{Path: "/$1", Host: "a:65535", Patterns: []string{"(.)"}}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestKey(t *testing.T) {
	full := Config{Owner: "o", ReplacePrefix: "/p", Path: "/x", Patterns: []string{"a", "b"}, Host: "h", Pattern: "c", Substitution: "d", KeepSlashes: true}
	v := reflect.ValueOf(full)
	for i := range v.NumField() {
		changed := full
		field := reflect.ValueOf(&changed).Elem().Field(i)
		field.SetZero()
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
	for _, c := range []Config{{ReplacePrefix: "/x"}, {ReplacePrefix: "/"}, {Path: "/x", Host: "b"}} {
		f := build(t, c)
		path := []byte("/api/v2/users/42")
		var x exchange.Exchange
		if n := testing.AllocsPerRun(100, func() {
			x.Reset()
			x.Request.Path, x.PrefixLen = path, 7
			f.Request(&x)
		}); n != 0 {
			t.Errorf("%+v: %v allocations", c, n)
		}
	}
}

func FuzzRewrite(f *testing.F) {
	f.Add("/x", 4, "/api/v2/x", "^/(.*)")
	f.Add("/$1", 0, "/..%2f/x", "^/a(.*)$")
	f.Add("/.$1", 0, "/a./b", "^/a(.*)$")
	f.Fuzz(func(t *testing.T, template string, prefixLen int, raw, pattern string) {
		path, ok := exchange.NormalizePath(nil, []byte(raw))
		if !ok || prefixLen < 0 || len(pattern) > 50 {
			return
		}
		for _, c := range []Config{
			{ReplacePrefix: template}, {Path: template}, {Path: template, Patterns: []string{pattern}}, {Pattern: pattern, Substitution: template},
		} {
			fl, err := c.New(filter.Env{})
			if err != nil {
				continue
			}
			x := exchange.Exchange{PrefixLen: prefixLen}
			x.Request.Path = bytes.Clone(path)
			if fl.Request(&x) == filter.Respond {
				continue
			}
			again, ok := exchange.NormalizePath(nil, x.Request.Path)
			if !ok || !bytes.Equal(again, x.Request.Path) {
				t.Errorf("%+v for %s: %s is not normal", c, path, x.Request.Path)
			}
		}
	})
}

func BenchmarkRegex(b *testing.B) {
	f := build(b, Config{Pattern: "^/users/([0-9]+)", Substitution: "/people/$1"})
	path := []byte("/users/42/orders")
	var x exchange.Exchange
	b.ReportAllocs()
	for b.Loop() {
		x.Reset()
		x.Request.Path = path
		f.Request(&x)
	}
}

func BenchmarkReplacePrefix(b *testing.B) {
	f := build(b, Config{ReplacePrefix: "/x"})
	path := []byte("/api/v2/users/42")
	var x exchange.Exchange
	b.ReportAllocs()
	for b.Loop() {
		x.Reset()
		x.Request.Path, x.PrefixLen = path, 7
		f.Request(&x)
	}
}
