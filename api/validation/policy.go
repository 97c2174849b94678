package validation

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pingora-proxy/pingora-proxy/api/settings"
	"github.com/pingora-proxy/pingora-proxy/api/syntax"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
)

// policies are what services and routes have alike.
type policies struct {
	balancing *v1alpha1.LoadBalancing
	access    *v1alpha1.Access
	auth      *v1alpha1.Auth
	limits    []v1alpha1.RateLimit
}

func checkPolicies(path *field.Path, p *policies, from v1alpha1.Origin) field.ErrorList {
	errs := checkBalancing(child(path, "loadBalancing"), p.balancing)
	if a := p.access; a != nil {
		at := child(path, "access")
		errs = append(errs, checkNetworks(at.Child("allow"), a.Allow)...)
		errs = append(errs, checkNetworks(at.Child("deny"), a.Deny)...)
		if len(a.Allow)+len(a.Deny) == 0 {
			errs = append(errs, field.Required(at, "set `allow` or `deny`"))
		}
	}
	errs = append(errs, checkAuth(child(path, "auth"), p.auth, from)...)
	return append(errs, checkRateLimits(child(path, "rateLimits"), p.limits)...)
}

func checkNetworks(path *field.Path, list []string) field.ErrorList {
	var errs field.ErrorList
	for i, n := range list {
		if _, err := syntax.ParseNetwork(n); err != nil {
			errs = append(errs, invalid(path.Index(i), n, err.Error()))
		}
	}
	return errs
}

func checkHeaderNames(path *field.Path, list []string) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, name := range list {
		key := strings.ToLower(name)
		if detail := syntax.CheckHeaderName(name); detail != "" {
			errs = append(errs, invalid(path.Index(i), name, detail))
		} else if seen[key] {
			errs = append(errs, duplicate(path.Index(i), "header field", name))
		}
		seen[key] = true
	}
	return errs
}

func checkHeaderName(path *field.Path, name *string) field.ErrorList {
	if name == nil {
		return nil
	}
	if detail := syntax.CheckHeaderName(*name); detail != "" {
		return field.ErrorList{invalid(path, *name, detail)}
	}
	return nil
}

func checkCookieName(path *field.Path, name *string) field.ErrorList {
	if name != nil && !syntax.Token(*name) {
		return field.ErrorList{invalid(path, *name, "must be the name of a cookie: letters, digits and !#$%&'*+-.^_`|~")}
	}
	return nil
}

func checkBalancing(path *field.Path, l *v1alpha1.LoadBalancing) field.ErrorList {
	if l == nil {
		return nil
	}
	var errs field.ErrorList
	if h := l.HashOn; h != nil {
		at := path.Child("hashOn")
		kind := deref(h.Type)
		named := kind == v1alpha1.HashHeader || kind == v1alpha1.HashCookie
		switch {
		case deref(l.Algorithm) != v1alpha1.AlgorithmConsistentHash:
			errs = append(errs, invalid(at, "", "may only be set when `algorithm` is 'ConsistentHash'"))
		case h.Type != nil && named != (h.Name != nil):
			errs = append(errs, invalid(at, "", "`name` is for the types `Header` and `Cookie`, and must be set there"))
		case kind == v1alpha1.HashHeader:
			errs = append(errs, checkHeaderName(at.Child("name"), h.Name)...)
		case kind == v1alpha1.HashCookie:
			errs = append(errs, checkCookieName(at.Child("name"), h.Name)...)
		}
	}
	if l.Sticky != nil {
		errs = append(errs, checkCookieName(path.Child("sticky").Child("cookieName"), l.Sticky.CookieName)...)
	}
	return errs
}

func checkOverride(path *field.Path, o *v1alpha1.BackendOverride) field.ErrorList {
	if o == nil {
		return nil
	}
	var errs field.ErrorList
	if (o.Header != nil) == (o.Cookie != nil) {
		errs = append(errs, invalid(path, "", "exactly one of `header` or `cookie` must be set"))
	}
	errs = append(errs, checkHeaderName(path.Child("header"), o.Header)...)
	errs = append(errs, checkCookieName(path.Child("cookie"), o.Cookie)...)
	if detail := syntax.CheckHeaderValue(o.Value); detail != "" {
		errs = append(errs, invalid(path.Child("value"), "", detail))
	}
	return errs
}

func checkRateLimits(path *field.Path, list []v1alpha1.RateLimit) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i := range list {
		l, at := &list[i], path.Index(i)
		if l.Name != "" {
			if seen[l.Name] {
				errs = append(errs, duplicate(at.Child("name"), "limit name", l.Name))
			} else {
				errs = append(errs, checkName(at.Child("name"), l.Name)...)
			}
			seen[l.Name] = true
		}
		key := deref(l.Key)
		named := key == v1alpha1.LimitHeader || key == v1alpha1.LimitCookie || key == v1alpha1.LimitJWTClaim
		switch {
		case named != (l.KeyName != nil):
			errs = append(errs, invalid(at, "", "`keyName` is for the keys `Header`, `Cookie` and `JWTClaim`, and must be set there"))
		case key == v1alpha1.LimitHeader:
			errs = append(errs, checkHeaderName(at.Child("keyName"), l.KeyName)...)
		case key == v1alpha1.LimitCookie:
			errs = append(errs, checkCookieName(at.Child("keyName"), l.KeyName)...)
		}
	}
	return errs
}

