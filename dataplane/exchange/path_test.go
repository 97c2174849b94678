package exchange

import (
	"bytes"
	"net/url"
	"path"
	"strings"
	"testing"
)

func TestNormalizePath(t *testing.T) {
	for _, test := range []struct{ raw, want string }{
		{"/", "/"},
		{"*", "*"},
		{"/a/b", "/a/b"},
		{"/a/b/", "/a/b/"},
		{"/static/app.min.js", "/static/app.min.js"},
		{"/a:@!$&'()*+,;=-._~", "/a:@!$&'()*+,;=-._~"},
		{"/.well-known/acme", "/.well-known/acme"},
		{"/...", "/..."},
		{"/..a/.b/c../d.", "/..a/.b/c../d."},
		{"/a;v=1/b", "/a;v=1/b"},

		{"/%41%7a%30%2d%2E%5f%7E", "/Az0-._~"},
		{"/%2f", "/%2F"},
		{"/a%2fb", "/a%2Fb"},
		{"/a%5cb", "/a%5Cb"},
		{"/%c3%a9", "/%C3%A9"},
		{"/%25", "/%25"},
		{"/%2541", "/%2541"},
		{"/%252e%252e/", "/%252e%252e/"},
		{"/a%3Fb%23c", "/a%3Fb%23c"},
		{"/a|b", "/a%7Cb"},
		{"/a%7cb", "/a%7Cb"},
		{"/{id}", "/%7Bid%7D"},
		{"/\"<>[]^`", "/%22%3C%3E%5B%5D%5E%60"},

		{"//", "/"},
		{"//a///b//", "/a/b/"},
		{"/.", "/"},
		{"/./", "/"},
		{"/a/.", "/a/"},
		{"/a/..", "/"},
		{"/a/../", "/"},
		{"/a/b/..", "/a/"},
		{"/a/b/../c", "/a/c"},
		{"/a/./b", "/a/b"},
		{"/a//../b", "/b"},
		{"/a/%2e%2e/b", "/b"},
		{"/a/%2E./b", "/b"},
		{"/a/.%2e", "/"},
		{"/%2e/a", "/a"},
		{"/a;x/../b", "/b"},
		{"/a/b/c/../../..", "/"},
		{"/a%2fb/../c", "/c"},
		{"/%2f.a", "/%2F.a"},
		{"/...%2f", "/...%2F"},
		{"/a..;b", "/a..;b"},
	} {
		got, ok := NormalizePath(nil, []byte(test.raw))
		if !ok || string(got) != test.want {
			t.Errorf("NormalizePath(%q) = %q, %v; want %q", test.raw, got, ok, test.want)
		}
		x := Exchange{Request: Request{RawPath: []byte(test.raw)}}
		if !x.NormalizePath() || string(x.Request.Path) != test.want {
			t.Errorf("%q: Request.Path = %q; want %q", test.raw, x.Request.Path, test.want)
		}
	}
}

func TestNormalizePathRefuses(t *testing.T) {
	for _, raw := range []string{
		"", "a", "**", "*/", "http://a/",
		"/%", "/%4", "/%zz", "/%4g", "/%g4", "/a%", "/%%41", "/%u0041",
		"/%00", "/a%00.html",
		`/\`, `/a\..\b`, "/a b", "/a\tb", "/a\rb", "/a\nb", "/\x00", "/\x7f", "/é", "/\xff",
		"/a?b", "/a#b",
		"/..", "/../", "/../x", "/a/../..", "/a/../../b", "/./..", "/%2e%2e", "/%2e%2e/x", "//..",
		"/..;", "/..;/", "/a/..;/b", "/a/..;x=1/b", "/.;/", "/a/.;x", "/%2e%2e;/", "/a/..%3b/", "/a/..%3B", "/a/.%3bx",
		"/a/..%2fb", "/a/%2f..", "/a/%2F../b", "/a/x%2f..", "/a/x%2f..%2fy", "/a/..%5cb", "/a/%5c..", "/a/%5C%2e%2e",
		"/a/.%2fb", "/a/b%2f.", "/a/%2f..;x/b", "/a/..;%2f",
	} {
		if got, ok := NormalizePath(nil, []byte(raw)); ok {
			t.Errorf("NormalizePath(%q) = %q; want it refused", raw, got)
		}
		x := Exchange{Request: Request{RawPath: []byte(raw)}}
		if x.NormalizePath() {
			t.Errorf("%q: Request.Path = %q; want it refused", raw, x.Request.Path)
		}
	}
}

// A control or a byte beyond ASCII is refused wherever it stands.
func TestNormalizePathBytes(t *testing.T) {
	for c := range 256 {
		if c > ' ' && c < 0x7f {
			continue
		}
		for _, raw := range []string{"/" + string([]byte{byte(c)}), "/a/" + string([]byte{byte(c)}) + "/b", "/%41" + string([]byte{byte(c)})} {
			if got, ok := NormalizePath(nil, []byte(raw)); ok {
				t.Errorf("NormalizePath(%q) = %q; want it refused", raw, got)
			}
		}
	}
}

func TestNormalizePathReturnsRaw(t *testing.T) {
	raw := []byte("/api/v2/users;x/42")
	got, ok := NormalizePath(func(int) []byte { t.Error("asked for memory"); return nil }, raw)
	if !ok || &got[0] != &raw[0] || len(got) != len(raw) {
		t.Errorf("got %q; want the slice itself", got)
	}
}

func TestNormalizePathAllocates(t *testing.T) {
	for _, raw := range []string{"/api/v2/users/42", "/a/./b/%2e%2e//%7e|" + strings.Repeat("/x", 50)} {
		var x Exchange
		path := []byte(raw)
		run := func() {
			x.Reset()
			x.Request.RawPath = path
			if !x.NormalizePath() {
				t.Fatal("refused")
			}
			if p, ok := NormalizePath(x.Scratch, path); !ok || !bytes.Equal(p, x.Request.Path) {
				t.Fatal("the function and the method differ")
			}
		}
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("%q: %v allocations", raw, n)
		}
	}
}

func FuzzNormalizePath(f *testing.F) {
	for _, raw := range []string{
		"/", "*", "/a/../b", "/a/%2e%2e/b", "//a//", "/..%2f", "/%2f..", "/..;/", "/a|b", "/%25%34%31", "/.;a/", "/a/./", "/%c0%ae",
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		given := bytes.Clone(raw)
		got, ok := NormalizePath(nil, raw)
		if !bytes.Equal(given, raw) {
			t.Fatalf("%q was written to", given)
		}
		if !ok {
			return
		}
		again, ok := NormalizePath(nil, got)
		if !ok || !bytes.Equal(again, got) {
			t.Fatalf("%q -> %q -> %q, %v", raw, got, again, ok)
		}
		if string(got) == "*" {
			return
		}
		if got[0] != '/' || bytes.Contains(got, []byte("//")) {
			t.Fatalf("%q -> %q", raw, got)
		}
		for _, c := range got {
			if c <= ' ' || c >= 0x7f || strings.IndexByte("\\\"<>[]^`{|}?#", c) >= 0 {
				t.Fatalf("%q -> %q holds %q", raw, got, c)
			}
		}
		for segment := range strings.SplitSeq(string(got), "/") {
			if segment == "." || segment == ".." {
				t.Fatalf("%q -> %q keeps a dot segment", raw, got)
			}
		}
		// However an origin reads it, decoding first or not, it finds the path that was matched.
		before, err1 := url.PathUnescape(string(raw))
		after, err2 := url.PathUnescape(string(got))
		if err1 != nil || err2 != nil {
			t.Fatalf("%q -> %q: %v, %v", raw, got, err1, err2)
		}
		for segment := range strings.FieldsFuncSeq(after, func(r rune) bool { return r == '/' || r == '\\' }) {
			if name, _, _ := strings.Cut(segment, ";"); name == "." || name == ".." {
				t.Fatalf("%q -> %q hides a dot segment", raw, got)
			}
		}
		if !strings.Contains(strings.ToLower(string(raw)), "%2f") && path.Clean(before) != path.Clean(after) {
			t.Fatalf("%q -> %q: %q is not %q", raw, got, path.Clean(after), path.Clean(before))
		}
	})
}

