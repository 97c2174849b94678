package v1alpha1

import (
	"maps"
	"net"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pingora-proxy/pingora-proxy/api/syntax"
)

func (r *Route) redirects() int {
	n := 0
	for _, f := range r.Filters {
		if f.Redirect != nil {
			n++
		}
	}
	return n
}

func (r *Route) validate(path *field.Path, serviceHosts []string, from Origin) field.ErrorList {
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
		errs = append(errs, r.Matches[i].validate(path.Child("matches").Index(i))...)
	}
	for i := range r.Filters {
		errs = append(errs, r.Filters[i].validate(path.Child("filters").Index(i), r)...)
	}
	if r.redirects() > 1 {
		errs = append(errs, invalid(path.Child("filters"), "", "must hold at most one redirect"))
	}
	return append(errs, checkBackends(path.Child("backends"), r.Backends, false, map[string]bool{}, from)...)
}

func (m *Match) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if m.Path != nil {
		errs = append(errs, m.Path.validate(path.Child("path"))...)
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

func (p *PathMatch) validate(path *field.Path) field.ErrorList {
	if p.Value == nil {
		return field.ErrorList{field.Required(path.Child("value"), "must be set")}
	}
	check := syntax.CheckPath
	if p.Type != nil && *p.Type == PathMatchRegex {
		check = syntax.CheckRegex
	}
	if detail := check(*p.Value); detail != "" {
		return field.ErrorList{invalid(path.Child("value"), *p.Value, detail)}
	}
	return nil
}

func checkValueMatches(path *field.Path, list []ValueMatch, header bool) field.ErrorList {
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
		if m.Value != nil && m.Type != nil && *m.Type == ValueMatchRegex {
			if detail := syntax.CheckRegex(*m.Value); detail != "" {
				errs = append(errs, invalid(at.Child("value"), *m.Value, detail))
			}
		}
	}
	return errs
}

func (f *Filter) validate(path *field.Path, r *Route) field.ErrorList {
	var errs field.ErrorList
	n := 0
	if f.RequestHeaders != nil {
		n++
		errs = append(errs, f.RequestHeaders.validate(path.Child("requestHeaders"))...)
	}
	if f.ResponseHeaders != nil {
		n++
		errs = append(errs, f.ResponseHeaders.validate(path.Child("responseHeaders"))...)
	}
	if f.Rewrite != nil {
		n++
		errs = append(errs, f.Rewrite.validate(path.Child("rewrite"), r)...)
	}
	if f.Redirect != nil {
		n++
		errs = append(errs, f.Redirect.validate(path.Child("redirect"), r)...)
	}
	if n == 0 {
		errs = append(errs, field.Required(path, "exactly one filter must be set per list entry"))
	} else if n > 1 {
		errs = field.ErrorList{invalid(path, n, "exactly one filter must be set per list entry")}
	}
	return errs
}

func (h *HeaderFilter) validate(path *field.Path) field.ErrorList {
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
			if detail := syntax.CheckHeaderName(name); detail != "" {
				errs = append(errs, invalid(at, name, detail))
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

func (f *RewriteFilter) validate(path *field.Path, r *Route) field.ErrorList {
	var errs field.ErrorList
	switch {
	case f.ReplacePrefix == nil && f.Path == nil && f.Host == nil:
		errs = append(errs, field.Required(path, "set `replacePrefix`, `path` or `host`"))
	case f.ReplacePrefix != nil && f.Path != nil:
		errs = append(errs, invalid(path.Child("path"), *f.Path, "may not be set together with `replacePrefix`"))
	}
	if f.ReplacePrefix != nil {
		at := path.Child("replacePrefix")
		if detail := syntax.CheckPath(*f.ReplacePrefix); detail != "" {
			errs = append(errs, invalid(at, *f.ReplacePrefix, detail))
		}
		if !r.pathsAre(PathMatchPrefix) {
			errs = append(errs, invalid(at, *f.ReplacePrefix, "needs every path match of the route to be of type `Prefix`"))
		}
	}
	if f.Path != nil {
		detail := syntax.CheckPath(*f.Path)
		if detail == "" {
			detail = r.checkGroups(*f.Path)
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
func (r *Route) pathsAre(t PathMatchType) bool {
	for _, m := range r.Matches {
		if m.Path == nil || m.Path.Type == nil {
			if t != PathMatchPrefix {
				return false
			}
		} else if *m.Path.Type != t {
			return false
		}
	}
	return t == PathMatchPrefix || len(r.Matches) > 0
}

func (f *RedirectFilter) validate(path *field.Path, r *Route) field.ErrorList {
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
			detail = r.checkGroups(*f.Path)
		}
		if detail != "" {
			errs = append(errs, invalid(path.Child("path"), *f.Path, detail))
		}
	}
	return errs
}

// checkGroups says what is wrong with the references to groups of the route's regular expressions in a path.
func (r *Route) checkGroups(template string) string {
	regex := r.pathsAre(PathMatchRegex)
	var patterns []string
	for i := range r.Matches {
		if regex {
			patterns = append(patterns, deref(r.Matches[i].Path.Value))
		}
	}
	return syntax.CheckGroups(template, regex, patterns)
}
