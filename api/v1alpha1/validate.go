package v1alpha1

import (
	"cmp"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pingora-proxy/pingora-proxy/api/syntax"
)

func invalid(path *field.Path, value any, detail string) *field.Error {
	return field.Invalid(path, value, detail)
}

func duplicate(path *field.Path, what, value string) *field.Error {
	e := field.Duplicate(path, value)
	e.Detail = fmt.Sprintf("duplicate %s `%s`", what, value)
	return e
}

func child(path *field.Path, name string) *field.Path {
	if path == nil {
		return field.NewPath(name)
	}
	return path.Child(name)
}

// Validate lists everything that is wrong with the globals, once SetDefaults has run.
func (g *Globals) Validate(path *field.Path) field.ErrorList {
	errs := checkBounds(path, reflect.ValueOf(*g))
	adminPath := child(path, "admin").Child("bindAddress")
	admin, err := bindOrOff(adminPath, g.Admin.BindAddress)
	errs = append(errs, err...)
	metricsPath := child(path, "metrics").Child("bindAddress")
	metrics, err := bindOrOff(metricsPath, g.Metrics.BindAddress)
	errs = append(errs, err...)
	if admin.IsValid() && metrics.IsValid() && syntax.Overlap(admin, metrics) {
		errs = append(errs, invalid(metricsPath, *g.Metrics.BindAddress, "is taken by the admin API already; choose another port"))
	}
	if p := g.AccessLog.Path; p != nil && (*p == "" || strings.ContainsRune(*p, 0)) {
		errs = append(errs, invalid(child(path, "accessLog").Child("path"), *p, "must be `stdout`, `stderr`, `off` or a file"))
	}
	l := g.Limits
	if l.MaxRequestLineBytes != nil && l.MaxHeaderBytes != nil && *l.MaxRequestLineBytes > *l.MaxHeaderBytes {
		errs = append(errs, invalid(child(path, "limits").Child("maxRequestLineBytes"), *l.MaxRequestLineBytes,
			fmt.Sprintf("must be less than or equal to the bytes of a whole head, %d", *l.MaxHeaderBytes)))
	}
	return errs
}

func bindOrOff(path *field.Path, s *string) (netip.AddrPort, field.ErrorList) {
	if s == nil || *s == Off {
		return netip.AddrPort{}, nil
	}
	a, err := syntax.ParseBindAddress(*s)
	if err != nil {
		return a, field.ErrorList{invalid(path, *s, err.Error()+"; `off` turns it off")}
	}
	return a, nil
}

// Validate lists everything that is wrong with a service, once SetDefaults has run.
func (s *ProxyServiceSpec) Validate(path *field.Path, from Origin) field.ErrorList {
	errs := checkBounds(path, reflect.ValueOf(*s))
	errs = append(errs, checkName(child(path, "name"), s.Name)...)
	errs = append(errs, s.checkBindAddress(child(path, "bindAddress"), from)...)
	errs = append(errs, checkHosts(child(path, "hosts"), s.Hosts)...)
	if c := s.ClassName; c != nil {
		if from == FromFile {
			errs = append(errs, field.Forbidden(child(path, "className"), "is only allowed in a custom resource"))
		} else {
			errs = append(errs, checkName(child(path, "className"), *c)...)
		}
	}
	errs = append(errs, s.checkTLS(path, from)...)
	errs = append(errs, s.checkUpstreams(path, from)...)
	errs = append(errs, s.HealthCheck.validate(child(path, "healthCheck"))...)
	errs = append(errs, s.Retry.validate(child(path, "retry"))...)
	if s.ClientIP != nil {
		at := child(path, "clientIP").Child("trustedProxies")
		for i, n := range s.ClientIP.TrustedProxies {
			if _, err := syntax.ParseNetwork(n); err != nil {
				errs = append(errs, invalid(at.Index(i), n, err.Error()))
			}
		}
	}
	if p := s.HealthPath; p != nil && *p != Off {
		if detail := syntax.CheckPath(*p); detail != "" {
			errs = append(errs, invalid(child(path, "healthPath"), *p, detail+"; `off` turns it off"))
		}
	}
	names := map[string]bool{}
	for i := range s.Routes {
		at := child(path, "routes").Index(i)
		if name := s.Routes[i].Name; name != "" && names[name] {
			errs = append(errs, duplicate(at.Child("name"), "route name", name))
		} else {
			names[name] = true
		}
		errs = append(errs, s.Routes[i].validate(at, s.Hosts, from)...)
	}
	if from == FromCluster {
		errs = append(errs, s.checkWork(child(path, "routes"))...)
	}
	return errs
}

