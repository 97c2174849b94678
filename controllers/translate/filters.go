package translate

import (
	"fmt"
	"maps"
	"slices"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/headers"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/redirect"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/rewrite"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// filters lists a route's filters in the order in which they run: this function is that order. It also says whether the
// route redirects, so that it needs no endpoints.
func filters(r *snapshot.Route, spec *v1alpha1.Route) (out []filter.Config, redirects bool, err error) {
	owner := r.ID()
	add := func(c interface {
		filter.Config
		Validate() error
	}, field string,
	) {
		if e := c.Validate(); e != nil && err == nil {
			err = fmt.Errorf("%s: %w", field, e)
		}
		out = append(out, c)
	}

	// Redirects come before everything that may cost more.
	for _, f := range spec.Filters {
		if f.Redirect != nil {
			redirects = true
			add(redirectConfig(owner, r, f.Redirect), "redirect")
		}
	}
	// The user's filters, in their order.
	for _, f := range spec.Filters {
		switch {
		case f.RequestHeaders != nil:
			add(headersConfig(owner, headers.Request, f.RequestHeaders), "requestHeaders")
		case f.ResponseHeaders != nil:
			add(headersConfig(owner, headers.Response, f.ResponseHeaders), "responseHeaders")
		case f.Rewrite != nil:
			add(rewriteConfig(owner, r, f.Rewrite), "rewrite")
		}
	}
	if err != nil {
		return nil, redirects, err
	}
	return out, redirects, nil
}

func redirectConfig(owner string, r *snapshot.Route, f *v1alpha1.RedirectFilter) redirect.Config {
	return redirect.Config{
		Owner:    owner,
		Scheme:   string(deref(f.Scheme)),
		Host:     deref(f.Host),
		Port:     uint16(deref(f.Port)),
		Path:     deref(f.Path),
		Patterns: patterns(r),
		Code:     int(deref(f.Code)),
	}
}

func rewriteConfig(owner string, r *snapshot.Route, f *v1alpha1.RewriteFilter) rewrite.Config {
	return rewrite.Config{
		Owner:         owner,
		ReplacePrefix: deref(f.ReplacePrefix),
		Path:          deref(f.Path),
		Patterns:      patterns(r),
		Host:          deref(f.Host),
	}
}

func headersConfig(owner string, on headers.On, f *v1alpha1.HeaderFilter) headers.Config {
	return headers.Config{Owner: owner, On: on, Set: fields(f.Set), Add: fields(f.Add), Remove: f.Remove}
}

// fields are sorted, so that the same map always makes the same filter.
func fields(m map[string]string) []headers.Field {
	var out []headers.Field
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, headers.Field{Name: name, Value: m[name]})
	}
	return out
}

// patterns are the regular expressions of a route whose path conditions are nothing else: groups of others have no
// meaning.
func patterns(r *snapshot.Route) []string {
	var out []string
	for _, m := range r.Matches {
		if m.PathType != snapshot.PathRegex {
			return nil
		}
		out = append(out, m.Path)
	}
	return out
}
