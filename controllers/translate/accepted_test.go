package translate_test

import (
	"path/filepath"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/api/defaults"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/api/validation"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
	"github.com/pingora-proxy/pingora-proxy/dataplane/router"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// compile brings a snapshot to life as far as words of the user's go.
func compile(t *testing.T, s *snapshot.Snapshot) {
	t.Helper()
	var listeners []router.Listener
	for i, l := range s.Listeners {
		in := router.Listener{Slot: i, Snapshot: l}
		for _, r := range l.Routes {
			in.Routes = append(in.Routes, &router.Route{Snapshot: r})
			for _, c := range r.Filters {
				f, err := c.New(filter.Env{})
				if err != nil {
					t.Errorf("%s: %v", c.Key(), err)
					continue
				}
				f.Close()
			}
		}
		listeners = append(listeners, in)
	}
	if _, err := router.Compile(listeners); err != nil {
		t.Error(err)
	}
}

func TestGoldenInputsCompile(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.in.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatal("no golden pairs", err)
	}
	for _, in := range inputs {
		l, problems := standalone.Load(standalone.Options{Path: in})
		if l == nil {
			t.Fatal(&standalone.InvalidError{Problems: problems})
		}
		compile(t, l.Snapshot)
	}
}

// FuzzAccepted holds Validate to its word: what it accepts is translated without a problem and can be served.
func FuzzAccepted(f *testing.F) {
	add := func(host, path, expr, header, value, target, authority string) {
		f.Add(host, path, expr, header, value, target, authority)
	}
	add("*.example.com", "/api", "^/a/(.*)$", "X-A", "b", "/new/$1", "internal:80")
	add("[::1]", "/a%2fb;c", "(a)(b)?", "Cookie", "", "/${2}-$$", "[::1]:80")
	add("10.0.0.1", "/..%2f", "^", "Upgrade", "\t", "/$", "a.b.")
	add("a_b", "/%00", "[", "HTTP2-Settings", "é", "/a?b", "::1")
	add("-", "*", "", "Proxy-Authenticate", "a\nb", "//evil.example.com", "a:b:c")
	add("a.", "/{x}", ".", "x_y", "\x7f", "/\\a", "user@a")
	f.Fuzz(func(t *testing.T, host, path, expr, header, value, target, authority string) {
		kind, exact, prefix := v1alpha1.PathMatchRegex, v1alpha1.PathMatchExact, v1alpha1.PathMatchPrefix
		none := []v1alpha1.Match{{Path: &v1alpha1.PathMatch{Type: &prefix, Value: &path}}}
		regex := []v1alpha1.Match{{Path: &v1alpha1.PathMatch{Type: &kind, Value: &expr}}}
		// Each of the words alone, so that one that is refused does not hide another.
		for name, change := range map[string]func(*v1alpha1.ProxyServiceSpec, *v1alpha1.Route){
			"host":        func(s *v1alpha1.ProxyServiceSpec, _ *v1alpha1.Route) { s.Hosts = []string{host} },
			"health path": func(s *v1alpha1.ProxyServiceSpec, _ *v1alpha1.Route) { s.HealthPath = &path },
			"prefix":      func(_ *v1alpha1.ProxyServiceSpec, r *v1alpha1.Route) { r.Matches = none },
			"exact": func(_ *v1alpha1.ProxyServiceSpec, r *v1alpha1.Route) {
				r.Matches = []v1alpha1.Match{{Path: &v1alpha1.PathMatch{Type: &exact, Value: &path}}}
			},
			"header match": func(_ *v1alpha1.ProxyServiceSpec, r *v1alpha1.Route) {
				r.Matches = []v1alpha1.Match{{Headers: []v1alpha1.ValueMatch{{Name: header, Value: &value}}}}
			},
			"query match": func(_ *v1alpha1.ProxyServiceSpec, r *v1alpha1.Route) {
				r.Matches = []v1alpha1.Match{{Query: []v1alpha1.ValueMatch{{Name: header, Value: &value}}}}
			},
			"method": func(_ *v1alpha1.ProxyServiceSpec, r *v1alpha1.Route) {
				r.Matches = []v1alpha1.Match{{Methods: []string{header}}}
			},
			"set": func(_ *v1alpha1.ProxyServiceSpec, r *v1alpha1.Route) {
				r.Filters = []v1alpha1.Filter{{RequestHeaders: &v1alpha1.HeaderFilter{Set: map[string]string{header: value}}}}
			},
			"remove": func(_ *v1alpha1.ProxyServiceSpec, r *v1alpha1.Route) {
				r.Filters = []v1alpha1.Filter{{ResponseHeaders: &v1alpha1.HeaderFilter{Remove: []string{header}}}}
			},
			"rewritten prefix": func(_ *v1alpha1.ProxyServiceSpec, r *v1alpha1.Route) {
				r.Filters = []v1alpha1.Filter{{Rewrite: &v1alpha1.RewriteFilter{ReplacePrefix: &target}}}
			},
			"rewritten path": func(_ *v1alpha1.ProxyServiceSpec, r *v1alpha1.Route) {
				r.Filters = []v1alpha1.Filter{{Rewrite: &v1alpha1.RewriteFilter{Path: &target}}}
			},
			"rewritten regex": func(_ *v1alpha1.ProxyServiceSpec, r *v1alpha1.Route) {
				r.Matches = regex
				r.Filters = []v1alpha1.Filter{{Rewrite: &v1alpha1.RewriteFilter{Path: &target}}}
			},
			"rewritten host": func(_ *v1alpha1.ProxyServiceSpec, r *v1alpha1.Route) {
				r.Filters = []v1alpha1.Filter{{Rewrite: &v1alpha1.RewriteFilter{Host: &authority}}}
			},
			"redirect": func(_ *v1alpha1.ProxyServiceSpec, r *v1alpha1.Route) {
				r.Filters = []v1alpha1.Filter{{Redirect: &v1alpha1.RedirectFilter{Path: &target}}}
			},
			"redirect host": func(_ *v1alpha1.ProxyServiceSpec, r *v1alpha1.Route) {
				r.Filters = []v1alpha1.Filter{{Redirect: &v1alpha1.RedirectFilter{Host: &authority}}}
			},
			"redirect regex": func(_ *v1alpha1.ProxyServiceSpec, r *v1alpha1.Route) {
				r.Matches = regex
				r.Filters = []v1alpha1.Filter{{Redirect: &v1alpha1.RedirectFilter{Path: &target}}}
			},
		} {
			s := v1alpha1.ProxyServiceSpec{
				Name: "a", BindAddress: ":80", Upstreams: []string{"10.0.0.1:80"}, Routes: []v1alpha1.Route{{Name: "r"}},
			}
			change(&s, &s.Routes[0])
			defaults.Service(&s, v1alpha1.FromFile)
			if len(validation.Service(&s, nil, v1alpha1.FromFile)) > 0 {
				continue
			}
			out, problems := translate.Translate(input(translate.Service{Name: "a", Spec: s}))
			if len(problems) > 0 {
				t.Errorf("%s: %+v", name, problems)
			}
			compile(t, out)
		}
	})
}