func checkSigning(path *field.Path, s *v1alpha1.RequestSigning) field.ErrorList {
	if s == nil {
		return nil
	}
	var errs field.ErrorList
	if detail := syntax.CheckHeaderValue(s.KeyID); detail != "" || strings.ContainsAny(s.KeyID, "\"\\") {
		errs = append(errs, invalid(path.Child("keyID"), s.KeyID, "must be printable, without quotation marks and backslashes"))
	}
	seen := map[string]bool{}
	for i, c := range s.Components {
		at := path.Child("components").Index(i)
		derived := []string{"@method", "@authority", "@scheme", "@target-uri", "@request-target", "@path", "@query"}
		switch {
		case seen[c]:
			errs = append(errs, duplicate(at, "component", c))
		case strings.HasPrefix(c, "@") && !slices.Contains(derived, c):
			errs = append(errs, invalid(at, c, "must be one of `"+strings.Join(derived, "`, `")+"`, or the name of a header field"))
		case !strings.HasPrefix(c, "@") && (!syntax.Token(c) || c != strings.ToLower(c)):
			errs = append(errs, invalid(at, c, "must be the name of a header field in lower case"))
		}
		seen[c] = true
	}
	return errs
}

func checkSanitize(path *field.Path, s *v1alpha1.Sanitize) field.ErrorList {
	if s == nil {
		return nil
	}
	errs := checkHeaderNames(path.Child("requestHeaders"), s.RequestHeaders)
	errs = append(errs, checkHeaderNames(path.Child("keepRequestHeaders"), s.KeepRequestHeaders)...)
	return append(errs, checkHeaderNames(path.Child("responseHeaders"), s.ResponseHeaders)...)
}

// checkProtocol compares the settings of a TCP service with what such a one can have.
func checkProtocol(path *field.Path, s *v1alpha1.ProxyServiceSpec) field.ErrorList {
	if deref(s.Protocol) != v1alpha1.ProtocolTCP {
		return nil
	}
	var errs field.ErrorList
	if len(s.Routes) > 0 {
		errs = append(errs, invalid(child(path, "routes"), "", "`routes` may only be set when `protocol` is 'HTTP'"))
	}
	if s.Auth != nil || len(s.RateLimits) > 0 || s.RequestSigning != nil || s.Retry != nil || s.Sanitize != nil {
		errs = append(errs, invalid(child(path, "protocol"), *s.Protocol,
			"`auth`, `rateLimits`, `requestSigning`, `retry` and `sanitize` may only be set when `protocol` is 'HTTP'"))
	}
	if len(s.Hosts) > 0 && !deref(s.TLS) {
		errs = append(errs, invalid(child(path, "hosts"), "", "of a TCP service need `tls`: nothing else tells which host a client wants"))
	}
	if l := s.LoadBalancing; l != nil {
		if l.Sticky != nil || l.HashOn != nil && deref(l.HashOn.Type) != v1alpha1.HashClientIP {
			errs = append(errs, invalid(child(path, "loadBalancing"), "", "a TCP service knows the client's address alone: no `sticky`, and no other key of `hashOn`"))
		}
	}
	if p := s.HealthPath; p != nil && *p != v1alpha1.Off {
		errs = append(errs, invalid(child(path, "healthPath"), *p, "may only be set when `protocol` is 'HTTP'"))
	}
	return errs
}

func checkTracing(path *field.Path, t *settings.Tracing) field.ErrorList {
	var errs field.ErrorList
	if t.OTLPEndpoint != nil {
		u, err := url.Parse(*t.OTLPEndpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			errs = append(errs, invalid(path.Child("otlpEndpoint"), "", "must be a URL such as `http://otel:4317`, without a user and without parameters"))
		}
	}
	seen := map[settings.Propagation]bool{}
	for i, p := range t.Propagation {
		if seen[p] {
			errs = append(errs, duplicate(path.Child("propagation").Index(i), "format", string(p)))
		}
		seen[p] = true
	}
	return append(errs, checkGlobalReference(path.Child("caRef"), t.CARef)...)
}

func checkStore(path *field.Path, r *settings.RateLimitStore) field.ErrorList {
	var errs field.ErrorList
	if r.RedisURL != nil {
		u, err := url.Parse(*r.RedisURL)
		if err != nil || u.Scheme != "redis" && u.Scheme != "rediss" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || !isDatabase(u.Path) {
			errs = append(errs, invalid(path.Child("redisURL"), "", "must be a URL such as `redis://redis:6379/0`, without parameters"))
		} else if _, secret := u.User.Password(); secret {
			errs = append(errs, invalid(path.Child("redisURL"), "", "must hold no password: set `passwordRef`"))
		}
	}
	errs = append(errs, checkGlobalReference(path.Child("passwordRef"), r.PasswordRef)...)
	return append(errs, checkGlobalReference(path.Child("caRef"), r.CARef)...)
}

// isDatabase says whether the path of a URL of Redis is the number of a database, or none.
func isDatabase(path string) bool {
	number := strings.Trim(path, "/")
	_, err := strconv.ParseUint(number, 10, 31)
	return number == "" || err == nil
}

// checkGlobalReference is for the settings of the process, which are a file in a cluster too: Secrets are mounted there.
func checkGlobalReference(path *field.Path, r *v1alpha1.Reference) field.ErrorList {
	if r == nil {
		return nil
	}
	return checkReference(path, r, v1alpha1.FromFile)
}

// sortedKeys are the keys of a map in an order that does not change.
func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
