package validation

import (
	"maps"
	"net"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pingora-proxy/pingora-proxy/api/syntax"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
)

// answers says whether the route makes all of its answers itself, and needs no backends.
func answers(r *v1alpha1.Route) bool {
	return slices.ContainsFunc(r.Filters, func(f v1alpha1.Filter) bool { return f.Redirect != nil || f.Respond != nil })
}

func checkRoute(r *v1alpha1.Route, path *field.Path, serviceHosts []string, from v1alpha1.Origin) field.ErrorList {
	var errs field.ErrorList
	if r.Name != "" {
		errs = append(errs, checkName(path.Child("name"), r.Name)...)
	}
	errs = append(errs, checkHosts(path.Child("hosts"), r.Hosts)...)
	for i, h := range r.Hosts {
		within := func(outer string) bool { return syntax.Covers(outer, h) }
		if len(serviceHosts) > 0 && !slices.ContainsFunc(serviceHosts, within) {
			errs = append(errs, invalid(path.Child("hosts").Index(i), h, "is none of the service's `hosts` and covered by none of them"))
		}
	}
	for i := range r.Matches {
		errs = append(errs, checkMatch(&r.Matches[i], path.Child("matches").Index(i))...)
	}
	for i := range r.Filters {
		errs = append(errs, checkFilter(&r.Filters[i], path.Child("filters").Index(i), r, from)...)
	}
	errs = append(errs, checkFilters(path.Child("filters"), r)...)
	errs = append(errs, checkHealthCheck(r.HealthCheck, path.Child("healthCheck"))...)
	errs = append(errs, checkRetry(r.Retry, path.Child("retry"))...)
	errs = append(errs, checkPolicies(path, &policies{
		balancing: r.LoadBalancing, access: r.Access, auth: r.Auth, limits: r.RateLimits,
	}, from)...)
	if len(r.Backends) == 0 {
		if r.HealthCheck != nil {
			errs = append(errs, invalid(path.Child("healthCheck"), "", "needs `backends` of the route's own"))
		}
		if r.CircuitBreaker != nil {
			errs = append(errs, invalid(path.Child("circuitBreaker"), "", "needs `backends` of the route's own"))
		}
	}
	if l := r.Limits; l != nil && (l.MaxConnections != nil || l.MaxRequests != nil) {
		errs = append(errs, invalid(path.Child("limits"), "", "may only hold `maxBodyBytes`: the others are the service's"))
	}
	return append(errs, checkBackends(path.Child("backends"), r.Backends, false, map[string]bool{}, from)...)
}

func checkMatch(m *v1alpha1.Match, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if m.Path != nil {
		errs = append(errs, checkPathMatch(m.Path, path.Child("path"))...)
	}
	errs = append(errs, checkValueMatches(path.Child("headers"), m.Headers, true)...)
	errs = append(errs, checkValueMatches(path.Child("query"), m.Query, false)...)
	seen := map[string]bool{}
	for i, name := range m.Methods {
		if detail := syntax.CheckMethod(name); detail != "" {
			errs = append(errs, invalid(path.Child("methods").Index(i), name, detail))
		} else if seen[name] {
			errs = append(errs, duplicate(path.Child("methods").Index(i), "method", name))
		}
		seen[name] = true
	}
	return errs
}

func checkPathMatch(p *v1alpha1.PathMatch, path *field.Path) field.ErrorList {
	if p.Value == nil {
		return field.ErrorList{field.Required(path.Child("value"), "must be set")}
	}
	check := syntax.CheckPath
	if p.Type != nil && *p.Type == v1alpha1.PathMatchRegex {
		check = syntax.CheckRegex
	}
	if detail := check(*p.Value); detail != "" {
		return field.ErrorList{invalid(path.Child("value"), *p.Value, detail)}
	}
	return nil
}

func checkValueMatches(path *field.Path, list []v1alpha1.ValueMatch, header bool) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, m := range list {
		at := path.Index(i)
		key := m.Name
		if header {
			key = strings.ToLower(key)
		}
		switch {
		case m.Name == "": // missing, and reported as such
		case header && !syntax.Token(m.Name):
			errs = append(errs, invalid(at.Child("name"), m.Name, "must be the name of a header field: letters, digits and !#$%&'*+-.^_`|~"))
		case header && key == "host":
			errs = append(errs, invalid(at.Child("name"), m.Name, "is matched by `hosts`"))
		case seen[key]:
			errs = append(errs, duplicate(at.Child("name"), "condition on", m.Name))
		}
		seen[key] = true
		if m.Value != nil && m.Type != nil && *m.Type == v1alpha1.ValueMatchRegex {
			if detail := syntax.CheckSecretRegex(*m.Value); detail != "" {
				errs = append(errs, invalid(at.Child("value"), *m.Value, detail))
			}
		}
	}
	return errs
}

