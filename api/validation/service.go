package validation

import (
	"cmp"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pingora-proxy/pingora-proxy/api/settings"
	"github.com/pingora-proxy/pingora-proxy/api/syntax"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
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

// Globals lists everything that is wrong with the globals, once SetDefaults has run.
func Globals(g *settings.Globals, path *field.Path) field.ErrorList {
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
	errs = append(errs, checkTracing(child(path, "tracing"), &g.Tracing)...)
	errs = append(errs, checkStore(child(path, "rateLimitStore"), &g.RateLimitStore)...)
	l := g.Limits
	if l.MaxRequestLineBytes != nil && l.MaxHeaderBytes != nil && *l.MaxRequestLineBytes > *l.MaxHeaderBytes {
		errs = append(errs, invalid(child(path, "limits").Child("maxRequestLineBytes"), *l.MaxRequestLineBytes,
			fmt.Sprintf("must be less than or equal to the bytes of a whole head, %d", *l.MaxHeaderBytes)))
	}
	return errs
}

func bindOrOff(path *field.Path, s *string) (netip.AddrPort, field.ErrorList) {
	if s == nil || *s == v1alpha1.Off {
		return netip.AddrPort{}, nil
	}
	a, err := syntax.ParseBindAddress(*s)
	if err != nil {
		return a, field.ErrorList{invalid(path, *s, err.Error()+"; `off` turns it off")}
	}
	return a, nil
}

// Service lists everything that is wrong with a service, once SetDefaults has run.
func Service(s *v1alpha1.ProxyServiceSpec, path *field.Path, from v1alpha1.Origin) field.ErrorList {
	errs := checkBounds(path, reflect.ValueOf(*s))
	errs = append(errs, checkName(child(path, "name"), s.Name)...)
	errs = append(errs, checkBindAddress(s, child(path, "bindAddress"), from)...)
	errs = append(errs, checkHosts(child(path, "hosts"), s.Hosts)...)
	if c := s.ClassName; c != nil {
		if from == v1alpha1.FromFile {
			errs = append(errs, field.Forbidden(child(path, "className"), "is only allowed in a custom resource"))
		} else {
			errs = append(errs, checkName(child(path, "className"), *c)...)
		}
	}
	errs = append(errs, checkTLS(s, path, from)...)
	errs = append(errs, checkUpstreams(s, path, from)...)
	errs = append(errs, checkHealthCheck(s.HealthCheck, child(path, "healthCheck"))...)
	errs = append(errs, checkRetry(s.Retry, child(path, "retry"))...)
	if c := s.ClientIP; c != nil {
		at := child(path, "clientIP")
		errs = append(errs, checkNetworks(at.Child("trustedProxies"), c.TrustedProxies)...)
		if deref(c.ProxyProtocol) && len(c.TrustedProxies) == 0 {
			errs = append(errs, field.Required(at.Child("trustedProxies"), "must be set when `proxyProtocol` is: nobody else's header is believed"))
		}
	}
	errs = append(errs, checkProtocol(path, s)...)
	errs = append(errs, checkUpstreamTLS(path, s, from)...)
	errs = append(errs, checkPolicies(path, &policies{
		balancing: s.LoadBalancing, access: s.Access, auth: s.Auth, limits: s.RateLimits,
	}, from)...)
	errs = append(errs, checkSigning(child(path, "requestSigning"), s.RequestSigning)...)
	errs = append(errs, checkSanitize(child(path, "sanitize"), s.Sanitize)...)
	v1alpha1.References(s, func(at string, r *v1alpha1.Reference) {
		errs = append(errs, checkReference(child(path, at), r, from)...)
	})
	if p := s.HealthPath; p != nil && *p != v1alpha1.Off {
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
		errs = append(errs, checkRoute(&s.Routes[i], at, s.Hosts, from)...)
	}
	if from == v1alpha1.FromCluster {
		errs = append(errs, checkWork(s, child(path, "routes"))...)
	}
	return errs
}

// What one object of a cluster may make of the others' time: every change compiles all of it, and a request may meet
// each of its expressions.
const (
	maxRegexWork  = 20000 // instructions of all regular expressions
	maxConditions = 16384 // matches, once for each host
)

func checkWork(s *v1alpha1.ProxyServiceSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	work, conditions := 0, 0
	for i := range s.Routes {
		r := &s.Routes[i]
		conditions += max(1, cmp.Or(len(r.Hosts), len(s.Hosts))) * max(1, len(r.Matches))
		for _, f := range r.Filters {
			if f.Rewrite != nil && f.Rewrite.Regex != nil {
				work += syntax.RegexWork(f.Rewrite.Regex.Pattern)
			}
		}
		for _, m := range r.Matches {
			if m.Path != nil && deref(m.Path.Type) == v1alpha1.PathMatchRegex {
				work += syntax.RegexWork(deref(m.Path.Value))
			}
			for _, v := range slices.Concat(m.Headers, m.Query) {
				if deref(v.Type) == v1alpha1.ValueMatchRegex {
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

func checkBindAddress(s *v1alpha1.ProxyServiceSpec, path *field.Path, from v1alpha1.Origin) field.ErrorList {
	if s.BindAddress == "" {
		return nil // missing, and reported as such
	}
	a, err := syntax.ParseBindAddress(s.BindAddress)
	if err != nil {
		return field.ErrorList{invalid(path, s.BindAddress, err.Error())}
	}
	if a.Port() == 0 && from == v1alpha1.FromCluster {
		return field.ErrorList{invalid(path, s.BindAddress, "port must be between 1 and 65535")}
	}
	return nil
}

func checkUpstreams(s *v1alpha1.ProxyServiceSpec, path *field.Path, from v1alpha1.Origin) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, u := range s.Upstreams {
		errs = append(errs, checkAddress(child(path, "upstreams").Index(i), u, "upstream", seen)...)
	}
	errs = append(errs, checkBackends(child(path, "backends"), s.Backends, len(s.Upstreams) > 0, seen, from)...)
	if len(s.Upstreams) == 0 && len(s.Backends) == 0 {
		complete := len(s.Routes) > 0
		for _, r := range s.Routes {
			complete = complete && (len(r.Backends) > 0 || answers(&r))
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

func checkHealthCheck(h *v1alpha1.HealthCheck, path *field.Path) field.ErrorList {
	if h == nil {
		return nil
	}
	var errs field.ErrorList
	kind := deref(h.Type)
	if h.Path != nil {
		if kind != v1alpha1.HealthCheckHTTP {
			errs = append(errs, invalid(path.Child("path"), *h.Path, "may only be set when `type` is 'HTTP'"))
		} else if detail := syntax.CheckTarget(*h.Path); detail != "" {
			errs = append(errs, invalid(path.Child("path"), *h.Path, detail))
		}
	}
	if h.Service != nil && kind != v1alpha1.HealthCheckGRPC {
		errs = append(errs, invalid(path.Child("service"), *h.Service, "may only be set when `type` is 'GRPC'"))
	}
	return errs
}

func checkRetry(r *v1alpha1.Retry, path *field.Path) field.ErrorList {
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
