package exchange

import (
	"strings"
	"testing"
)

func TestValidHost(t *testing.T) {
	for _, host := range []string{
		"a", "example.com", "EXAMPLE.com", "example.com.", "a-b_c.example", "10.0.0.1", "[::1]", "[2001:db8::1]", "xn--bcher-kva.example",
		strings.Repeat("a", 253),
	} {
		if !ValidHost(host) || !ValidHost([]byte(host)) {
			t.Errorf("ValidHost(%q) = false", host)
		}
	}
	for _, host := range []string{
		"", ".", ".a", "a..b", "a:80", "a/b", "u@a", "a b", "a\r\nb", "bücher.example", "*.example.com", "[]", "[::1", "::1", "[10.0.0.1]",
		"[fe80::1%25eth0]", "[::1]:80", "[x]", strings.Repeat("a", 254),
	} {
		if ValidHost(host) || ValidHost([]byte(host)) {
			t.Errorf("ValidHost(%q) = true", host)
		}
	}
}

func TestSplitPort(t *testing.T) {
	for _, test := range []struct{ authority, host, port string }{
		{"", "", ""},
		{"a", "a", ""},
		{"a:80", "a", "80"},
		{"a:", "a", ""},
		{":80", "", "80"},
		{"10.0.0.1", "10.0.0.1", ""},
		{"10.0.0.1:8080", "10.0.0.1", "8080"},
		{"8080", "8080", ""},
		{"[::1]", "[::1]", ""},
		{"[::1]:80", "[::1]", "80"},
		{"a:b", "a:b", ""},
		{"a:8x", "a:8x", ""},
	} {
		if host, port := SplitPort(test.authority); host != test.host || port != test.port {
			t.Errorf("SplitPort(%q) = %q, %q", test.authority, host, port)
		}
		if host, port := SplitPort([]byte(test.authority)); string(host) != test.host || string(port) != test.port {
			t.Errorf("SplitPort of the bytes of %q = %q, %q", test.authority, host, port)
		}
	}
}
