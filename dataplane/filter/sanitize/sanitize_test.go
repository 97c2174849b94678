package sanitize

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

func names(h *exchange.Header) []string {
	var out []string
	for i := range h.Len() {
		if _, name, _, ok := h.At(i); ok {
			out = append(out, string(name))
		}
	}
	return out
}

func TestSanitize(t *testing.T) {
	f, err := Config{Request: []string{"x-internal-user", "Cookie"}, Response: []string{"Server", "X-Powered-By"}}.New(filter.Env{})
	if err != nil {
		t.Fatal(err)
	}
	var x exchange.Exchange
	for _, name := range []string{"X-Internal-User", "X-INTERNAL-USER", "X_Internal_User", "X-Internal-Users", "cookie", "Server"} {
		x.Request.Header.Add(name, "v")
	}
	x.Request.Header.MarkUnderscored()
	for _, name := range []string{"server", "X-Powered-By", "X-Internal-User", "Cookie"} {
		x.Response.Header.Add(name, "v")
	}
	if f.Request(&x) != filter.Continue {
		t.Error("the request is stopped")
	}
	f.Response(&x)
	if got, want := names(&x.Request.Header), []string{"X-Internal-Users", "Server"}; !slices.Equal(got, want) {
		t.Errorf("request: %q, want %q", got, want)
	}
	if got, want := names(&x.Response.Header), []string{"X-Internal-User", "Cookie"}; !slices.Equal(got, want) {
		t.Errorf("response: %q, want %q", got, want)
	}
}

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		config Config
		want   string // empty: good
	}{
		{Config{Request: []string{"X-A"}, Response: []string{"Server", "Date"}, Keep: []string{"x-original-uri", "X-Forwarded-User", "X-Real-IP"}}, ""},
		{Config{Request: []string{"a b"}}, `request_headers "a b"`},
		{Config{Request: []string{"Host"}}, `request_headers "Host"`},
		{Config{Request: []string{"content-length"}}, `request_headers "content-length"`},
		{Config{Response: []string{"Transfer-Encoding"}}, `response_headers "Transfer-Encoding"`},
		{Config{Response: []string{""}}, `response_headers ""`},
		{Config{Keep: []string{"X-Forwarded-For"}}, `keep_request_headers "X-Forwarded-For": the proxy writes the field itself`},
		{Config{Keep: []string{"forwarded"}}, `keep_request_headers "forwarded": the proxy writes the field itself`},
		{Config{Keep: []string{"X-Request-Id"}}, `keep_request_headers "X-Request-Id": the proxy writes the field itself`},
		{Config{Keep: []string{"X-Mine"}}, `keep_request_headers "X-Mine": is not removed`},
		{Config{Keep: []string{"Proxy"}}, `keep_request_headers "Proxy": is not removed`}, // it is, whatever anybody says
	} {
		err := test.config.Validate()
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%+v: %v; want %q", test.config, err, test.want)
		}
		if f, newErr := test.config.New(filter.Env{}); (newErr == nil) != (err == nil) || (f == nil) != (err != nil) {
			t.Errorf("%+v: New says %v, %v", test.config, f, newErr)
		}
	}
}

func TestKey(t *testing.T) {
	full := Config{Owner: "o", Request: []string{"a"}, Response: []string{"b"}, Keep: []string{"c"}}
	for i := range reflect.TypeFor[Config]().NumField() {
		changed := full
		reflect.ValueOf(&changed).Elem().Field(i).SetZero()
		if changed.Key() == full.Key() {
			t.Errorf("the key does not hold %s", reflect.TypeFor[Config]().Field(i).Name)
		}
	}
}

func TestAllocates(t *testing.T) {
	f, err := Config{Request: []string{"X-A", "X-B"}, Response: []string{"Server"}}.New(filter.Env{})
	if err != nil {
		t.Fatal(err)
	}
	var x exchange.Exchange
	if n := testing.AllocsPerRun(100, func() {
		x.Reset()
		x.Request.Header.Add("X-A", "1")
		x.Response.Header.Add("Server", "1")
		f.Request(&x)
		f.Response(&x)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
