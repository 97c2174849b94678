package filter

import (
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

func TestCredentials(t *testing.T) {
	for _, test := range []struct {
		fields []string
		want   string
		found  Found
	}{
		{nil, "", Nothing},
		{[]string{"Bearer abc"}, "abc", Suitable},
		{[]string{"bEARER   abc"}, "abc", Suitable},
		{[]string{"Bearer "}, "", Suitable},
		{[]string{"Bearer"}, "", Foreign},
		{[]string{""}, "", Foreign},
		{[]string{"Bearerabc"}, "", Foreign},
		{[]string{"Bearer\tabc"}, "", Foreign},
		{[]string{"Basic abc"}, "", Foreign},
		{[]string{"Bearer abc", "Bearer abc"}, "", Several},
		{[]string{"Basic abc", "Bearer abc"}, "", Several},
	} {
		var h exchange.Header
		for _, value := range test.fields {
			h.Add("authorization", value)
		}
		if got, found := Credentials(&h, "Bearer"); string(got) != test.want || found != test.found {
			t.Errorf("%q: %q, %d; want %q, %d", test.fields, got, found, test.want, test.found)
		}
	}
}

func TestRemoveField(t *testing.T) {
	var h exchange.Header
	for _, name := range []string{"X-User-Id", "x_user_ID", "X-USER_ID", "X-User-Id2", "XUser-Id", "X-User", "Authorization"} {
		h.Add(name, "1")
	}
	RemoveField(&h, "x-user-id")
	RemoveField(&h, "AUTHORIZATION")
	var left []string
	for i := range h.Len() {
		if _, name, _, ok := h.At(i); ok {
			left = append(left, string(name))
		}
	}
	if got := strings.Join(left, " "); got != "X-User-Id2 XUser-Id X-User" {
		t.Errorf("%s is left", got)
	}
	if h.Has(exchange.Authorization) {
		t.Error("Authorization is still found")
	}
}

func TestCheckField(t *testing.T) {
	for _, name := range []string{"X-User", "x_user", "Authorization", "Cookie", "!#$%&'*+-.^_`|~09"} {
		if err := CheckField(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"", "X User", "X:", "X\r\nY", "é", "\x00", strings.Repeat("x", 257), "host", "CONTENT-LENGTH", "Transfer-Encoding", "connection", "Expect", "TE", "Upgrade"} {
		if CheckField(name) == nil {
			t.Errorf("%q is taken", name)
		}
	}
}

func TestSafeValue(t *testing.T) {
	for _, text := range []string{"", "a b", "a\tb", "ünï", strings.Repeat("x", 8192)} {
		if !SafeValue(text) {
			t.Errorf("%q is refused", text)
		}
	}
	for _, text := range []string{" a", "a ", "a\tb\t", "a\nb", "a\rb", "\x00", "\x7f", strings.Repeat("x", 8193)} {
		if SafeValue(text) {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestChallenge(t *testing.T) {
	var x exchange.Exchange
	if Challenge(&x, 401, exchange.Unauthorized, "Basic realm="+Quote(`a"b\`)) != Respond {
		t.Error("the request goes on")
	}
	if v, _ := x.Response.Header.Get("WWW-Authenticate"); string(v) != `Basic realm="a\"b\\"` || x.Response.Status != 401 || x.Record.Reason != exchange.Unauthorized {
		t.Errorf("%d %s %q", x.Response.Status, x.Record.Reason, v)
	}
	x.Reset()
	if Unavailable(&x) != Respond || x.Response.Status != 503 || x.Record.Reason != exchange.AuthUnavailable || !x.Response.Header.Has(exchange.RetryAfter) {
		t.Errorf("%d %s", x.Response.Status, x.Record.Reason)
	}
}
