package translate_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pingora-proxy/pingora-proxy/api/defaults"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/api/validation"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/material"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/realm"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// A generator makes objects. madness is how likely a single value is an absurd one.
type generator struct {
	*rand.Rand
	madness float64
}

func (g *generator) mad() bool { return g.Float64() < g.madness }

func pick[T any](g *generator, list ...T) T { return list[g.IntN(len(list))] }

func (g *generator) world() *realm.World {
	web := realm.KubeService{Ports: []realm.KubePort{{Name: "http", Number: 80}, {Number: 81}}}
	w := &realm.World{
		Services: map[string]realm.KubeService{
			"old/web": web, "young/web": web, "else/web": web, "young/empty": {},
			"young/ext":  {ExternalName: pick(g, "x.example", "localhost", "api.else.svc.cluster.local", "1.2.3.4", "no name")},
			"young/port": {Ports: []realm.KubePort{{Name: "http", Number: 70000}}},
		},
		Endpoints: map[string][]snapshot.Endpoint{
			"old/web:http":   {{Addr: netip.MustParseAddrPort("10.1.0.1:8080"), Weight: 1}},
			"young/web:http": {{Addr: netip.MustParseAddrPort("10.1.0.2:8080"), Weight: 1}, {Addr: netip.MustParseAddrPort("[fd00::1]:1"), Weight: 1}},
		},
		Policy: realm.Policy{
			StrictHosts: g.IntN(4) == 0, AllowLocal: g.IntN(2) == 0, AllowExternalNames: g.IntN(2) == 0,
			ClusterDomain: pick(g, "cluster.local", "k8s.example.com.", ""),
		},
	}
	if g.IntN(4) == 0 {
		w.Policy.Ports = []realm.PortRange{{First: 8000, Last: 9000}}
	}
	if g.IntN(2) == 0 {
		w.Grants = []realm.Grant{{From: "young", Kind: "Service", To: "else"}, {From: "young", Kind: "Secret", To: "else", Name: "good"}}
	}
	return w
}

// object makes one, as the controller hands it to the translation.
func (g *generator) object() translate.Service {
	s := translate.Service{Namespace: "young", Name: "object"}
	g.fill(reflect.ValueOf(&s.Spec).Elem(), "")
	if s.Spec.Name == "" {
		s.Spec.Name = s.Name
	}
	defaults.Service(&s.Spec, v1alpha1.FromCluster)
	s.Faults = validation.Service(&s.Spec, field.NewPath("spec"), v1alpha1.FromCluster)
	s.Contents = map[string]material.Content{}
	v1alpha1.References(&s.Spec, func(path string, _ *v1alpha1.Reference) {
		s.Contents[path] = pick(g, material.Content{Name: "young/good", Data: []byte(strings.Repeat("k", 32))},
			material.Content{Name: "young/pem", Data: goodCertificate().Chain}, material.Content{Problem: "Secret `young/gone` does not exist"})
		if g.IntN(8) == 0 {
			delete(s.Contents, path)
		}
	})
	if c := s.Spec.TLSConfig; c != nil {
		for range c.Certificates {
			s.Certificates = append(s.Certificates, pick(g, goodCertificate(), material.Certificate{},
				material.Certificate{Name: "young/gone", Problem: "Secret `young/gone` does not exist"},
				material.NewCertificate("young/bad", []byte("-----BEGIN CERTIFICATE-----\n"), []byte("x"))))
		}
		s.Certificates = s.Certificates[:len(s.Certificates)-g.IntN(len(s.Certificates)+1)/2]
	}
	return s
}

