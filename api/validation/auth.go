package validation

import (
	"encoding/json"
	"net/url"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pingora-proxy/pingora-proxy/api/syntax"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
)

func checkAuth(path *field.Path, a *v1alpha1.Auth, from v1alpha1.Origin) field.ErrorList {
	if a == nil {
		return nil
	}
	kinds := 0
	for _, set := range [...]bool{len(a.JWT) > 0, a.Basic != nil, a.APIKey != nil, a.Forward != nil} {
		if set {
			kinds++
		}
	}
	want := 1
	if deref(a.Mode) == v1alpha1.AuthNone {
		want = 0
	}
	if kinds != want {
		return field.ErrorList{invalid(path, "", "exactly one of `jwt`, `basic`, `apiKey` or `forward` must be set, or `mode: None`")}
	}
	var errs field.ErrorList
	names, issuers := map[string]bool{}, map[string]bool{}
	for i := range a.JWT {
		p, at := &a.JWT[i], path.Child("jwt").Index(i)
		if p.Name != "" {
			if names[p.Name] {
				errs = append(errs, duplicate(at.Child("name"), "provider name", p.Name))
			} else {
				errs = append(errs, checkName(at.Child("name"), p.Name)...)
			}
		}
		if p.Issuer != "" && issuers[p.Issuer] {
			errs = append(errs, duplicate(at.Child("issuer"), "issuer", p.Issuer))
		}
		names[p.Name], issuers[p.Issuer] = true, true
		errs = append(errs, checkProvider(at, p)...)
	}
	if b := a.Basic; b != nil {
		at := path.Child("basic")
		if detail := syntax.CheckHeaderValue(deref(b.Realm)); detail != "" {
			errs = append(errs, invalid(at.Child("realm"), "", detail))
		}
		errs = append(errs, checkHeaderName(at.Child("userHeader"), b.UserHeader)...)
	}
	if k := a.APIKey; k != nil {
		at := path.Child("apiKey")
		errs = append(errs, checkHeaderName(at.Child("header"), k.Header)...)
		errs = append(errs, checkHeaderName(at.Child("userHeader"), k.UserHeader)...)
	}
	if f := a.Forward; f != nil {
		errs = append(errs, checkForward(path.Child("forward"), f, from)...)
	}
	return errs
}

func checkProvider(path *field.Path, p *v1alpha1.JWTProvider) field.ErrorList {
	var errs field.ErrorList
	sources := 0
	for _, set := range [...]bool{p.JWKSURL != nil, p.JWKSRef != nil, p.JWKS != nil} {
		if set {
			sources++
		}
	}
	if sources != 1 {
		errs = append(errs, invalid(path, "", "exactly one of `jwksURL`, `jwksRef` or `jwks` must be set"))
	}
	if p.JWKSURL != nil {
		u, err := url.Parse(*p.JWKSURL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
			errs = append(errs, invalid(path.Child("jwksURL"), *p.JWKSURL, "must be a URL such as `https://id.example.com/jwks.json`"))
		}
	}
	if p.JWKS != nil && !json.Valid([]byte(*p.JWKS)) {
		errs = append(errs, invalid(path.Child("jwks"), "", "must be a set of keys as JSON"))
	}
	for _, claim := range sortedKeys(p.ClaimsToHeaders) {
		if detail := syntax.CheckHeaderName(p.ClaimsToHeaders[claim]); detail != "" {
			errs = append(errs, invalid(path.Child("claimsToHeaders").Key(claim), p.ClaimsToHeaders[claim], detail))
		}
	}
	return append(errs, checkCookieName(path.Child("fromCookie"), p.FromCookie)...)
}

func checkForward(path *field.Path, f *v1alpha1.ForwardAuth, from v1alpha1.Origin) field.ErrorList {
	var errs field.ErrorList
	if f.Backend != nil {
		errs = append(errs, checkOneBackend(path.Child("backend"), f.Backend, from)...)
	}
	target, query, _ := strings.Cut(deref(f.Path), "?")
	detail := syntax.CheckTarget(target)
	if detail == "" { // a query has the same characters, and question marks
		detail = syntax.CheckTarget("/" + strings.ReplaceAll(query, "?", "/"))
	}
	if detail != "" {
		errs = append(errs, invalid(path.Child("path"), deref(f.Path), detail))
	}
	errs = append(errs, checkHeaderNames(path.Child("requestHeaders"), f.RequestHeaders)...)
	return append(errs, checkHeaderNames(path.Child("responseHeaders"), f.ResponseHeaders)...)
}

// checkOneBackend is for a backend that stands alone.
func checkOneBackend(path *field.Path, b *v1alpha1.Backend, from v1alpha1.Origin) field.ErrorList {
	errs := checkBackends(path, []v1alpha1.Backend{*b}, true, map[string]bool{}, from)
	for _, e := range errs { // it is no list
		e.Field = path.String() + trimIndex(e.Field[len(path.String()):])
	}
	if b.Override != nil || deref(b.Role) == v1alpha1.RoleBackup {
		errs = append(errs, invalid(path, "", "is the only one: it has no `role` and no `override`"))
	}
	return errs
}

func trimIndex(path string) string {
	const index = "[0]"
	if len(path) >= len(index) && path[:len(index)] == index {
		return path[len(index):]
	}
	return path
}
