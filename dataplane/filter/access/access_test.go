package access

import (
	"net/netip"
	"slices"
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

func passes(f filter.Filter, ip string) bool {
	var x exchange.Exchange
	if ip != "" {
		x.ClientIP = netip.MustParseAddr(ip)
	}
	return f.Request(&x) == filter.Continue
}

func TestAccess(t *testing.T) {
	for _, test := range []struct {
		name        string
		allow, deny []string
		pass, stop  []string
	}{
		{
			name: "allow", allow: []string{"10.0.0.0/8", "192.0.2.7", "2001:db8::/32"},
			pass: []string{"10.0.0.0", "10.255.255.255", "192.0.2.7", "2001:db8:1::1", "::ffff:10.1.2.3"},
			stop: []string{"11.0.0.0", "192.0.2.8", "2001:db9::1", "::ffff:11.0.0.1", "::10.1.2.3", "::1", ""},
		},
		{
			name: "deny", deny: []string{"203.0.113.0/24", "2001:db8::1"},
			pass: []string{"203.0.112.255", "203.0.114.0", "2001:db8::2", "::1"},
			stop: []string{"203.0.113.0", "203.0.113.255", "::ffff:203.0.113.9", "2001:db8::1", ""},
		},
		{
			name: "deny wins", allow: []string{"10.0.0.0/8", "10.9.9.9"}, deny: []string{"10.9.0.0/16"},
			pass: []string{"10.8.0.1"}, stop: []string{"10.9.9.9", "10.9.0.1", "1.1.1.1"},
		},
		{
			name: "a wider network that is denied", allow: []string{"10.1.2.3"}, deny: []string{"0.0.0.0/0"},
			pass: nil, stop: []string{"10.1.2.3", "::1"},
		},
		{
			name: "all of a family", allow: []string{"::/0"},
			pass: []string{"::1", "2001:db8::1"}, stop: []string{"10.1.2.3", "::ffff:10.1.2.3"},
		},
		{
			name: "mapped in the configuration", allow: []string{"::ffff:10.0.0.0/104", "::ffff:192.0.2.7"},
			pass: []string{"10.1.2.3", "192.0.2.7"}, stop: []string{"11.0.0.1", "192.0.2.8"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := build(t, Config{Owner: "a", Allow: test.allow, Deny: test.deny})
			for _, ip := range test.pass {
				if !passes(f, ip) {
					t.Errorf("%s is stopped", ip)
				}
			}
			for _, ip := range test.stop {
				if passes(f, ip) {
					t.Errorf("%q passes", ip)
				}
			}
		})
	}
}

func TestAnswer(t *testing.T) {
	f := build(t, Config{Deny: []string{"0.0.0.0/0"}})
	x := exchange.Exchange{ClientIP: netip.MustParseAddr("192.0.2.1")}
	if f.Request(&x) != filter.Respond || x.Response.Status != 403 || x.Record.Reason != exchange.AccessDenied {
		t.Errorf("status %d, reason %q", x.Response.Status, x.Record.Reason)
	}
}

func TestValidate(t *testing.T) {
	for want, c := range map[string]Config{
		"set `allow` or `deny`":                       {},
		`allow "10.0.0/8": must be a network`:         {Allow: []string{"10.0.0/8"}},
		`deny "fe80::1%eth0": must be a network`:      {Deny: []string{"fe80::1%eth0"}},
		`deny "": must be a network`:                  {Deny: []string{"10.0.0.0/8", ""}},
		`allow "::ffff:0:0/64": holds all IPv4`:       {Allow: []string{"::ffff:0:0/64"}},
		`allow "example.com": must be a network such`: {Allow: []string{"example.com"}},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v; want %q", c, err, want)
		}
		if f, err := c.New(filter.Env{}); err == nil || f != nil {
			t.Errorf("%+v: a filter is made of it", c)
		}
	}
}

func TestKey(t *testing.T) {
	var keys []string
	for _, c := range []Config{
		{Owner: "a", Allow: []string{"10.0.0.1"}},
		{Owner: "b", Allow: []string{"10.0.0.1"}},
		{Owner: "a", Deny: []string{"10.0.0.1"}},
		{Owner: "a", Allow: []string{"10.0.0.1", "10.0.0.2"}},
	} {
		if slices.Contains(keys, c.Key()) {
			t.Errorf("%s twice", c.Key())
		}
		keys = append(keys, c.Key())
	}
}

func TestAllocates(t *testing.T) {
	f := build(t, Config{Allow: []string{"10.0.0.0/8"}, Deny: []string{"10.1.0.0/16"}})
	x := exchange.Exchange{ClientIP: netip.MustParseAddr("10.2.3.4")}
	if n := testing.AllocsPerRun(100, func() { f.Request(&x) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzParse: what is taken as a network holds its own first address, and a filter is made of it.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"10.0.0.0/8", "::1", "::ffff:10.0.0.0/104", "fe80::1%a", "0.0.0.0/0", "10.0.0.1/33", "::/0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parse(s)
		if err != nil {
			return
		}
		if !p.IsValid() || p.Addr().Is4In6() || p != p.Masked() {
			t.Fatalf("%q: %v", s, p)
		}
		if !passes(build(t, Config{Allow: []string{s}}), p.Addr().String()) {
			t.Errorf("%q does not hold its own address %v", s, p.Addr())
		}
	})
}

func BenchmarkAccess(b *testing.B) {
	c := Config{Allow: []string{"0.0.0.0/0"}}
	for i := range 4000 {
		c.Deny = append(c.Deny, netip.AddrFrom4([4]byte{172, byte(16 + i>>8), byte(i), 7}).String())
	}
	f := build(b, c)
	x := exchange.Exchange{ClientIP: netip.MustParseAddr("172.17.1.8")}
	b.ReportAllocs()
	for b.Loop() {
		if f.Request(&x) != filter.Continue {
			b.Fatal("stopped")
		}
	}
}
