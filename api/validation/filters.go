package validation

import (
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pingora-proxy/pingora-proxy/api/syntax"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
)

func checkFilter(f *v1alpha1.Filter, path *field.Path, r *v1alpha1.Route, from v1alpha1.Origin) field.ErrorList {
	var errs field.ErrorList
	n := 0
	add := func(set bool, check func() field.ErrorList) {
		if set {
			n++
			errs = append(errs, check()...)
		}
	}
	none := func() field.ErrorList { return nil }
	add(f.RequestHeaders != nil, func() field.ErrorList { return checkHeaderFilter(f.RequestHeaders, path.Child("requestHeaders")) })
	add(f.ResponseHeaders != nil, func() field.ErrorList { return checkHeaderFilter(f.ResponseHeaders, path.Child("responseHeaders")) })
	add(f.Rewrite != nil, func() field.ErrorList { return checkRewrite(f.Rewrite, path.Child("rewrite"), r) })
	add(f.Redirect != nil, func() field.ErrorList { return checkRedirect(f.Redirect, path.Child("redirect"), r) })
	add(f.Respond != nil, func() field.ErrorList { return checkRespond(f.Respond, path.Child("respond")) })
	add(f.CORS != nil, func() field.ErrorList { return checkCORS(f.CORS, path.Child("cors")) })
	add(f.Mirror != nil, func() field.ErrorList {
		if f.Mirror.Backend == nil {
			return nil // missing, and reported as such
		}
		return checkOneBackend(path.Child("mirror").Child("backend"), f.Mirror.Backend, from)
	})
	add(f.Compression != nil, func() field.ErrorList { return checkCompression(f.Compression, path.Child("compression")) })
	add(f.SecurityHeaders != nil, func() field.ErrorList { return checkSecurityHeaders(f.SecurityHeaders, path.Child("securityHeaders")) })
	add(f.Buffer != nil, none)
	if n == 0 {
		errs = append(errs, field.Required(path, "exactly one filter must be set per list entry"))
	} else if n > 1 {
		errs = field.ErrorList{invalid(path, n, "exactly one filter must be set per list entry")}
	}
	return errs
}

// checkFilters looks for filters of which a route can have one only.
func checkFilters(path *field.Path, r *v1alpha1.Route) field.ErrorList {
	counts := map[string]int{}
	for _, f := range r.Filters {
		for name, set := range map[string]bool{
			"redirect": f.Redirect != nil || f.Respond != nil, "cors": f.CORS != nil,
			"compression": f.Compression != nil, "buffer": f.Buffer != nil, "securityHeaders": f.SecurityHeaders != nil,
		} {
			if set {
				counts[name]++
			}
		}
	}
	var errs field.ErrorList
	for _, one := range [...]struct{ name, detail string }{
		{"redirect", "must hold at most one redirect or response"},
		{"cors", "must hold `cors` at most once"},
		{"compression", "must hold `compression` at most once"},
		{"buffer", "must hold `buffer` at most once"},
		{"securityHeaders", "must hold `securityHeaders` at most once"},
	} {
		if counts[one.name] > 1 {
			errs = append(errs, invalid(path, "", one.detail))
		}
	}
	return errs
}

func checkRespond(f *v1alpha1.RespondFilter, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if code := deref(f.Code); (code == 204 || code == 304 || code == 205) && deref(f.Body) != "" {
		errs = append(errs, invalid(path.Child("body"), "", "must be empty: such a response has none"))
	}
	if detail := syntax.CheckHeaderValue(deref(f.ContentType)); detail != "" {
		errs = append(errs, invalid(path.Child("contentType"), "", detail))
	}
	return errs
}

func checkCORS(f *v1alpha1.CORSFilter, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(f.AllowOrigins) == 0 {
		errs = append(errs, field.Required(path.Child("allowOrigins"), "must be set"))
	}
	for i, o := range f.AllowOrigins {
		at := path.Child("allowOrigins").Index(i)
		scheme, host, found := strings.Cut(o, "://")
		switch {
		case o == "*" && deref(f.AllowCredentials):
			errs = append(errs, invalid(at, o, "may not be `*` where credentials are allowed: every page could act as the user"))
		case o == "*":
		case !found || scheme == "" || host == "" || strings.ContainsAny(host, "/?# ") || o != strings.ToLower(o):
			errs = append(errs, invalid(at, o, "must be `*`, or a scheme and a host in lower case such as `https://example.com`"))
		case strings.Contains(strings.TrimPrefix(host, "*."), "*"):
			errs = append(errs, invalid(at, o, "may have `*` in place of the first labels only, such as `https://*.example.com`"))
		}
	}
	for i, m := range f.AllowMethods {
		if detail := syntax.CheckMethod(m); detail != "" {
			errs = append(errs, invalid(path.Child("allowMethods").Index(i), m, detail))
		}
	}
	for name, list := range map[string][]string{"allowHeaders": f.AllowHeaders, "exposeHeaders": f.ExposeHeaders} {
		for i, h := range list {
			if !syntax.Token(h) {
				errs = append(errs, invalid(path.Child(name).Index(i), h, "must be the name of a header field"))
			}
		}
	}
	return errs
}

func checkCompression(f *v1alpha1.CompressionFilter, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[v1alpha1.CompressionAlgorithm]bool{}
	for i, a := range f.Algorithms {
		if seen[a] {
			errs = append(errs, duplicate(path.Child("algorithms").Index(i), "algorithm", string(a)))
		}
		seen[a] = true
	}
	for i, c := range f.ContentTypes {
		kind, sub, found := strings.Cut(c, "/")
		if !found || !syntax.Token(kind) || sub != "*" && !syntax.Token(sub) {
			errs = append(errs, invalid(path.Child("contentTypes").Index(i), c, "must be a media type such as `text/html`, or `text/*`"))
		}
	}
	return errs
}

func checkSecurityHeaders(f *v1alpha1.SecurityHeadersFilter, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if v := f.FrameOptions; v != nil && *v != v1alpha1.Off && *v != "DENY" && *v != "SAMEORIGIN" {
		errs = append(errs, invalid(path.Child("frameOptions"), *v, "must be `DENY`, `SAMEORIGIN` or `off`"))
	}
	for _, one := range [...]struct {
		name  string
		value *string
	}{{"referrerPolicy", f.ReferrerPolicy}, {"contentSecurityPolicy", f.ContentSecurityPolicy}, {"permissionsPolicy", f.PermissionsPolicy}} {
		if detail := syntax.CheckHeaderValue(deref(one.value)); detail != "" {
			errs = append(errs, invalid(path.Child(one.name), "", detail))
		}
	}
	return errs
}