// fill gives a value to everything below v, whatever fields there are.
func (g *generator) fill(v reflect.Value, name string) {
	switch v.Kind() {
	case reflect.Pointer:
		if g.IntN(5) == 0 {
			v.Set(reflect.New(v.Type().Elem()))
			g.fill(v.Elem(), name)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[intstr.IntOrString]() {
			port := pick(g, intstr.FromInt32(80), intstr.FromString("http"), intstr.FromInt32(81))
			if g.mad() {
				port = pick(g, intstr.FromInt32(-1), intstr.FromInt32(1<<20), intstr.FromString(""), intstr.FromString("80"))
			}
			v.Set(reflect.ValueOf(port))
			return
		}
		for i := range v.NumField() {
			g.fill(v.Field(i), v.Type().Field(i).Name)
		}
		if !g.mad() {
			g.mend(v.Addr().Interface())
		}
	case reflect.Slice:
		n := pick(g, 0, 0, 1, 1, 2, 3)
		if g.madness > 0 && g.IntN(2000) == 0 {
			n = 600
		}
		if n > 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
		}
		for i := range n {
			g.fill(v.Index(i), name)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range g.IntN(3) {
			v.SetMapIndex(reflect.ValueOf(g.text("Name")), reflect.ValueOf(g.text("Value")))
		}
	case reflect.String:
		v.SetString(g.text(v.Type().Name() + name))
	case reflect.Int32, reflect.Int64:
		n := pick[int64](g, 1, 2, 10, 100)
		switch v.Type().Name() + name {
		case "RedirectCodeCode":
			n = pick[int64](g, 301, 308)
		case "int32Codes":
			n = pick[int64](g, 500, 502, 503)
		}
		if g.mad() {
			n = pick[int64](g, math.MinInt32, -1, 0, 65536, math.MaxInt32)
		}
		v.SetInt(n)
	case reflect.Bool:
		v.SetBool(g.IntN(2) == 0)
	default:
		panic("the generator knows no " + v.Kind().String())
	}
}

// text is a value of a field, by the name of its type and its own.
func (g *generator) text(name string) string {
	if g.mad() {
		return pick(g, "", " ", "a b", "ü", "\x00", "\n", "%zz", "*", "*.*.example", "-", ".", "..", "/", "//x", "/a/../b", "[", "(((", "(?P<a", "$1", "${9}",
			":0", ":99999", "::1", "[::1%lo]:80", "[::ffff:127.0.0.1]:80", "1.2.3.4", "host:port", "http://x:80", "Bogus", "off", "_default", "default",
			"a|b", "routes[0]", strings.Repeat("a", 300), strings.Repeat("a.", 200)+"b:80", strings.Repeat("(a{1,100}){1,100}", 3), "\U0010ffff", "Host",
			"Content-Length", "X-A\r\nX-B")
	}
	name = strings.TrimPrefix(name, "string")
	switch name {
	case "BindAddress":
		return pick(g, "0.0.0.0:8080", "0.0.0.0:8443", "0.0.0.0:8081", "10.0.0.1:8080", "[::]:8082", ":8083", "10.0.0.1:9000", "127.0.0.1:9102", "0.0.0.0:9901")
	case "ClassName", "":
		return "default"
	case "Hosts":
		return pick(g, "a.example", "*.b.example", "x.b.example", "C.example", "10.0.0.1", "[::1]", "y.b.example")
	case "Upstreams", "Address":
		return pick(g, "10.0.0.5:80", "10.0.0.6:80", "[fd00::5]:80", "x.example:80", "api.else.svc:80", "web.young.svc.cluster.local.:80", "LOCALHOST:80",
			"127.0.0.1:80", "169.254.169.254:80", "x.example.:443")
	case "Namespace":
		return pick(g, "young", "else", "old")
	case "TrustedProxies":
		return pick(g, "10.0.0.0/8", "fd00::/8", "1.2.3.4")
	case "HealthPath", "ReplacePrefix":
		return pick(g, "/", "/health", "/a/b")
	case "Path":
		return pick(g, "/", "/new", "/$1", "/a/$$")
	case "Methods":
		return pick(g, "GET", "POST", "PURGE")
	case "Host":
		return pick(g, "b.example", "c.example")
	case "Remove":
		return pick(g, "X-C", "Cookie")
	case "Value":
		return pick(g, "/api", "/api/v1", "/x", "^/a/(.*)$", "b", "/")
	case "Name":
		return pick(g, "web", "X-A", "ext", "port", "empty", "gone", "default", "good", "r1", "r2")
	case "PathMatchTypeType":
		return pick(g, "Exact", "Prefix", "Prefix", "Regex")
	case "ValueMatchTypeType":
		return pick(g, "Exact", "Regex")
	case "TLSVersionMinVersion":
		return pick(g, "1.2", "1.3")
	case "HealthCheckTypeType":
		return pick(g, "TCP", "HTTP", "GRPC", "Disabled")
	case "AlgorithmAlgorithm":
		return pick(g, "RoundRobin", "LeastRequest", "Random", "ConsistentHash")
	case "BackendRoleRole":
		return pick(g, "Primary", "Primary", "Backup")
	case "RedirectSchemeScheme":
		return pick(g, "http", "https")
	case "CertFile", "KeyFile":
		return "/etc/passwd"
	}
	if values, ok := choices[name]; ok {
		return pick(g, values...)
	}
	panic("the generator knows no " + name)
}

// choices are the values of fields that few routes of the translation depend on.
var choices = map[string][]string{
	"ServiceProtocolProtocol": {"HTTP", "HTTP", "HTTP", "TCP"}, "BackendProtocolProtocol": {"HTTP", "HTTPS", "H2", "H2C"},
	"ProxyProtocolVersionUpstreamProxyProtocol": {"v1", "v2"}, "TLSModeMode": {"Terminate", "Terminate", "Passthrough"},
	"ClientAuthModeMode": {"Require", "Optional"}, "ReferenceKindKind": {"Secret", "ConfigMap"}, "HashOnTypeType": {"ClientIP", "Path", "Header", "Cookie"},
	"RateLimitKeyKey": {"Service", "ClientIP", "Header", "Cookie", "JWTClaim"}, "RateLimitScopeScope": {"Local", "Shared"},
	"RateLimitModeMode": {"Enforce", "Observe"}, "SigningAlgorithmAlgorithm": {"HMACSHA256", "Ed25519"}, "AuthModeMode": {"Required", "None"},
	"JWTAlgorithmAlgorithms": {"RS256", "ES256"}, "CompressionAlgorithmAlgorithms": {"gzip", "br", "zstd"},
	"RedirectHTTPFrom": {"0.0.0.0:8090", "0.0.0.0:8080", "10.0.0.1:8091"}, "ServerName": {"x.example"}, "CookieName": {"PXS"},
	"HashOnName": {"X-A"}, "Key": {"content"}, "File": {"/etc/passwd"}, "KeyName": {"sub"}, "KeyID": {"k1"}, "Header": {"X-A"}, "Cookie": {"c"},
	"Components": {"@method", "@path"}, "RequestHeaders": {"X-R"}, "KeepRequestHeaders": {"X-Original-URI"}, "ResponseHeaders": {"Server"},
	"Allow": {"10.0.0.0/8"}, "Deny": {"1.2.3.4"}, "Service": {"shop.v1"}, "Issuer": {"https://id.example"}, "Audiences": {"shop"},
	"JWKSURL": {"https://id.example/keys", "http://127.0.0.1/keys", "http://api.else.svc/keys"}, "JWKS": {`{"keys": []}`},
	"FromCookie": {"session"}, "Realm": {"realm"}, "UserHeader": {"X-User"}, "Body": {"ok"}, "ContentType": {"text/plain"},
	"AllowOrigins": {"https://a.example"}, "AllowMethods": {"GET"}, "AllowHeaders": {"X-A"}, "ExposeHeaders": {"X-B"},
	"ContentTypes": {"text/*"}, "FrameOptions": {"DENY"}, "ReferrerPolicy": {"no-referrer"}, "ContentSecurityPolicy": {"default-src 'self'"},
	"PermissionsPolicy": {"camera=()"}, "Pattern": {"^/a/(.*)$"}, "Substitution": {"/b/$1"},
}

// mend takes back what does not go together, so that many objects are flawless.
func (g *generator) mend(v any) {
	switch v := v.(type) {
	case *v1alpha1.ProxyServiceSpec:
		if v.TLS == nil || !*v.TLS {
			v.TLSConfig = nil
		}
		if c := v.TLSConfig; c != nil && c.Mode != nil && *c.Mode == v1alpha1.TLSPassthrough {
			v.TLSConfig = &v1alpha1.TLSConfig{Mode: c.Mode}
			v.Protocol, v.Hosts = new(v1alpha1.ProtocolTCP), []string{"a.example"}
		}
		if v.Protocol != nil && *v.Protocol == v1alpha1.ProtocolTCP {
			v.Routes, v.Auth, v.RateLimits, v.RequestSigning, v.Retry, v.Sanitize, v.LoadBalancing, v.HealthPath = nil, nil, nil, nil, nil, nil, nil, nil
			if v.TLS == nil || !*v.TLS {
				v.Hosts = nil
			} else if v.TLSConfig != nil {
				v.TLSConfig.RedirectHTTPFrom = nil
			}
		}
		if len(v.Upstreams)+len(v.Backends) == 0 {
			v.Upstreams = []string{"10.0.0.7:80"}
		}
		slices.Sort(v.Upstreams)
		v.Upstreams, v.Hosts = slices.Compact(v.Upstreams), unique(v.Hosts)
		v.Backends = v.Backends[:min(len(v.Backends), 1)]
		for i := range v.Routes {
			v.Routes[i].Name = fmt.Sprintf("r%d", i)
			if len(v.Hosts) > 0 {
				v.Routes[i].Hosts = nil
			}
		}
	case *v1alpha1.Route:
		v.Hosts, v.Backends, v.Filters = unique(v.Hosts), v.Backends[:min(len(v.Backends), 1)], v.Filters[:min(len(v.Filters), 1)]
		if len(v.Backends) > 0 {
			v.Backends[0].Role, v.Backends[0].Weight = nil, nil
		} else {
			v.HealthCheck, v.CircuitBreaker = nil, nil
		}
		if v.Limits != nil {
			v.Limits.MaxConnections, v.Limits.MaxRequests = nil, nil
		}
	case *v1alpha1.Match:
		v.Methods = unique(v.Methods)
		v.Headers, v.Query = v.Headers[:min(len(v.Headers), 1)], v.Query[:min(len(v.Query), 1)]
		if v.Path != nil && (v.Path.Value == nil || !strings.HasPrefix(*v.Path.Value, "/")) {
			v.Path.Value, v.Path.Type = pick(g, new("/api"), new("/x")), nil
		}
	case *v1alpha1.ValueMatch:
		if v.Value == nil {
			v.Value = new("b")
		}
	case *v1alpha1.Backend:
		if v.Address != "" && (v.Service == nil || v.Service.Name == "") {
			v.Service = nil
		} else {
			v.Address = ""
		}
		v.Override = nil
	case *v1alpha1.HealthCheck:
		v.Path, v.Service = nil, nil
	case *v1alpha1.LoadBalancing:
		if v.Algorithm == nil || *v.Algorithm != v1alpha1.AlgorithmConsistentHash {
			v.HashOn = nil
		}
	case *v1alpha1.HashOn:
		*v = v1alpha1.HashOn{Type: new(v1alpha1.HashPath)}
	case *v1alpha1.Reference:
		v.File = nil
		if v.Name == nil {
			v.Name = new("good")
		}
		if v.Key == nil {
			v.Key = new("content")
		}
	case *v1alpha1.RateLimit:
		v.Key, v.KeyName = nil, nil
		v.Name, v.Requests = fmt.Sprint("l", g.IntN(1000000)), new(int32(5))
	case *v1alpha1.Access:
		if len(v.Allow)+len(v.Deny) == 0 {
			v.Allow = []string{"10.0.0.0/8"}
		}
	case *v1alpha1.ClientIP:
		if len(v.TrustedProxies) == 0 {
			v.ProxyProtocol = nil
		}
	case *v1alpha1.ClientAuth:
		if v.CARef == nil {
			v.CARef = &v1alpha1.Reference{Name: new("good"), Key: new("content")}
		}
	case *v1alpha1.RequestSigning:
		v.Algorithm, v.Components = new(v1alpha1.SignHMACSHA256), unique(v.Components)
		if v.KeyRef == nil {
			v.KeyRef = &v1alpha1.Reference{Name: new("good"), Key: new("content")}
		}
	case *v1alpha1.Sanitize:
		v.RequestHeaders, v.KeepRequestHeaders, v.ResponseHeaders = unique(v.RequestHeaders), unique(v.KeepRequestHeaders), unique(v.ResponseHeaders)
	case *v1alpha1.Auth:
		switch {
		case len(v.JWT) > 0:
			*v = v1alpha1.Auth{JWT: v.JWT[:1]}
		case v.Basic != nil && v.Basic.UsersRef != nil:
			*v = v1alpha1.Auth{Basic: v.Basic}
		case v.APIKey != nil && v.APIKey.KeysRef != nil:
			*v = v1alpha1.Auth{APIKey: v.APIKey}
		case v.Forward != nil && v.Forward.Backend != nil:
			v.Forward.Backend.Role = nil
			*v = v1alpha1.Auth{Forward: v.Forward}
		default:
			*v = v1alpha1.Auth{Mode: new(v1alpha1.AuthNone)}
		}
	case *v1alpha1.JWTProvider:
		v.Name, v.Issuer = "corp", "https://id.example"
		v.ClaimsToHeaders = nil
		switch {
		case v.JWKSURL != nil:
			v.JWKSRef, v.JWKS = nil, nil
		case v.JWKSRef != nil:
			v.JWKS = nil
		case v.JWKS == nil:
			v.JWKS = new(`{"keys": []}`)
		}
	case *v1alpha1.ForwardAuth:
		v.Path, v.RequestHeaders, v.ResponseHeaders = nil, unique(v.RequestHeaders), unique(v.ResponseHeaders)
	case *v1alpha1.Filter:
		switch {
		case v.RequestHeaders != nil:
			*v = v1alpha1.Filter{RequestHeaders: v.RequestHeaders}
		case v.ResponseHeaders != nil:
			*v = v1alpha1.Filter{ResponseHeaders: v.ResponseHeaders}
		case v.Redirect != nil:
			*v = v1alpha1.Filter{Redirect: v.Redirect}
		case v.Respond != nil:
			*v = v1alpha1.Filter{Respond: &v1alpha1.RespondFilter{Body: v.Respond.Body}}
		case v.CORS != nil:
			*v = v1alpha1.Filter{CORS: &v1alpha1.CORSFilter{AllowOrigins: []string{"https://a.example"}}}
		case v.Mirror != nil && v.Mirror.Backend != nil:
			v.Mirror.Backend.Role = nil
			*v = v1alpha1.Filter{Mirror: v.Mirror}
		case v.Compression != nil:
			*v = v1alpha1.Filter{Compression: &v1alpha1.CompressionFilter{}}
		case v.SecurityHeaders != nil:
			*v = v1alpha1.Filter{SecurityHeaders: v.SecurityHeaders}
		case v.Buffer != nil:
			*v = v1alpha1.Filter{Buffer: v.Buffer}
		default:
			*v = v1alpha1.Filter{Rewrite: &v1alpha1.RewriteFilter{Host: new("b.example")}}
		}
	case *v1alpha1.HeaderFilter:
		v.Set, v.Add, v.Remove = map[string]string{"X-Set": "1"}, nil, unique(v.Remove)
	case *v1alpha1.RedirectFilter:
		v.Path = new("/new")
	case *v1alpha1.CertificateSource:
		v.CertFile, v.KeyFile = nil, nil
		if v.SecretRef == nil {
			v.SecretRef = &v1alpha1.SecretReference{Name: "good"}
		}
	}
}

func unique(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}
