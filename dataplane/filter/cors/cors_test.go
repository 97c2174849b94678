package cors

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

func build(t testing.TB, c Config) filter.Filter {
	t.Helper()
	f, err := c.New(filter.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func lines(h *exchange.Header) []string {
	var out []string
	for i := range h.Len() {
		if _, name, value, ok := h.At(i); ok {
			out = append(out, string(name)+": "+string(value))
		}
	}
	slices.Sort(out)
	return out
}

func add(h *exchange.Header, fields []string) {
	for _, line := range fields {
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, value)
	}
}

var plain = Config{Owner: "o", Origins: []string{"https://example.com", "https://*.example.org:8443"}, Methods: []string{"GET", "PUT"}, MaxAge: 600}

const preflightVary = "Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers"

func TestPreflight(t *testing.T) {
	credentials := plain
	credentials.Credentials = true
	listed := plain
	listed.Headers = []string{"X-A", "Content-Type"}
	anyone := Config{Origins: []string{"*"}, Methods: []string{"GET"}}
	star := credentials
	star.Headers = []string{"*"}
	for _, test := range []struct {
		name    string
		config  Config
		request []string
		want    []string // nil: it is no preflight request
	}{
		{"allowed", plain, []string{"Origin: https://example.com", "Access-Control-Request-Method: PUT"}, []string{
			"Access-Control-Allow-Methods: GET, PUT", "Access-Control-Allow-Origin: https://example.com", "Access-Control-Max-Age: 600", preflightVary,
		}},
		{"fields that are asked for", plain, []string{"origin: https://a.b.example.org:8443", "access-control-request-method: PUT", "access-control-request-headers: x-a,content-type"}, []string{
			"Access-Control-Allow-Headers: x-a,content-type", "Access-Control-Allow-Methods: GET, PUT", "Access-Control-Allow-Origin: https://a.b.example.org:8443", "Access-Control-Max-Age: 600", preflightVary,
		}},
		{"fields that are listed", listed, []string{"Origin: https://example.com", "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: x-b"}, []string{
			"Access-Control-Allow-Headers: X-A, Content-Type", "Access-Control-Allow-Methods: GET, PUT", "Access-Control-Allow-Origin: https://example.com", "Access-Control-Max-Age: 600", preflightVary,
		}},
		{"fields that are none", plain, []string{"Origin: https://example.com", "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: a b, <x>"}, []string{
			"Access-Control-Allow-Methods: GET, PUT", "Access-Control-Allow-Origin: https://example.com", "Access-Control-Max-Age: 600", preflightVary,
		}},
		{"credentials", credentials, []string{"Origin: https://example.com", "Access-Control-Request-Method: PUT"}, []string{
			"Access-Control-Allow-Credentials: true", "Access-Control-Allow-Methods: GET, PUT", "Access-Control-Allow-Origin: https://example.com", "Access-Control-Max-Age: 600", preflightVary,
		}},
		{"every field, with credentials", star, []string{"Origin: https://example.com", "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: x-b"}, []string{
			"Access-Control-Allow-Credentials: true", "Access-Control-Allow-Headers: x-b", "Access-Control-Allow-Methods: GET, PUT", "Access-Control-Allow-Origin: https://example.com", "Access-Control-Max-Age: 600", preflightVary,
		}},
		{"every origin", anyone, []string{"Origin: null", "Access-Control-Request-Method: PUT"}, []string{
			"Access-Control-Allow-Methods: GET", "Access-Control-Allow-Origin: *", "Access-Control-Max-Age: 0", preflightVary,
		}},
		{"another origin", credentials, []string{"Origin: https://evil.com", "Access-Control-Request-Method: PUT"}, []string{preflightVary}},
		{"no origin", plain, []string{"Access-Control-Request-Method: PUT"}, nil},
		{"no preflight request", plain, []string{"Origin: https://example.com"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var x exchange.Exchange
			x.Request.Method = exchange.OPTIONS
			add(&x.Request.Header, test.request)
			f := build(t, test.config)
			v := f.Request(&x)
			if test.want == nil {
				if v != filter.Continue {
					t.Errorf("verdict %d", v)
				}
				return
			}
			if v != filter.Respond || x.Response.Status != 204 || x.Record.Reason != exchange.Preflight || !x.Response.Local {
				t.Fatalf("verdict %d, %d %s", v, x.Response.Status, x.Record.Reason)
			}
			f.Response(&x)
			if diff := cmp.Diff(test.want, lines(&x.Response.Header)); diff != "" {
				t.Error(diff)
			}
		})
	}
	var x exchange.Exchange
	x.Request.Method = exchange.GET
	add(&x.Request.Header, []string{"Origin: https://example.com", "Access-Control-Request-Method: PUT"})
	if build(t, plain).Request(&x) != filter.Continue {
		t.Error("a GET is taken for a preflight request")
	}
}

func TestOrigins(t *testing.T) {
	f := build(t, Config{Methods: []string{"GET"}, Origins: []string{
		"https://example.com", "http://example.com:8080", "https://*.wild.example", "https://*.port.example:8443", "chrome-extension://abc",
	}})
	for origin, want := range map[string]bool{
		"https://example.com":            true,
		"http://example.com:8080":        true,
		"https://a.wild.example":         true,
		"https://a.b-c.d_e.wild.example": true,
		"https://a.port.example:8443":    true,
		"chrome-extension://abc":         true,
		"https://example.com:443":        false,
		"http://example.com":             false,
		"https://EXAMPLE.com":            false,
		"https://example.com.evil":       false,
		"https://example.com/":           false,
		"https://wild.example":           false,
		"https://.wild.example":          false,
		"https://a..wild.example":        false,
		"https://a.wild.example:443":     false,
		"https://a.wild.example.evil":    false,
		"http://a.wild.example":          false,
		"https://evil/.wild.example":     false,
		"https://evil?.wild.example":     false,
		"https://evil#.wild.example":     false,
		"https://evil:1.wild.example":    false,
		"https://u@evil.wild.example":    false,
		"https://awild.example":          false,
		"https://a.port.example":         false,
		"https://a.port.example:84430":   false,
		"https://a\r\nx.wild.example":    false,
		"null":                           false,
		"":                               false,
		"*":                              false,
		"https://*.wild.example":         false,
		"https://" + strings.Repeat("a.", 150) + "wild.example": false,
	} {
		var x exchange.Exchange
		x.Request.Method = exchange.GET
		x.Request.Header.Add("Origin", origin)
		f.Request(&x)
		x.Response.Status = 200
		f.Response(&x)
		got, ok := x.Response.Header.Get("Access-Control-Allow-Origin")
		if ok != want || ok && string(got) != origin {
			t.Errorf("%q: %q, %v", origin, got, ok)
		}
	}
}

func TestResponse(t *testing.T) {
	expose := plain
	expose.Expose = []string{"X-Total", "X-Page"}
	credentials := expose
	credentials.Credentials = true
	endpoint := []string{
		"Access-Control-Allow-Origin: *", "access-control-allow-credentials: true", "Access-Control-Expose-Headers: X-Secret",
		"Access-Control-Max-Age: 5", "Vary: Accept-Encoding", "X-Total: 1",
	}
	for _, test := range []struct {
		name   string
		config Config
		origin string
		want   []string
	}{
		{"allowed", expose, "https://example.com", []string{
			"Access-Control-Allow-Origin: https://example.com", "Access-Control-Expose-Headers: X-Total, X-Page", "Vary: Accept-Encoding, Origin", "X-Total: 1",
		}},
		{"credentials", credentials, "https://example.com", []string{
			"Access-Control-Allow-Credentials: true", "Access-Control-Allow-Origin: https://example.com", "Access-Control-Expose-Headers: X-Total, X-Page", "Vary: Accept-Encoding, Origin", "X-Total: 1",
		}},
		{"another", credentials, "https://evil.com", []string{"Vary: Accept-Encoding, Origin", "X-Total: 1"}},
		{"none", expose, "", []string{"Vary: Accept-Encoding, Origin", "X-Total: 1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var x exchange.Exchange
			x.Request.Method = exchange.POST
			if test.origin != "" {
				x.Request.Header.Add("Origin", test.origin)
			}
			f := build(t, test.config)
			if f.Request(&x) != filter.Continue {
				t.Fatal("the request is stopped")
			}
			x.Request.Header.Del("Origin") // as a user's filter may
			x.Response.Status = 200
			add(&x.Response.Header, endpoint)
			f.Response(&x)
			if diff := cmp.Diff(test.want, lines(&x.Response.Header)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	get := []string{"GET"}
	for _, test := range []struct {
		config Config
		want   string
	}{
		{Config{Methods: get}, "allow_origins: must be set"},
		{Config{Methods: get, Origins: []string{"*"}, Credentials: true}, "with credentials"},
		{Config{Methods: get, Origins: []string{"example.com"}}, "a scheme and a host"},
		{Config{Methods: get, Origins: []string{"https://Example.com"}}, "a scheme and a host"},
		{Config{Methods: get, Origins: []string{"https://example.com/"}}, "a scheme and a host"},
		{Config{Methods: get, Origins: []string{"https://a.*.com"}}, "a scheme and a host"},
		{Config{Methods: get, Origins: []string{"https://*example.com"}}, "a scheme and a host"},
		{Config{Methods: get, Origins: []string{"https://*"}}, "a scheme and a host"},
		{Config{Methods: get, Origins: []string{"https://*.*.a"}}, "a scheme and a host"},
		{Config{Methods: get, Origins: []string{"https://a:0"}}, "a scheme and a host"},
		{Config{Methods: get, Origins: []string{"https://a:"}}, "a scheme and a host"},
		{Config{Methods: get, Origins: []string{"://a"}}, "a scheme and a host"},
		{Config{Origins: []string{"*"}}, "allow_methods: must be set"},
		{Config{Methods: []string{"G T"}, Origins: []string{"*"}}, "allow_methods"},
		{Config{Methods: get, Headers: []string{""}, Origins: []string{"*"}}, "allow_headers"},
		{Config{Methods: get, Expose: []string{"a\r\nb"}, Origins: []string{"*"}}, "expose_headers"},
		{Config{Methods: get, Origins: []string{"*"}, MaxAge: -1}, "max_age_secs"},
	} {
		if err := test.config.Validate(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v; want %q", test.config, err, test.want)
		}
		if f, err := test.config.New(filter.Env{}); err == nil || f != nil {
			t.Errorf("%+v: New takes it", test.config)
		}
	}
}

func TestKey(t *testing.T) {
	full := Config{Owner: "o", Origins: []string{"a", "b"}, Methods: []string{"GET"}, Headers: []string{"X"}, Expose: []string{"Y"}, Credentials: true, MaxAge: 5}
	v := reflect.ValueOf(full)
	for i := range v.NumField() {
		changed := full
		reflect.ValueOf(&changed).Elem().Field(i).SetZero()
		if changed.Key() == full.Key() {
			t.Errorf("the key does not hold %s", v.Type().Field(i).Name)
		}
	}
}

func TestAllocates(t *testing.T) {
	f := build(t, Config{Origins: plain.Origins, Methods: plain.Methods, Expose: []string{"X"}, Credentials: true})
	var x exchange.Exchange
	for _, method := range []exchange.Method{exchange.GET, exchange.OPTIONS} {
		if n := testing.AllocsPerRun(100, func() {
			x.Reset()
			x.Request.Method = method
			x.Request.Header.Add("Origin", "https://a.example.org:8443")
			x.Request.Header.Add("Access-Control-Request-Method", "PUT")
			x.Request.Header.Add("Access-Control-Request-Headers", "x-a")
			f.Request(&x)
			f.Response(&x)
		}); n != 0 {
			t.Errorf("%v: %v allocations", method, n)
		}
	}
}

// FuzzPreflight asks that nothing of a request is sent back but an origin that is allowed and tokens.
func FuzzPreflight(f *testing.F) {
	f.Add("https://a.example.org:8443", "PUT", "x-a, x-b")
	f.Add("https://example.com\r\nX: y", "\r\n", "x\r\ny")
	fl := build(f, plain)
	f.Fuzz(func(t *testing.T, origin, method, headers string) {
		var x exchange.Exchange
		x.Request.Method = exchange.OPTIONS
		x.Request.Header.Add("Origin", origin)
		x.Request.Header.Add("Access-Control-Request-Method", method)
		x.Request.Header.Add("Access-Control-Request-Headers", headers)
		if fl.Request(&x) != filter.Respond {
			t.Fatal("no answer")
		}
		for _, line := range lines(&x.Response.Header) {
			for i := range len(line) {
				if c := line[i]; c < ' ' && c != '\t' || c >= 0x7f {
					t.Fatalf("%q", line)
				}
			}
		}
		if v, ok := x.Response.Header.Get("Access-Control-Allow-Origin"); ok && string(v) != "https://example.com" && !strings.HasSuffix(string(v), ".example.org:8443") {
			t.Fatalf("%q may read responses", v)
		}
	})
}

func BenchmarkResponse(b *testing.B) {
	f := build(b, plain)
	var x exchange.Exchange
	b.ReportAllocs()
	for b.Loop() {
		x.Reset()
		x.Request.Method = exchange.GET
		x.Request.Header.Add("Origin", "https://a.example.org:8443")
		f.Request(&x)
		f.Response(&x)
	}
}

func BenchmarkPreflight(b *testing.B) {
	f := build(b, plain)
	var x exchange.Exchange
	b.ReportAllocs()
	for b.Loop() {
		x.Reset()
		x.Request.Method = exchange.OPTIONS
		x.Request.Header.Add("Origin", "https://example.com")
		x.Request.Header.Add("Access-Control-Request-Method", "PUT")
		f.Request(&x)
	}
}
