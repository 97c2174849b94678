package respond

import (
	"io"
	"reflect"
	"strings"
	"testing"

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

func TestRespond(t *testing.T) {
	for _, test := range []struct {
		config  Config
		method  exchange.Method
		body    string // as sent
		length  int64
		content string
	}{
		{Config{Code: 200, Body: "ok", ContentType: "text/plain"}, exchange.GET, "ok", 2, "text/plain"},
		{Config{Code: 200, Body: "ok", ContentType: "text/plain"}, exchange.POST, "ok", 2, "text/plain"},
		{Config{Code: 200, Body: "ok", ContentType: "text/plain"}, exchange.HEAD, "", 2, "text/plain"},
		{Config{Code: 200, ContentType: "text/plain"}, exchange.GET, "", 0, ""},
		{Config{Code: 503, Body: "{}", ContentType: "application/json"}, exchange.GET, "{}", 2, "application/json"},
		{Config{Code: 599, Body: "x"}, exchange.GET, "x", 1, ""},
		{Config{Code: 204, ContentType: "text/plain"}, exchange.GET, "", 0, ""},
		{Config{Code: 205, ContentType: "text/plain"}, exchange.GET, "", 0, ""},
		{Config{Code: 304, ContentType: "text/plain"}, exchange.GET, "", 0, ""},
	} {
		var x exchange.Exchange
		x.Request.Method = test.method
		f := build(t, test.config)
		for range 2 { // the second must not find the body read
			if f.Request(&x) != filter.Respond {
				t.Error("the request goes on")
			}
			r := &x.Response
			if r.Status != test.config.Code || !r.Local || r.ContentLength != test.length || x.Record.Reason != exchange.Responded {
				t.Errorf("%+v: %d, local %v, %d bytes, %s", test.config, r.Status, r.Local, r.ContentLength, x.Record.Reason)
			}
			if first := r.Header.Next(exchange.ContentType, 0); first >= 0 && r.Header.Next(exchange.ContentType, first+1) >= 0 {
				t.Errorf("%+v: a field of an earlier response is left", test.config)
			}
			if got := string(r.Header.Value(exchange.ContentType)); got != test.content {
				t.Errorf("%+v: Content-Type %q", test.config, got)
			}
			var body []byte
			if r.Body != nil {
				body, _ = io.ReadAll(r.Body)
			}
			if string(body) != test.body {
				t.Errorf("%+v: %q", test.config, body)
			}
		}
	}
}

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		config Config
		want   string
	}{
		{Config{Code: 199}, "between 200 and 599"},
		{Config{Code: 600}, "between 200 and 599"},
		{Config{}, "between 200 and 599"},
		{Config{Code: 204, Body: "x"}, "must be empty"},
		{Config{Code: 205, Body: "x"}, "must be empty"},
		{Config{Code: 304, Body: "x"}, "must be empty"},
		{Config{Code: 200, Body: strings.Repeat("x", maxBody+1)}, "at most 65536"},
		{Config{Code: 200, ContentType: strings.Repeat("x", maxType+1)}, "at most 256"},
		{Config{Code: 200, ContentType: "a\r\nb"}, "printable"},
	} {
		if err := test.config.Validate(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.50v: %v; want %q", test.config, err, test.want)
		}
		if f, err := test.config.New(filter.Env{}); err == nil || f != nil {
			t.Errorf("%.50v: New takes it", test.config)
		}
	}
}

func TestKey(t *testing.T) {
	full := Config{Owner: "o", Code: 200, Body: "b", ContentType: "c"}
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
	f := build(t, Config{Code: 200, Body: "ok", ContentType: "text/plain"})
	var x exchange.Exchange
	if n := testing.AllocsPerRun(100, func() {
		x.Reset()
		f.Request(&x)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRespond(b *testing.B) {
	f := build(b, Config{Code: 200, Body: "ok", ContentType: "text/plain"})
	var x exchange.Exchange
	b.ReportAllocs()
	for b.Loop() {
		x.Reset()
		f.Request(&x)
	}
}
