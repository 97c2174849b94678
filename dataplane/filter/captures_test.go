package filter

import (
	"regexp"
	"strings"
	"testing"
)

func TestCaptures(t *testing.T) {
	for _, test := range []struct {
		template string
		patterns []string
		path     string
		want     string
		static   bool
	}{
		{"/new", nil, "/old", "/new", true},
		{"/$1/$$", nil, "/old", "/$1/$$", true},
		{"", nil, "/old", "", true},
		{"/new", []string{"^/(.*)"}, "/old", "/new", true},
		{"/api/v2/$1", []string{"^/v1/(.*)"}, "/v1/a/b", "/api/v2/a/b", false},
		{"/$2x/${1}0/$1", []string{"^/(a*)/(b*)"}, "/aa/b", "/bx/aa0/aa", false},
		{"/$1x", []string{"^/(a*)"}, "/aa", "/aax", false},
		{"/$$1/$", []string{"^/(a*)"}, "/aa", "/$1/$", true},
		{"/$x/${x}/${1/${}", []string{"^/(a*)"}, "/aa", "/$x/${x}/${1/${}", true},
		{"/$0", []string{"^/(a*)"}, "/aa", "/$0", true},
		{"/$1", []string{"^/x/(.*)", "^/y/(.*)"}, "/y/1", "/1", false},
		{"/$2", []string{"^/x/(.*)", "^/(y)/(.*)"}, "/x/1", "/", false}, // the pattern that matches has no second group
		{"/$1", []string{"^/x/(.*)"}, "/y", "/", false},
		{"/$1-", []string{"^/(?:a(b)|c)"}, "/c", "/-", false},
		{"/$12", []string{strings.Repeat("(.)", 12)}, "/abcdefghijkl", "/k", false},
	} {
		c, err := NewCaptures(test.template, test.patterns)
		if err != nil {
			t.Errorf("%q of %q: %v", test.template, test.patterns, err)
			continue
		}
		if got := c.Append([]byte("<"), []byte(test.path)); string(got) != "<"+test.want || c.Static() != test.static {
			t.Errorf("%q of %q for %s: %q, static %v; want %q, %v", test.template, test.patterns, test.path, got, c.Static(), test.want, test.static)
		}
	}
	for _, test := range []struct {
		template string
		patterns []string
		want     string
	}{
		{"/$2", []string{"^/(.*)"}, "$2: the route's regular expression has 1 groups"},
		{"/${999}", []string{"^/(.*)", "^/(.)(.)"}, "$999: the route's regular expression has 2 groups"},
		{"/", []string{"("}, `regular expression "(": error parsing`},
	} {
		if _, err := NewCaptures(test.template, test.patterns); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q of %q: %v; want %q", test.template, test.patterns, err, test.want)
		}
	}
}

// FuzzCaptures compares with regexp.Expand, of which "$1x" alone means something else.
func FuzzCaptures(f *testing.F) {
	f.Add("/new/${1}/$$/${2}x", "/a/b/c")
	f.Add("$", "/")
	f.Add("${1", "")
	pattern := "^/([a-z]*)/?(.*)"
	f.Fuzz(func(t *testing.T, template, path string) {
		c, err := NewCaptures(template, []string{pattern})
		if err != nil {
			return
		}
		got := string(c.Append(nil, []byte(path)))
		plain := strings.NewReplacer("${1}", "", "${2}", "", "$$", "").Replace(template)
		if strings.Contains(plain, "$") || strings.Contains(template, "$$$") || strings.Contains(template, "$${") {
			return
		}
		re := regexp.MustCompile(pattern)
		if at := re.FindStringSubmatchIndex(path); at != nil {
			if want := string(re.ExpandString(nil, template, path, at)); got != want {
				t.Errorf("%q for %q: %q, want %q", template, path, got, want)
			}
		}
	})
}

func TestNop(t *testing.T) {
	var f Filter = Nop{}
	if f.Request(nil) != Continue {
		t.Error("a filter that does nothing stops the request")
	}
	f.Attempt(nil)
	f.Response(nil)
	f.Done(nil)
	f.Close()
}
