package validation

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pingora-proxy/pingora-proxy/api/defaults"
	"github.com/pingora-proxy/pingora-proxy/api/settings"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
)

func ptr[T any](v T) *T { return &v }

// good is a service without faults.
func good() *v1alpha1.ProxyServiceSpec {
	return &v1alpha1.ProxyServiceSpec{Name: "a", BindAddress: "0.0.0.0:80", Upstreams: []string{"10.0.0.1:80"}}
}

func sentences(errs field.ErrorList) []string {
	var out []string
	for _, e := range errs {
		out = append(out, e.Field+": "+e.Detail)
	}
	return out
}

func TestServiceSentences(t *testing.T) {
	route := func(r v1alpha1.Route) func(*v1alpha1.ProxyServiceSpec) {
		r.Name = "r"
		return func(s *v1alpha1.ProxyServiceSpec) { s.Routes = []v1alpha1.Route{r} }
	}
	path := func(t v1alpha1.PathMatchType, v string) func(*v1alpha1.ProxyServiceSpec) {
		return route(v1alpha1.Route{Matches: []v1alpha1.Match{{Path: &v1alpha1.PathMatch{Type: &t, Value: &v}}}})
	}
	filter := func(f v1alpha1.Filter) func(*v1alpha1.ProxyServiceSpec) {
		return route(v1alpha1.Route{Filters: []v1alpha1.Filter{f}})
	}
	regexes := func(f v1alpha1.Filter, exprs ...string) func(*v1alpha1.ProxyServiceSpec) {
		r := v1alpha1.Route{Filters: []v1alpha1.Filter{f}}
		for _, e := range exprs {
			r.Matches = append(r.Matches, v1alpha1.Match{Path: &v1alpha1.PathMatch{Type: ptr(v1alpha1.PathMatchRegex), Value: &e}})
		}
		return route(r)
	}
	set := func(name, value string) func(*v1alpha1.ProxyServiceSpec) {
		return filter(v1alpha1.Filter{RequestHeaders: &v1alpha1.HeaderFilter{Set: map[string]string{name: value}}})
	}
	const (
		value   = "spec.routes[0].matches[0].path.value: "
		request = "spec.routes[0].filters[0].requestHeaders"
		rewrite = "spec.routes[0].filters[0].rewrite"
		direct  = "spec.routes[0].filters[0].redirect"
	)
	for name, c := range map[string]struct {
		change func(*v1alpha1.ProxyServiceSpec)
		want   []string
	}{
		"good":          {func(*v1alpha1.ProxyServiceSpec) {}, nil},
		"nothing":       {func(s *v1alpha1.ProxyServiceSpec) { *s = v1alpha1.ProxyServiceSpec{} }, []string{"spec.bindAddress: must be set", "spec.name: must be set", "spec: set `upstreams` or `backends`, or give every route its own backends or a redirect"}},
		"name":          {func(s *v1alpha1.ProxyServiceSpec) { s.Name = "-a" }, []string{"spec.name: must be letters, digits, '-', '_' or '.', and begin and end with a letter or a digit"}},
		"long name":     {func(s *v1alpha1.ProxyServiceSpec) { s.Name = strings.Repeat("a", 254) }, []string{"spec.name: must have at most 253 characters, has 254"}},
		"no port":       {func(s *v1alpha1.ProxyServiceSpec) { s.BindAddress = "0.0.0.0" }, []string{"spec.bindAddress: must be an IP address and a port, such as `0.0.0.0:8080` or `[::1]:8080`"}},
		"port too high": {func(s *v1alpha1.ProxyServiceSpec) { s.BindAddress = ":70000" }, []string{"spec.bindAddress: port must be between 1 and 65535 (0 picks a free one)"}},
		"port by name":  {func(s *v1alpha1.ProxyServiceSpec) { s.BindAddress = ":http" }, []string{"spec.bindAddress: port must be between 1 and 65535 (0 picks a free one)"}},
		"negative port": {func(s *v1alpha1.ProxyServiceSpec) { s.BindAddress = ":-1" }, []string{"spec.bindAddress: port must be between 1 and 65535 (0 picks a free one)"}},
		"localhost":     {func(s *v1alpha1.ProxyServiceSpec) { s.BindAddress = "localhost:80" }, []string{"spec.bindAddress: must be an IP address and a port; did you mean `127.0.0.1:80`?"}},
		"name to bind":  {func(s *v1alpha1.ProxyServiceSpec) { s.BindAddress = "example.com:80" }, []string{"spec.bindAddress: must be an IP address and a port, not a name"}},
		"host": {func(s *v1alpha1.ProxyServiceSpec) {
			s.Hosts = []string{"a..b", "*", "a.*.b", "*.com", "http://a", "a.b:80", "ok.example.com", "*.ok.example.com", "10.0.0.1", "::1", "[10.0.0.1]", "[::1]"}
		}, []string{"spec.hosts[0]: must be a DNS name such as `shop.example.com` or `*.shop.example.com`", "spec.hosts[1]: must be a name; leave `hosts` unset to answer for every host", "spec.hosts[2]: a wildcard must be the whole first label, as in `*.example.com`", "spec.hosts[3]: a wildcard must stand before at least two labels, as in `*.example.com`", "spec.hosts[4]: must be a name without a scheme or a port", "spec.hosts[5]: must be a name without a scheme or a port", "spec.hosts[9]: an IPv6 address must stand in brackets", "spec.hosts[10]: must be an IP address without a zone, and brackets only around IPv6"}},
		"same host": {func(s *v1alpha1.ProxyServiceSpec) { s.Hosts = []string{"a.example.com", "A.example.com"} }, []string{"spec.hosts[1]: duplicate host `A.example.com`"}},
		"TLS":       {func(s *v1alpha1.ProxyServiceSpec) { s.TLSConfig = &v1alpha1.TLSConfig{} }, []string{"spec.tlsConfig: `tls` must be true when `tlsConfig` is set"}},
		"certificate": {func(s *v1alpha1.ProxyServiceSpec) {
			s.TLS, s.TLSConfig = ptr(true), &v1alpha1.TLSConfig{Certificates: []v1alpha1.CertificateSource{{}, {SecretRef: &v1alpha1.SecretReference{Name: "a"}}}}
		}, []string{
			"spec.tlsConfig.certificates[0].certFile: must be set",
			"spec.tlsConfig.certificates[0].keyFile: must be set",
			"spec.tlsConfig.certificates[1].secretRef: is only allowed in a custom resource; set `certFile` and `keyFile`",
		}},
		"class": {func(s *v1alpha1.ProxyServiceSpec) { s.ClassName = ptr("a") }, []string{"spec.className: is only allowed in a custom resource"}},
		"service": {func(s *v1alpha1.ProxyServiceSpec) {
			s.Backends = []v1alpha1.Backend{{Service: &v1alpha1.BackendService{Name: "a", Port: intstr.FromInt32(80)}}}
		}, []string{"spec.backends[0].service: is only allowed in a custom resource; set `address`"}},
		"upstreams": {func(s *v1alpha1.ProxyServiceSpec) {
			s.Upstreams = []string{"http://a:80", "a", "a:0", "a:65536", "256.0.0.1:80", "0.0.0.0:80", "a_b.c:80", "[::1]:80", "A.example.com.:80"}
		}, []string{"spec.upstreams[0]: must be `host:port`, without a scheme", "spec.upstreams[1]: must be `host:port`, such as `10.0.0.9:3002` or `shop.internal:3002`", "spec.upstreams[2]: port must be between 1 and 65535", "spec.upstreams[3]: port must be between 1 and 65535", "spec.upstreams[4]: `256.0.0.1` is neither an IP address nor a DNS name", "spec.upstreams[5]: must be the address of one machine"}},
		"same upstream": {func(s *v1alpha1.ProxyServiceSpec) {
			s.Upstreams = []string{"A:80", "a:80"}
			s.Backends = []v1alpha1.Backend{{Address: "a:80"}}
		}, []string{"spec.upstreams[1]: duplicate upstream `a:80`", "spec.backends[0].address: duplicate backend `a:80`"}},
		"backend": {func(s *v1alpha1.ProxyServiceSpec) {
			s.Backends = []v1alpha1.Backend{{Weight: ptr(int32(-1))}, {Address: "a:1", Role: ptr(v1alpha1.BackendRole("backup"))}}
		}, []string{"spec.backends[0].weight: must be greater than or equal to 0", "spec.backends[1].role: must be one of `Primary`, `Backup`; did you mean `Backup`?", "spec.backends[0].address: must be set"}},
		"only backups": {func(s *v1alpha1.ProxyServiceSpec) {
			s.Upstreams, s.Backends = nil, []v1alpha1.Backend{{Address: "a:1", Role: ptr(v1alpha1.RoleBackup)}}
		}, []string{"spec.backends: at least one backend must be `Primary`"}},
		"no weight": {func(s *v1alpha1.ProxyServiceSpec) {
			s.Upstreams, s.Backends = nil, []v1alpha1.Backend{{Address: "a:1", Weight: ptr(int32(0))}}
		}, []string{"spec.backends: at least one backend must have a weight greater than or equal to 1"}},
		"zero times": {func(s *v1alpha1.ProxyServiceSpec) {
			s.HealthCheck = &v1alpha1.HealthCheck{TimeoutMs: ptr(int32(0)), FrequencySecs: ptr(int32(0)), HealthyThreshold: ptr(int32(0))}
			s.Timeouts = &v1alpha1.Timeouts{ConnectMs: ptr(int32(0))}
		}, []string{"spec.healthCheck.timeoutMs: must be greater than or equal to 1", "spec.healthCheck.frequencySecs: must be greater than or equal to 1", "spec.healthCheck.healthyThreshold: must be greater than or equal to 1", "spec.timeouts.connectMs: must be greater than or equal to 1"}},
		"check path": {func(s *v1alpha1.ProxyServiceSpec) { s.HealthCheck = &v1alpha1.HealthCheck{Path: ptr("/x")} }, []string{"spec.healthCheck.path: may only be set when `type` is 'HTTP'"}},
		"bad check path": {func(s *v1alpha1.ProxyServiceSpec) {
			s.HealthCheck = &v1alpha1.HealthCheck{Type: ptr(v1alpha1.HealthCheckHTTP), Path: ptr("x")}
		}, []string{"spec.healthCheck.path: must start with '/'"}},
		"algorithm": {func(s *v1alpha1.ProxyServiceSpec) {
			s.LoadBalancing = &v1alpha1.LoadBalancing{Algorithm: ptr(v1alpha1.Algorithm("round_robin"))}
		}, []string{"spec.loadBalancing.algorithm: must be one of `RoundRobin`, `LeastRequest`, `Random`, `ConsistentHash`; did you mean `RoundRobin`?"}},
		"retry": {func(s *v1alpha1.ProxyServiceSpec) {
			s.Retry = &v1alpha1.Retry{Attempts: ptr(int32(11)), Codes: []int32{200, 502, 502}}
		}, []string{"spec.retry.attempts: must be less than or equal to 10", "spec.retry.codes[0]: must be greater than or equal to 400", "spec.retry.codes[2]: duplicate code `502`"}},
		"trusted proxies": {func(s *v1alpha1.ProxyServiceSpec) {
			s.ClientIP = &v1alpha1.ClientIP{TrustedProxies: []string{"10.0.0.1/8", "x", "10.0.0.1", "::1/128"}}
		}, []string{"spec.clientIP.trustedProxies[0]: has bits set beyond its length; did you mean `10.0.0.0/8`?", "spec.clientIP.trustedProxies[1]: must be a network such as `10.0.0.0/8`, or an IP address"}},
		"health path":    {func(s *v1alpha1.ProxyServiceSpec) { s.HealthPath = ptr("health") }, []string{"spec.healthPath: must start with '/'; `off` turns it off"}},
		"no health path": {func(s *v1alpha1.ProxyServiceSpec) { s.HealthPath = ptr("off") }, nil},
		"route names":    {func(s *v1alpha1.ProxyServiceSpec) { s.Routes = []v1alpha1.Route{{Name: "r"}, {Name: "r"}, {}} }, []string{"spec.routes[2].name: must be set", "spec.routes[1].name: duplicate route name `r`"}},
		"route host": {func(s *v1alpha1.ProxyServiceSpec) {
			s.Hosts = []string{"*.a.example.com", "b.example.com"}
			s.Routes = []v1alpha1.Route{{Name: "r", Hosts: []string{"x.a.example.com", "a.example.com", "B.example.com", "*.x.a.example.com"}}}
		}, []string{"spec.routes[0].hosts[1]: is none of the service's `hosts` and covered by none of them"}},
		"redirects need no backends": {func(s *v1alpha1.ProxyServiceSpec) {
			s.Upstreams = nil
			s.Routes = []v1alpha1.Route{{Name: "r", Filters: []v1alpha1.Filter{{Redirect: &v1alpha1.RedirectFilter{Path: ptr("/x")}}}}, {Name: "s", Backends: []v1alpha1.Backend{{Address: "a:1"}}}}
		}, nil},
		"one route without": {func(s *v1alpha1.ProxyServiceSpec) {
			s.Upstreams = nil
			s.Routes = []v1alpha1.Route{{Name: "r"}, {Name: "s", Backends: []v1alpha1.Backend{{Address: "a:1"}}}}
		}, []string{"spec: set `upstreams` or `backends`, or give every route its own backends or a redirect"}},

		"path":                {path(v1alpha1.PathMatchPrefix, "foo"), []string{value + "must start with '/'"}},
		"path with a query":   {path(v1alpha1.PathMatchExact, "/a?b"), []string{value + "must be a path without a query or a fragment"}},
		"path with a space":   {path(v1alpha1.PathMatchExact, "/a b"), []string{value + "must not hold spaces, backslashes or control characters"}},
		"path in Unicode":     {path(v1alpha1.PathMatchExact, "/ä"), []string{value + "must be ASCII: other characters are percent-encoded in a path"}},
		"path half encoded":   {path(v1alpha1.PathMatchExact, "/%e"), []string{value + "a '%' must be followed by two hexadecimal digits"}},
		"path with dots":      {path(v1alpha1.PathMatchPrefix, "/a/../b"), []string{value + "must be normalised: without empty, '.' or '..' segments"}},
		"path with slashes":   {path(v1alpha1.PathMatchPrefix, "/a//b"), []string{value + "must be normalised: without empty, '.' or '..' segments"}},
		"path over-encoded":   {path(v1alpha1.PathMatchPrefix, "/%41"), []string{value + "must be normalised: '%41' is 'A'"}},
		"dots in disguise":    {path(v1alpha1.PathMatchPrefix, "/a/..%2Fb"), []string{value + "must be normalised: without empty, '.' or '..' segments"}},
		"dots, parameters":    {path(v1alpha1.PathMatchPrefix, "/a/..;x/b"), []string{value + "must be normalised: without empty, '.' or '..' segments"}},
		"encoded NUL":         {path(v1alpha1.PathMatchPrefix, "/a%00"), []string{value + "must not hold spaces, backslashes or control characters"}},
		"path encoded":        {path(v1alpha1.PathMatchPrefix, "/a%2fb/%C3%A4/"), nil},
		"regex":               {path(v1alpha1.PathMatchRegex, "^/(a"), []string{value + "invalid regular expression: missing closing ): `^/(a`"}},
		"regex not RE2":       {path(v1alpha1.PathMatchRegex, "(?=a)"), []string{value + "invalid regular expression: invalid or unsupported Perl syntax: `(?=`"}},
		"regex empty":         {path(v1alpha1.PathMatchRegex, ""), []string{value + "must be a regular expression"}},
		"no exact path":       {route(v1alpha1.Route{Matches: []v1alpha1.Match{{Path: &v1alpha1.PathMatch{Type: ptr(v1alpha1.PathMatchExact)}}}}), []string{value + "must be set"}},
		"path type":           {path("Suffix", "/"), []string{"spec.routes[0].matches[0].path.type: must be one of `Exact`, `Prefix`, `Regex`"}},
		"methods":             {route(v1alpha1.Route{Matches: []v1alpha1.Match{{Methods: []string{"get", "G T", "CONNECT", "TRACE", "GET", "GET", ""}}}}), []string{"spec.routes[0].matches[0].methods[0]: must be in capitals; did you mean `GET`?", "spec.routes[0].matches[0].methods[1]: must be a method such as `GET`", "spec.routes[0].matches[0].methods[2]: is refused by the proxy, whatever the routes say", "spec.routes[0].matches[0].methods[3]: is refused by the proxy, whatever the routes say", "spec.routes[0].matches[0].methods[5]: duplicate method `GET`", "spec.routes[0].matches[0].methods[6]: must be set"}},
		"headers":             {route(v1alpha1.Route{Matches: []v1alpha1.Match{{Headers: []v1alpha1.ValueMatch{{Name: "a b", Value: ptr("")}, {Name: "Host", Value: ptr("")}, {Name: "X", Value: ptr("")}, {Name: "x", Type: ptr(v1alpha1.ValueMatchRegex), Value: ptr("(")}, {}}}}}), []string{"spec.routes[0].matches[0].headers[4].name: must be set", "spec.routes[0].matches[0].headers[4].value: must be set", "spec.routes[0].matches[0].headers[0].name: must be the name of a header field: letters, digits and !#$%&'*+-.^_`|~", "spec.routes[0].matches[0].headers[1].name: is matched by `hosts`", "spec.routes[0].matches[0].headers[3].name: duplicate condition on `x`", "spec.routes[0].matches[0].headers[3].value: invalid regular expression: missing closing )"}},
		"query":               {route(v1alpha1.Route{Matches: []v1alpha1.Match{{Query: []v1alpha1.ValueMatch{{Name: "a b", Value: ptr("")}, {Name: "X", Value: ptr("")}, {Name: "x", Value: ptr("")}}}}}), nil},
		"no filter":           {filter(v1alpha1.Filter{}), []string{"spec.routes[0].filters[0]: exactly one filter must be set per list entry"}},
		"two filters":         {filter(v1alpha1.Filter{Rewrite: &v1alpha1.RewriteFilter{ReplacePrefix: ptr("/")}, Redirect: &v1alpha1.RedirectFilter{Port: ptr(int32(1))}}), []string{"spec.routes[0].filters[0]: exactly one filter must be set per list entry"}},
		"two redirects":       {route(v1alpha1.Route{Filters: []v1alpha1.Filter{{Redirect: &v1alpha1.RedirectFilter{Port: ptr(int32(1))}}, {Redirect: &v1alpha1.RedirectFilter{Port: ptr(int32(2))}}}}), []string{"spec.routes[0].filters: must hold at most one redirect or response"}},
		"no header":           {filter(v1alpha1.Filter{RequestHeaders: &v1alpha1.HeaderFilter{}}), []string{request + ": set `set`, `add` or `remove`"}},
		"header name":         {set("a b", "c"), []string{request + ".set: must be the name of a header field: letters, digits and !#$%&'*+-.^_`|~"}},
		"host header":         {set("HOST", "c"), []string{request + ".set[HOST]: cannot be changed here; use `rewrite.host`"}},
		"framing header":      {set("content-Length", "1"), []string{request + ".set[content-Length]: is written by the proxy itself and cannot be changed"}},
		"header injection":    {set("X", "a\r\nY: b"), []string{request + ".set[X]: must not hold control characters"}},
		"header spaces":       {set("X", " a"), []string{request + ".set[X]: must not begin or end with a space"}},
		"long header":         {set("X", strings.Repeat("a", 4097)), []string{request + ".set[X]: must have at most 4096 characters, has 4097"}},
		"same header":         {filter(v1alpha1.Filter{RequestHeaders: &v1alpha1.HeaderFilter{Set: map[string]string{"X": "", "x": ""}, Add: map[string]string{"X": ""}, Remove: []string{"y", "Y", "x"}}}), []string{request + ".set[x]: duplicate header field `x`", request + ".remove[1]: duplicate header field `Y`", request + ".remove[2]: is set or added by the same filter; `set` alone replaces it"}},
		"no rewrite":          {filter(v1alpha1.Filter{Rewrite: &v1alpha1.RewriteFilter{}}), []string{rewrite + ": set `replacePrefix`, `path`, `regex` or `host`"}},
		"rewrite twice":       {filter(v1alpha1.Filter{Rewrite: &v1alpha1.RewriteFilter{ReplacePrefix: ptr("/"), Path: ptr("/")}}), []string{rewrite + ".path: may not be set together with `replacePrefix`"}},
		"rewrite host":        {filter(v1alpha1.Filter{Rewrite: &v1alpha1.RewriteFilter{Host: ptr("http://a")}}), []string{rewrite + ".host: must be a host, with a port if one is wanted, such as `internal.example.com:8080`"}},
		"rewrite port":        {filter(v1alpha1.Filter{Rewrite: &v1alpha1.RewriteFilter{Host: ptr("a:0")}}), []string{rewrite + ".host: port must be between 1 and 65535"}},
		"rewrite bare IPv6":   {filter(v1alpha1.Filter{Rewrite: &v1alpha1.RewriteFilter{Host: ptr("::1")}}), []string{rewrite + ".host: an IPv6 address must stand in brackets"}},
		"rewrite with ports":  {filter(v1alpha1.Filter{Rewrite: &v1alpha1.RewriteFilter{Host: ptr("[::1]:80")}}), nil},
		"rewrite IPv6":        {filter(v1alpha1.Filter{Rewrite: &v1alpha1.RewriteFilter{Host: ptr("[::1]")}}), nil},
		"prefix of a regex":   {regexes(v1alpha1.Filter{Rewrite: &v1alpha1.RewriteFilter{ReplacePrefix: ptr("/")}}, "^/a"), []string{rewrite + ".replacePrefix: needs every path match of the route to be of type `Prefix`"}},
		"no redirect":         {filter(v1alpha1.Filter{Redirect: &v1alpha1.RedirectFilter{Code: ptr(v1alpha1.RedirectCode(301))}}), []string{direct + ": set `scheme`, `host`, `port` or `path`: the location would be the request's own"}},
		"redirect":            {filter(v1alpha1.Filter{Redirect: &v1alpha1.RedirectFilter{Scheme: ptr(v1alpha1.RedirectScheme("htps")), Host: ptr("a:80"), Port: ptr(int32(65536)), Path: ptr("x"), Code: ptr(v1alpha1.RedirectCode(200))}}), []string{direct + ".scheme: must be one of `http`, `https`; did you mean `https`?", direct + ".port: must be less than or equal to 65535", direct + ".code: must be one of `301`, `302`, `303`, `307`, `308`", direct + ".host: must be a host without a port, such as `www.example.com`", direct + ".path: must start with '/'"}},
		"redirect IPv6":       {filter(v1alpha1.Filter{Redirect: &v1alpha1.RedirectFilter{Host: ptr("[::1]")}}), nil},
		"redirect bare IPv6":  {filter(v1alpha1.Filter{Redirect: &v1alpha1.RedirectFilter{Host: ptr("::1")}}), []string{direct + ".host: must be a host without a port, such as `www.example.com`"}},
		"group without regex": {filter(v1alpha1.Filter{Redirect: &v1alpha1.RedirectFilter{Path: ptr("/$1")}}), []string{direct + ".path: `$1` needs every path match of the route to be of type `Regex`"}},
		"group not there":     {regexes(v1alpha1.Filter{Redirect: &v1alpha1.RedirectFilter{Path: ptr("/${2}")}}, "(a)(b)", "(a)"), []string{direct + ".path: `${2}` is no group of `(a)`, which has 1"}},
		"bare dollar":         {regexes(v1alpha1.Filter{Rewrite: &v1alpha1.RewriteFilter{Path: ptr("/$x")}}, "(a)"), []string{rewrite + ".path: a dollar sign must be written as `$$`"}},
		"groups":              {regexes(v1alpha1.Filter{Redirect: &v1alpha1.RedirectFilter{Path: ptr("/$1-${2}-$$")}}, "(a)(b)"), nil},
		"dollar as it is":     {filter(v1alpha1.Filter{Redirect: &v1alpha1.RedirectFilter{Path: ptr("/$x")}}), nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := good()
			c.change(s)
			defaults.Service(s, v1alpha1.FromFile)
			if diff := cmp.Diff(c.want, sentences(Service(s, field.NewPath("spec"), v1alpha1.FromFile))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The path of forward auth may have a query, which is sent with it.
func TestForwardAuthPath(t *testing.T) {
	for path, fine := range map[string]bool{
		"/auth": true, "/oauth2/auth?allowed_groups=a,b%20c&x=/?": true, "/auth?": true,
		"auth": false, "?x=1": false, "/a b": false, "/auth?x=a b": false, "/auth?x#y": false, "/auth?x=%zz": false, "/auth?ä": false, "/auth?x\r\n": false,
	} {
		s := good()
		s.Auth = &v1alpha1.Auth{Forward: &v1alpha1.ForwardAuth{Backend: &v1alpha1.Backend{Address: "10.0.0.2:80"}, Path: &path}}
		var errs []string
		for _, e := range sentences(Service(s, nil, v1alpha1.FromFile)) {
			if strings.HasPrefix(e, "auth.forward.path") {
				errs = append(errs, e)
			}
		}
		if (len(errs) == 0) != fine {
			t.Errorf("%q: %q", path, errs)
		}
	}
}

func TestPortZeroIsForFiles(t *testing.T) {
	s := good()
	s.BindAddress = "127.0.0.1:0"
	if errs := Service(s, nil, v1alpha1.FromFile); errs != nil {
		t.Error(errs)
	}
	want := []string{"bindAddress: port must be between 1 and 65535"}
	if diff := cmp.Diff(want, sentences(Service(s, nil, v1alpha1.FromCluster))); diff != "" {
		t.Error(diff)
	}
}

func TestGlobalSentences(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*settings.Globals)
		want   []string
	}{
		"defaults": {func(*settings.Globals) {}, nil},
		"off": {func(g *settings.Globals) {
			g.Admin.BindAddress, g.Metrics.BindAddress = ptr(v1alpha1.Off), ptr(v1alpha1.Off)
		}, nil},
		"port 0": {func(g *settings.Globals) {
			g.Admin.BindAddress, g.Metrics.BindAddress = ptr("127.0.0.1:0"), ptr("127.0.0.1:0")
		}, nil},
		"bad address": {func(g *settings.Globals) { g.Admin.BindAddress = ptr("x") }, []string{"admin.bindAddress: must be an IP address and a port, such as `0.0.0.0:8080` or `[::1]:8080`; `off` turns it off"}},
		"same":        {func(g *settings.Globals) { g.Metrics.BindAddress = ptr("0.0.0.0:9901") }, []string{"metrics.bindAddress: is taken by the admin API already; choose another port"}},
		"log path":    {func(g *settings.Globals) { g.AccessLog.Path = ptr("") }, []string{"accessLog.path: must be `stdout`, `stderr`, `off` or a file"}},
		"log format":  {func(g *settings.Globals) { g.AccessLog.Format = ptr(settings.AccessLogFormat("json")) }, []string{"accessLog.format: must be one of `JSON`, `Console`; did you mean `JSON`?"}},
		"line": {func(g *settings.Globals) {
			g.Limits.MaxRequestLineBytes, g.Limits.MaxHeaderBytes = ptr(int32(2000)), ptr(int32(1024))
		}, []string{"limits.maxRequestLineBytes: must be less than or equal to the bytes of a whole head, 1024"}},
		"bounds": {func(g *settings.Globals) {
			g.Limits.MaxConnections, g.AccessLog.SamplePercent = ptr(int32(0)), ptr(int32(101))
		}, []string{"accessLog.samplePercent: must be less than or equal to 100", "limits.maxConnections: must be greater than or equal to 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			var g settings.Globals
			c.change(&g)
			defaults.Globals(&g)
			if diff := cmp.Diff(c.want, sentences(Globals(&g, nil))); diff != "" {
				t.Error(diff)
			}
		})
	}
}