func BenchmarkNormalizePath(b *testing.B) {
	for _, raw := range []string{"/api/v2/users/42", "/api/%7euser/./x"} {
		b.Run(raw, func(b *testing.B) {
			var x Exchange
			path := []byte(raw)
			b.ReportAllocs()
			for b.Loop() {
				x.Reset()
				x.Request.RawPath = path
				x.NormalizePath()
			}
		})
	}
}

func TestNormalizeKeepingSlashes(t *testing.T) {
	for _, test := range []struct{ raw, want string }{
		{"/", "/"},
		{"*", "*"},
		{"//", "//"},
		{"//a///b//", "//a///b//"},
		{"/a//./b", "/a//b"},
		{"/a//b/../c", "/a//c"},
		{"/.//b", "//b"},
		{"/a/..//b", "//b"},
		{"/a//%7e", "/a//~"},
		{"/a//b/.", "/a//b/"},
		{"/a//b/..", "/a//"},
		{"/a/%2f/b", "/a/%2F/b"},
	} {
		got, ok := NormalizeKeepingSlashes([]byte(test.raw))
		if !ok || string(got) != test.want {
			t.Errorf("%s: %q, %v; want %q", test.raw, got, ok, test.want)
		}
	}
	for _, raw := range []string{"/a//../b", "//..", "//../", "/a//%2e%2e", "/a//x/../../b", "/..", "/a//..;/b", "", "a//b", "/a//\\"} {
		if got, ok := NormalizeKeepingSlashes([]byte(raw)); ok {
			t.Errorf("%s: %q; want it refused", raw, got)
		}
	}
}

func TestExchangeKeepsSlashes(t *testing.T) {
	for keep, want := range map[bool]string{false: "/a/b", true: "/a//b"} {
		x := Exchange{Request: Request{RawPath: []byte("/x/..//a//b"), KeepSlashes: keep}}
		if keep {
			x.Request.RawPath = []byte("/a/.//b")
		}
		if !x.NormalizePath() || string(x.Request.Path) != want {
			t.Errorf("keep %v: %q, want %q", keep, x.Request.Path, want)
		}
	}
}

// FuzzNormalizeKeepingSlashes: the form is stable, and merging its slashes gives what merging them at first gives.
func FuzzNormalizeKeepingSlashes(f *testing.F) {
	for _, s := range []string{"/a//../b", "//", "/a/.//b", "/a//b/..", "/%2e//%2F/..", "/a;x//b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		kept, ok := NormalizeKeepingSlashes([]byte(raw))
		if !ok {
			return
		}
		again, ok := NormalizeKeepingSlashes(kept)
		if !ok || !bytes.Equal(again, kept) {
			t.Fatalf("%q: %q, and again %q, %v", raw, kept, again, ok)
		}
		merged, ok := NormalizePath(nil, []byte(raw))
		if !ok {
			t.Fatalf("%q: %q with its slashes, refused without them", raw, kept)
		}
		if also, ok := NormalizePath(nil, kept); !ok || !bytes.Equal(also, merged) {
			t.Errorf("%q: %q of the form with all slashes, else %q", raw, also, merged)
		}
	})
}
