package validation

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pingora-proxy/pingora-proxy/api/defaults"
	"github.com/pingora-proxy/pingora-proxy/api/settings"
	"github.com/pingora-proxy/pingora-proxy/api/syntax"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
)

// structs lists every struct of the schema.
func structs(t reflect.Type, into map[string]reflect.Type) map[string]reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() == reflect.Struct && t != reflect.TypeFor[intstr.IntOrString]() && into[t.Name()] == nil {
		into[t.Name()] = t
		for i := range t.NumField() {
			structs(t.Field(i).Type, into)
		}
	}
	return into
}

func TestFileKey(t *testing.T) {
	for name, want := range map[string]string{
		"bindAddress": "bind_address", "jwksURL": "jwks_url", "clientIP": "client_ip", "timeoutMs": "timeout_ms", "tls": "tls",
		"upstreamTLS": "upstream_tls", "keyID": "key_id", "otlpEndpoint": "otlp_endpoint", "minTLSVersion": "min_tls_version", "": "",
	} {
		if got := syntax.FileKey(name); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

// Both spellings of a key name one field, so that nothing is lost on the way between them.
func TestSpellingsAreLossless(t *testing.T) {
	for name, typ := range structs(reflect.TypeFor[settings.Config](), map[string]reflect.Type{}) {
		seen := map[string]string{}
		for i := range typ.NumField() {
			json, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			for _, key := range []string{json, syntax.FileKey(json)} {
				if other, ok := seen[key]; ok && other != json {
					t.Errorf("%s: %s and %s are both spelt %s", name, other, json, key)
				}
				seen[key] = json
			}
			if file := syntax.FileKey(json); file != strings.ToLower(file) {
				t.Errorf("%s.%s: %s is no snake_case", name, json, file)
			}
		}
	}
}

// Every list, map, text and number has a bound, and every bound is kept by Validate.
func TestBounds(t *testing.T) {
	for name, typ := range structs(reflect.TypeFor[settings.Config](), map[string]reflect.Type{}) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			json, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if options == "inline" {
				continue
			}
			b := boundsOf(name, json)
			v := f.Type
			if v.Kind() == reflect.Pointer {
				v = v.Elem()
			}
			at := name + "." + json
			switch v.Kind() {
			case reflect.Slice:
				if b.maxItems == 0 {
					t.Errorf("%s has no maximum of items", at)
				}
				refuses(t, at, reflect.MakeSlice(v, b.maxItems+1, b.maxItems+1), b, "must have at most ")
			case reflect.Map:
				if b.maxProperties == 0 {
					t.Errorf("%s has no maximum of entries", at)
				}
			case reflect.String:
				if b.maxLength == 0 && enumOf(v.Name()) == nil {
					t.Errorf("%s has no maximum of characters", at)
				}
				if enumOf(v.Name()) != nil {
					refuses(t, at, reflect.ValueOf("zzzz").Convert(v), b, "must be one of ")
				} else {
					refuses(t, at, reflect.ValueOf(strings.Repeat("ä", b.maxLength+1)), b, "must have at most ")
				}
			case reflect.Int64:
				if b.min == nil || b.max == nil {
					t.Errorf("%s has no minimum or maximum", at)
					continue
				}
				refuses(t, at, reflect.ValueOf(*b.min-1), b, "must be greater than or equal to ")
				refuses(t, at, reflect.ValueOf(*b.max+1), b, "must be less than or equal to ")
			case reflect.Int32:
				if enumOf(v.Name()) != nil {
					continue
				}
				if b.min == nil || b.max == nil {
					t.Errorf("%s has no minimum or maximum", at)
					continue
				}
				refuses(t, at, reflect.ValueOf(int32(*b.min-1)), b, "must be greater than or equal to ")
				refuses(t, at, reflect.ValueOf(int32(*b.max+1)), b, "must be less than or equal to ")
			}
		}
	}
}

func refuses(t *testing.T, name string, v reflect.Value, b bounds, sentence string) {
	t.Helper()
	errs := checkValue(field.NewPath("x"), v, b)
	if len(errs) != 1 || !strings.HasPrefix(errs[0].Detail, sentence) {
		t.Errorf("%s: want %q, got %v", name, sentence, errs)
	}
}