// What one object of a cluster may make of the others' time: every change compiles all of it, and a request may meet
// each of its expressions.
const (
	maxRegexWork  = 20000 // instructions of all regular expressions
	maxConditions = 16384 // matches, once for each host
)

func (s *ProxyServiceSpec) checkWork(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	work, conditions := 0, 0
	for i := range s.Routes {
		r := &s.Routes[i]
		conditions += max(1, cmp.Or(len(r.Hosts), len(s.Hosts))) * max(1, len(r.Matches))
		for _, m := range r.Matches {
			if m.Path != nil && deref(m.Path.Type) == PathMatchRegex {
				work += syntax.RegexWork(deref(m.Path.Value))
			}
			for _, v := range slices.Concat(m.Headers, m.Query) {
				if deref(v.Type) == ValueMatchRegex {
					work += syntax.RegexWork(deref(v.Value))
				}
			}
		}
	}
	if work > maxRegexWork {
		errs = append(errs, invalid(path, work, fmt.Sprintf("must have regular expressions of at most %d instructions together, has %d", maxRegexWork, work)))
	}
	if conditions > maxConditions {
		errs = append(errs, invalid(path, conditions, fmt.Sprintf("must have at most %d matches, each counted for every host, has %d", maxConditions, conditions)))
	}
	return errs
}

func (s *ProxyServiceSpec) checkBindAddress(path *field.Path, from Origin) field.ErrorList {
	if s.BindAddress == "" {
		return nil // missing, and reported as such
	}
	a, err := syntax.ParseBindAddress(s.BindAddress)
	if err != nil {
		return field.ErrorList{invalid(path, s.BindAddress, err.Error())}
	}
	if a.Port() == 0 && from == FromCluster {
		return field.ErrorList{invalid(path, s.BindAddress, "port must be between 1 and 65535")}
	}
	return nil
}

func (s *ProxyServiceSpec) checkUpstreams(path *field.Path, from Origin) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, u := range s.Upstreams {
		errs = append(errs, checkAddress(child(path, "upstreams").Index(i), u, "upstream", seen)...)
	}
	errs = append(errs, checkBackends(child(path, "backends"), s.Backends, len(s.Upstreams) > 0, seen, from)...)
	if len(s.Upstreams) == 0 && len(s.Backends) == 0 {
		complete := len(s.Routes) > 0
		for _, r := range s.Routes {
			complete = complete && (len(r.Backends) > 0 || r.redirects() > 0)
		}
		if !complete {
			errs = append(errs, field.Required(path, "set `upstreams` or `backends`, or give every route its own backends or a redirect"))
		}
	}
	return errs
}

func checkAddress(path *field.Path, address, what string, seen map[string]bool) field.ErrorList {
	host, port, err := syntax.SplitAddress(address)
	if err != nil {
		return field.ErrorList{invalid(path, address, err.Error())}
	}
	key := fmt.Sprintf("%s|%d", host, port)
	if seen[key] {
		return field.ErrorList{duplicate(path, what, address)}
	}
	seen[key] = true
	return nil
}

func checkName(path *field.Path, name string) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, "must be set")}
	}
	if detail := syntax.CheckName(name); detail != "" {
		return field.ErrorList{invalid(path, name, detail)}
	}
	return nil
}

func checkHosts(path *field.Path, hosts []string) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, h := range hosts {
		key := strings.ToLower(h)
		if detail := syntax.CheckHost(h); detail != "" {
			errs = append(errs, invalid(path.Index(i), h, detail))
		} else if seen[key] {
			errs = append(errs, duplicate(path.Index(i), "host", h))
		}
		seen[key] = true
	}
	return errs
}

func (h *HealthCheck) validate(path *field.Path) field.ErrorList {
	if h == nil || h.Path == nil {
		return nil
	}
	if h.Type == nil || *h.Type != HealthCheckHTTP {
		return field.ErrorList{invalid(path.Child("path"), *h.Path, "may only be set when `type` is 'HTTP'")}
	}
	if detail := syntax.CheckTarget(*h.Path); detail != "" {
		return field.ErrorList{invalid(path.Child("path"), *h.Path, detail)}
	}
	return nil
}

func (r *Retry) validate(path *field.Path) field.ErrorList {
	if r == nil {
		return nil
	}
	var errs field.ErrorList
	seen := map[int32]bool{}
	for i, c := range r.Codes {
		if seen[c] {
			errs = append(errs, duplicate(path.Child("codes").Index(i), "code", fmt.Sprint(c)))
		}
		seen[c] = true
	}
	return errs
}
