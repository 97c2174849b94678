package security

import (
	"reflect"
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

var full = Config{
	Owner: "o", HSTSMaxAge: 31536000, HSTSSubDomains: true, FrameOptions: "DENY", ReferrerPolicy: "no-referrer",
	ContentSecurity: "default-src 'self'", PermissionsPolicy: "camera=()",
}

func lines(h *exchange.Header) []string {
	var out []string
	for i := range h.Len() {
		if _, name, value, ok := h.At(i); ok {
			out = append(out, string(name)+": "+string(value))
		}
	}
	return out
}

func TestFields(t *testing.T) {
	rest := []string{
		"X-Content-Type-Options: nosniff", "X-Frame-Options: DENY", "Referrer-Policy: no-referrer",
		"Content-Security-Policy: default-src 'self'", "Permissions-Policy: camera=()",
	}
	hsts := "Strict-Transport-Security: max-age=31536000; includeSubDomains"
	for _, test := range []struct {
		name    string
		config  Config
		status  int
		secure  bool
		trusted bool
		proto   string
		has     []string // "name: value" of the endpoint's
		want    []string
	}{
		{name: "plain", config: full, want: rest},
		{name: "TLS", config: full, secure: true, want: append([]string{hsts}, rest...)},
		{name: "TLS to a trusted proxy", config: full, trusted: true, proto: "HTTPS", want: append([]string{hsts}, rest...)},
		{name: "plain to a trusted proxy, TLS to us", config: full, trusted: true, proto: "http", secure: true, want: rest},
		{name: "TLS to us, a trusted proxy says nothing", config: full, trusted: true, secure: true, want: append([]string{hsts}, rest...)},
		{name: "what anybody says", config: full, proto: "https", want: rest},
		{name: "nothing is set", config: Config{}, secure: true, want: []string{"X-Content-Type-Options: nosniff"}},
		{name: "no subdomains", config: Config{HSTSMaxAge: 1}, secure: true, want: []string{"Strict-Transport-Security: max-age=1", "X-Content-Type-Options: nosniff"}},
		{
			name: "the endpoint's own", config: full, secure: true,
			has:  []string{"strict-transport-security: max-age=0", "X-FRAME-OPTIONS: SAMEORIGIN", "Content-Security-Policy: a", "X-Content-Type-Options: x"},
			want: []string{"strict-transport-security: max-age=0", "X-FRAME-OPTIONS: SAMEORIGIN", "Content-Security-Policy: a", "X-Content-Type-Options: x", rest[2], rest[4]},
		},
		{name: "upgrade", config: full, status: 101},
	} {
		t.Run(test.name, func(t *testing.T) {
			x := exchange.Exchange{Conn: &exchange.Conn{Secure: test.secure}, ClientTrusted: test.trusted}
			x.Response.Status = test.status
			if test.proto != "" {
				x.Request.Header.Add("X-Forwarded-Proto", test.proto)
			}
			for _, line := range test.has {
				name, value, _ := strings.Cut(line, ": ")
				x.Response.Header.Add(name, value)
			}
			f := build(t, test.config)
			if f.Request(&x) != filter.Continue {
				t.Error("the request is stopped")
			}
			f.Response(&x)
			if diff := cmp.Diff(test.want, lines(&x.Response.Header)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A field that another filter removed is not there.
func TestRemoved(t *testing.T) {
	x := exchange.Exchange{Conn: &exchange.Conn{}}
	x.Response.Header.Add("X-Frame-Options", "ALLOWALL")
	x.Response.Header.Del("X-Frame-Options")
	build(t, Config{FrameOptions: "DENY"}).Response(&x)
	if v, _ := x.Response.Header.Get("X-Frame-Options"); string(v) != "DENY" {
		t.Errorf("%q", v)
	}
}

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		config Config
		want   string
	}{
		{Config{HSTSMaxAge: -1}, "hsts_max_age_secs"},
		{Config{FrameOptions: "a\r\nb"}, "frame_options: must have no control"},
		{Config{ReferrerPolicy: "a\x00"}, "referrer_policy"},
		{Config{ContentSecurity: "a\nb"}, "content_security_policy"},
		{Config{PermissionsPolicy: strings.Repeat("x", maxValue+1)}, "permissions_policy: must have at most"},
	} {
		if err := test.config.Validate(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.40v: %v", test.config, err)
		}
		if f, err := test.config.New(filter.Env{}); err == nil || f != nil {
			t.Errorf("%.40v: New takes it", test.config)
		}
	}
}

func TestKey(t *testing.T) {
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
	f := build(t, full)
	x := exchange.Exchange{Conn: &exchange.Conn{Secure: true}}
	if n := testing.AllocsPerRun(100, func() {
		x.Reset()
		f.Response(&x)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkResponse(b *testing.B) {
	f := build(b, full)
	x := exchange.Exchange{Conn: &exchange.Conn{Secure: true}}
	b.ReportAllocs()
	for b.Loop() {
		x.Reset()
		for _, name := range [...]string{"Content-Type", "Date", "ETag", "Cache-Control"} {
			x.Response.Header.Add(name, "x")
		}
		f.Response(&x)
	}
}