// Unset is not zero: a default fills in what is unset, and zero stays for Validate to refuse.
func TestDefaultsKeepWhatIsSet(t *testing.T) {
	s := good()
	s.HealthCheck = &v1alpha1.HealthCheck{TimeoutMs: ptr(int32(0))}
	s.Backends = []v1alpha1.Backend{{Address: "a:1", Weight: ptr(int32(0))}}
	s.HealthPath = ptr("/up")
	s.Routes = []v1alpha1.Route{{Name: "r", Timeouts: &v1alpha1.Timeouts{RequestMs: ptr(int32(7))}}}
	defaults.Service(s, v1alpha1.FromFile)
	if *s.HealthCheck.TimeoutMs != 0 || *s.Backends[0].Weight != 0 || *s.HealthPath != "/up" {
		t.Error("a value that was set was replaced")
	}
	if r := s.Routes[0].Timeouts; *r.RequestMs != 7 || r.ConnectMs != nil {
		t.Error("what a route leaves unset is the service's")
	}
	if *s.HealthCheck.FrequencySecs != 5 || *s.Retry.Attempts != 2 || s.HealthCheck.Passive != nil || s.HealthCheck.Path != nil {
		t.Error("wrong defaults")
	}
	again := *s
	defaults.Service(&again, v1alpha1.FromFile)
	if diff := cmp.Diff(*s, again); diff != "" {
		t.Error(diff)
	}
}

func TestHealthPathDependsOnTheOrigin(t *testing.T) {
	file, object := good(), good()
	defaults.Service(file, v1alpha1.FromFile)
	defaults.Service(object, v1alpha1.FromCluster)
	if *file.HealthPath != "/health" || *object.HealthPath != v1alpha1.Off {
		t.Errorf("got %s and %s", *file.HealthPath, *object.HealthPath)
	}
}

func TestDefaultsAreValid(t *testing.T) {
	var g settings.Globals
	defaults.Globals(&g)
	s := good()
	s.HealthCheck = &v1alpha1.HealthCheck{Type: ptr(v1alpha1.HealthCheckHTTP), Passive: &v1alpha1.PassiveHealthCheck{}}
	defaults.Service(s, v1alpha1.FromFile)
	if errs := append(Globals(&g, nil), Service(s, nil, v1alpha1.FromFile)...); errs != nil {
		t.Error(errs)
	}
	if *s.HealthCheck.Path != "/" || *s.HealthCheck.Passive.MaxEjectionPercent != 50 {
		t.Errorf("%+v", s.HealthCheck)
	}
}

func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"0.0.0.0:80", "10.0.0.1:80", true},
		{"10.0.0.1:80", "0.0.0.0:80", true},
		{"[::]:80", "10.0.0.1:80", true},
		{"[::]:80", "0.0.0.0:80", true},
		{"[::]:80", "[::1]:80", true},
		{"0.0.0.0:80", "[::1]:80", false},
		{"10.0.0.1:80", "10.0.0.1:80", true},
		{"10.0.0.1:80", "10.0.0.2:80", false},
		{"0.0.0.0:80", "0.0.0.0:81", false},
		{"127.0.0.1:0", "127.0.0.1:0", false},
		{"[::ffff:10.0.0.1]:80", "10.0.0.1:80", true},
	} {
		if got := syntax.Overlap(netip.MustParseAddrPort(c.a), netip.MustParseAddrPort(c.b)); got != c.want {
			t.Errorf("%s and %s: got %t", c.a, c.b, got)
		}
	}
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		outer, inner string
		want         bool
	}{
		{"a.example.com", "A.example.com", true},
		{"*.example.com", "a.example.com", true},
		{"*.example.com", "a.b.example.com", true},
		{"*.example.com", "*.b.example.com", true},
		{"*.example.com", "*.example.com", true},
		{"*.example.com", "example.com", false},
		{"*.example.com", ".example.com", false},
		{"*.b.example.com", "*.example.com", false},
		{"a.example.com", "*.example.com", false},
		{"*.example.com", "aexample.com", false},
	} {
		if got := syntax.Covers(c.outer, c.inner); got != c.want {
			t.Errorf("%s over %s: got %t", c.outer, c.inner, got)
		}
	}
}

func TestNearest(t *testing.T) {
	list := []string{"bind_address", "backends", "hosts", "health_check", "TCP", "HTTP"}
	for word, want := range map[string]string{
		"bind_adress": "bind_address", "bindaddress": "bind_address", "BIND-ADDRESS": "bind_address", "backend": "backends", "host": "hosts",
		"healthcheck": "health_check", "tcp": "TCP", "tpc": "TCP", "htpp": "HTTP", "auth": "", "": "", "zz": "",
		strings.Repeat("hosts", 1000): "",
	} {
		if got := syntax.Nearest(word, list); got != want {
			t.Errorf("%.20s: got %q, want %q", word, got, want)
		}
	}
}