func checkHeaderFilter(h *v1alpha1.HeaderFilter, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(h.Set)+len(h.Add)+len(h.Remove) == 0 {
		errs = append(errs, field.Required(path, "set `set`, `add` or `remove`"))
	}
	named := map[string]bool{}
	for _, part := range []struct {
		name   string
		fields map[string]string
	}{{"set", h.Set}, {"add", h.Add}} {
		seen := map[string]bool{}
		for _, name := range slices.Sorted(maps.Keys(part.fields)) {
			at := path.Child(part.name).Key(name)
			key := strings.ToLower(name)
			if !syntax.Token(name) {
				// Where a space is missing, as in `Authorization:Bearer x`, all of it is the name, which may hold a secret then.
				at = path.Child(part.name)
			}
			if detail := syntax.CheckHeaderName(name); detail != "" {
				errs = append(errs, invalid(at, "", detail))
			} else if seen[key] {
				errs = append(errs, duplicate(at, "header field", name))
			}
			seen[key], named[key] = true, true
			if detail := syntax.CheckHeaderValue(part.fields[name]); detail != "" {
				errs = append(errs, invalid(at, "", detail))
			}
		}
	}
	seen := map[string]bool{}
	for i, name := range h.Remove {
		at, key := path.Child("remove").Index(i), strings.ToLower(name)
		switch detail := syntax.CheckHeaderName(name); {
		case detail != "":
			errs = append(errs, invalid(at, name, detail))
		case seen[key]:
			errs = append(errs, duplicate(at, "header field", name))
		case named[key]:
			errs = append(errs, invalid(at, name, "is set or added by the same filter; `set` alone replaces it"))
		}
		seen[key] = true
	}
	return errs
}

func checkRewrite(f *v1alpha1.RewriteFilter, path *field.Path, r *v1alpha1.Route) field.ErrorList {
	var errs field.ErrorList
	switch {
	case f.ReplacePrefix == nil && f.Path == nil && f.Host == nil && f.Regex == nil:
		errs = append(errs, field.Required(path, "set `replacePrefix`, `path`, `regex` or `host`"))
	case f.ReplacePrefix != nil && f.Path != nil:
		errs = append(errs, invalid(path.Child("path"), *f.Path, "may not be set together with `replacePrefix`"))
	case f.Regex != nil && (f.ReplacePrefix != nil || f.Path != nil):
		errs = append(errs, invalid(path.Child("regex"), "", "may not be set together with `replacePrefix` or `path`"))
	}
	if f.Regex != nil && f.Regex.Pattern != "" {
		detail := syntax.CheckRegex(f.Regex.Pattern)
		at := path.Child("regex").Child("pattern")
		if detail == "" {
			at = path.Child("regex").Child("substitution")
			detail = syntax.CheckGroups(f.Regex.Substitution, true, []string{f.Regex.Pattern})
		}
		if detail != "" {
			errs = append(errs, invalid(at, f.Regex.Pattern, detail))
		}
	}
	if f.ReplacePrefix != nil {
		at := path.Child("replacePrefix")
		if detail := syntax.CheckPath(*f.ReplacePrefix); detail != "" {
			errs = append(errs, invalid(at, *f.ReplacePrefix, detail))
		}
		if !pathsAre(r, v1alpha1.PathMatchPrefix) {
			errs = append(errs, invalid(at, *f.ReplacePrefix, "needs every path match of the route to be of type `Prefix`"))
		}
	}
	if f.Path != nil {
		detail := syntax.CheckPath(*f.Path)
		if detail == "" {
			detail = checkGroups(r, *f.Path)
		}
		if detail != "" {
			errs = append(errs, invalid(path.Child("path"), *f.Path, detail))
		}
	}
	if f.Host != nil {
		if detail := syntax.CheckAuthority(*f.Host); detail != "" {
			errs = append(errs, invalid(path.Child("host"), *f.Host, detail))
		}
	}
	return errs
}

// pathsAre says whether all path conditions are of one type; where there is none, it is the prefix "/".
func pathsAre(r *v1alpha1.Route, t v1alpha1.PathMatchType) bool {
	for _, m := range r.Matches {
		if m.Path == nil || m.Path.Type == nil {
			if t != v1alpha1.PathMatchPrefix {
				return false
			}
		} else if *m.Path.Type != t {
			return false
		}
	}
	return t == v1alpha1.PathMatchPrefix || len(r.Matches) > 0
}

func checkRedirect(f *v1alpha1.RedirectFilter, path *field.Path, r *v1alpha1.Route) field.ErrorList {
	var errs field.ErrorList
	if f.Scheme == nil && f.Host == nil && f.Port == nil && f.Path == nil {
		errs = append(errs, field.Required(path, "set `scheme`, `host`, `port` or `path`: the location would be the request's own"))
	}
	if f.Host != nil {
		if _, _, err := net.SplitHostPort(*f.Host); err == nil || syntax.CheckAuthority(*f.Host) != "" {
			errs = append(errs, invalid(path.Child("host"), *f.Host, "must be a host without a port, such as `www.example.com`"))
		}
	}
	if f.Path != nil {
		detail := syntax.CheckTarget(*f.Path)
		if detail == "" {
			detail = checkGroups(r, *f.Path)
		}
		if detail != "" {
			errs = append(errs, invalid(path.Child("path"), *f.Path, detail))
		}
	}
	return errs
}

// checkGroups says what is wrong with the references to groups of the route's regular expressions in a path.
func checkGroups(r *v1alpha1.Route, template string) string {
	regex := pathsAre(r, v1alpha1.PathMatchRegex)
	var patterns []string
	for i := range r.Matches {
		if regex {
			patterns = append(patterns, deref(r.Matches[i].Path.Value))
		}
	}
	return syntax.CheckGroups(template, regex, patterns)
}
