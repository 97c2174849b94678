package codec

import (
	"net/netip"
	"strings"
	"testing"
)

func TestValidAuthority(t *testing.T) {
	for _, tt := range []struct {
		authority string
		ok        bool
	}{
		{"a", true},
		{"www.Example.COM", true},
		{"example.com.", true},
		{"my_service.default-1.svc", true},
		{"127.0.0.1:8080", true},
		{"a:1", true},
		{"a:65535", true},
		{"[::1]", true},
		{"[2001:db8::1]:443", true},
		{"[::ffff:192.0.2.1]:80", true},
		{strings.Repeat("a", 255) + ":80", true},
		{strings.Repeat("a", 256), false},
		{"", false},
		{":80", false},
		{"a:", false},
		{"a:0", false},
		{"a:080", false},
		{"a:65536", false},
		{"a:000080", false},
		{"a:8a", false},
		{"a:+8", false},
		{"a:80:80", false},
		{"::1", false},
		{".", false},
		{".a", false},
		{"a..b", false},
		{"a..", false},
		{"a b", false},
		{"a,b", false},
		{"a/", false},
		{"a\\b", false},
		{"u@a", false},
		{"a%2eb", false},
		{"*.a", false},
		{"[]", false},
		{"[::1", false},
		{"[::1]x", false},
		{"[::1]:", false},
		{"[fe80::1%25eth0]", false},
		{"[fe80::1%eth0]", false},
		{"[v1.a]", false},
		{"[127.0.0.1]", false},
		{"::1]", false},
	} {
		if got := validAuthority([]byte(tt.authority)); got != tt.ok {
			t.Errorf("%q: got %v, want %v", tt.authority, got, tt.ok)
		}
	}
}

func TestValidIPv6(t *testing.T) {
	for _, address := range []string{
		"::", "::1", "1::", "1::2", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1:2:3:4::6:7:8",
		"1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", "1:2:3:4::5:6:7:8", "::1::", ":", ":::", "1:", ":1", "1",
		"12345::", "g::", "abcd:EF01::", "::1.2.3.4", "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:7:1.2.3.4", "1:2:3:4:5:1.2.3.4",
		"1.2.3.4", "::1.2.3", "::1.2.3.4.5", "::1.2.3.256", "::01.2.3.4", "::1.2.3.4:1", "::1.2.3.", "1::2::3", "", "::1:",
	} {
		parsed, err := netip.ParseAddr(address)
		want := err == nil && parsed.Is6()
		if got := validIPv6([]byte(address)); got != want {
			t.Errorf("%q: got %v, want %v", address, got, want)
		}
	}
}
