package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

// counted are the calls of filter.Metrics.
type counted struct {
	mu      sync.Mutex
	limited []string
	errors  int
}

func (c *counted) RateLimited(namespace, service, limit, mode string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limited = append(c.limited, strings.Join([]string{namespace, service, limit, mode}, " "))
}

func (c *counted) SharedLimitError() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.errors++
}
func (*counted) JWKSRefresh(string, bool) {}
func (*counted) Mirrored(string)          {}

type claims map[string]string

func (c claims) Text(name string) (string, bool) { v, ok := c[name]; return v, ok }

func config(change func(*Config)) Config {
	c := Config{
		Owner: "ns/shop", Namespace: "ns", Service: "shop", Name: "per-user", By: ClientIP,
		Requests: 3, Burst: 3, Period: maxPeriod,
	}
	if change != nil {
		change(&c)
	}
	return c
}

func build(t testing.TB, c Config, env filter.Env) *limit {
	t.Helper()
	f, err := c.New(env)
	if err != nil {
		t.Fatal(err)
	}
	return f.(*limit)
}

func from(ip string, fields ...string) *exchange.Exchange {
	x := &exchange.Exchange{}
	if ip != "" {
		x.ClientIP = netip.MustParseAddr(ip)
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		x.Request.Header.Add(name, value)
	}
	return x
}

// passes counts how many of n such requests pass.
func passes(f filter.Filter, n int, request func(i int) *exchange.Exchange) (passed int) {
	for i := range n {
		if f.Request(request(i)) == filter.Continue {
			passed++
		}
	}
	return passed
}

func TestKeys(t *testing.T) {
	same := func(ip string, fields ...string) func(int) *exchange.Exchange {
		return func(int) *exchange.Exchange { return from(ip, fields...) }
	}
	for _, test := range []struct {
		name  string
		by    By
		field string
		each  func(i int) *exchange.Exchange
		want  int // of ten
	}{
		{"the service", Service, "", func(i int) *exchange.Exchange { return from(fmt.Sprintf("10.0.0.%d", i)) }, 3},
		{"one address", ClientIP, "", same("10.0.0.1"), 3},
		{"ten addresses", ClientIP, "", func(i int) *exchange.Exchange { return from(fmt.Sprintf("10.0.0.%d", i)) }, 10},
		{"an address written in two ways", ClientIP, "", func(i int) *exchange.Exchange { return from([]string{"10.0.0.1", "::ffff:10.0.0.1"}[i%2]) }, 3},
		{"a network of IPv6", ClientIP, "", func(i int) *exchange.Exchange { return from(fmt.Sprintf("2001:db8:0:1:%x::1", i)) }, 3},
		{"networks of IPv6", ClientIP, "", func(i int) *exchange.Exchange { return from(fmt.Sprintf("2001:db8:0:%x::1", i)) }, 10},
		{"no address", ClientIP, "", same(""), 3},
		{"one value of a header", Header, "X-Key", func(i int) *exchange.Exchange { return from(fmt.Sprintf("10.0.0.%d", i), "x-key: a") }, 3},
		{"values of a header", Header, "X-Key", func(i int) *exchange.Exchange { return from("10.0.0.1", fmt.Sprintf("X-Key: %d", i)) }, 10},
		{"a header with an ID", Header, "authorization", func(i int) *exchange.Exchange {
			return from(fmt.Sprintf("10.0.0.%d", i), "Authorization: a", fmt.Sprintf("X-Other: %d", i))
		}, 3},
		{"two lines of a header", Header, "X-Key", func(i int) *exchange.Exchange {
			return from("10.0.0.1", "X-Key: a", fmt.Sprintf("X-Key: %d", i))
		}, 10},
		{"no header", Header, "X-Key", same("10.0.0.1", "X-Keys: a"), 3},
		{"an empty header", Header, "X-Key", func(i int) *exchange.Exchange {
			return from(fmt.Sprintf("10.0.0.%d", i%2), "X-Key: ")
		}, 6},
		{"a cookie", Cookie, "sid", func(i int) *exchange.Exchange {
			return from(fmt.Sprintf("10.0.0.%d", i), fmt.Sprintf("Cookie: a=%d; sid=x; sid=%d", i, i))
		}, 3},
		{"a cookie of another line", Cookie, "sid", func(i int) *exchange.Exchange {
			return from(fmt.Sprintf("10.0.0.%d", i), "Cookie: asid=y", "Cookie: sid=x")
		}, 3},
		{"values of a cookie", Cookie, "sid", func(i int) *exchange.Exchange { return from("10.0.0.1", fmt.Sprintf("Cookie: sid=%d", i)) }, 10},
		{"no cookie", Cookie, "sid", same("10.0.0.1", "Cookie: SID=x; sid; xsid=1"), 3},
		{"a claim", JWTClaim, "sub", func(i int) *exchange.Exchange {
			x := from(fmt.Sprintf("10.0.0.%d", i))
			x.Identity.Claims = claims{"sub": "me"}
			return x
		}, 3},
		{"no claim", JWTClaim, "sub", func(int) *exchange.Exchange {
			x := from("10.0.0.1")
			x.Identity.Claims = claims{"aud": "me"}
			return x
		}, 3},
		{"no token", JWTClaim, "sub", same("10.0.0.1"), 3},
		{"another's address for a value", Header, "X-Key", func(i int) *exchange.Exchange {
			if i < 3 {
				return from("65.65.65.65", "X-Key: AAAA") // the bytes of that address
			}
			return from("65.65.65.65")
		}, 6},
	} {
		f := build(t, config(func(c *Config) { c.By, c.Field = test.by, test.field }), filter.Env{})
		if got := passes(f, 10, test.each); got != test.want {
			t.Errorf("%s: %d of 10 pass, want %d", test.name, got, test.want)
		}
	}
}

func fields(h *exchange.Header) (out []string) {
	for i := range h.Len() {
		if _, name, value, ok := h.At(i); ok && (strings.HasPrefix(string(name), "RateLimit") || string(name) == "Retry-After") {
			out = append(out, string(name)+": "+string(value))
		}
	}
	return out
}

func TestAnswers(t *testing.T) {
	metrics := &counted{}
	f := build(t, config(func(c *Config) { c.Requests, c.Burst, c.Period = 2, 2, time.Hour }), filter.Env{Metrics: metrics})
	other := build(t, config(func(c *Config) { c.Name, c.By = "all", Service }), filter.Env{})
	for i, want := range [][]string{
		{`RateLimit-Policy: "all";q=3;w=86400`, `RateLimit: "all";r=2;t=28800`, `RateLimit-Policy: "per-user";q=2;w=3600`, `RateLimit: "per-user";r=1;t=1800`},
		{`RateLimit-Policy: "all";q=3;w=86400`, `RateLimit: "all";r=1;t=28800`, `RateLimit-Policy: "per-user";q=2;w=3600`, `RateLimit: "per-user";r=0;t=1800`},
		{
			"Retry-After: 1800", `RateLimit-Policy: "all";q=3;w=86400`, `RateLimit: "all";r=0;t=28800`, `RateLimit-Policy: "per-user";q=2;w=3600`,
			`RateLimit: "per-user";r=0;t=1800`,
		},
	} {
		x := from("10.0.0.1")
		other.Request(x)
		verdict := f.Request(x)
		other.Response(x)
		f.Response(x)
		if got := fields(&x.Response.Header); !slices.Equal(got, want) {
			t.Errorf("request %d: %q, want %q", i, got, want)
		}
		if limited := i == 2; limited != (verdict == filter.Respond) || limited != (x.Response.Status == 429) ||
			limited != (x.Record.Reason == exchange.RateLimited) || limited != (x.Record.RateLimited == "per-user") {
			t.Errorf("request %d: verdict %d, status %d, reason %q, limit %q", i, verdict, x.Response.Status, x.Record.Reason, x.Record.RateLimited)
		}
	}
	if want := []string{"ns shop per-user Enforce"}; !slices.Equal(metrics.limited, want) {
		t.Errorf("counted %q", metrics.limited)
	}
}

func TestObserve(t *testing.T) {
	metrics := &counted{}
	f := build(t, config(func(c *Config) { c.Observe = true }), filter.Env{Metrics: metrics})
	above := 0
	for range 5 {
		x := from("10.0.0.1")
		if f.Request(x) != filter.Continue {
			t.Error("a request is stopped")
		}
		f.Response(x)
		if got := fields(&x.Response.Header); got != nil {
			t.Errorf("the client is told: %q", got)
		}
		if x.Record.RateLimited == "per-user" {
			above++
		}
	}
	if want := []string{"ns shop per-user Observe", "ns shop per-user Observe"}; above != 2 || !slices.Equal(metrics.limited, want) {
		t.Errorf("%d requests above; counted %q", above, metrics.limited)
	}
}

func TestTime(t *testing.T) {
	f := build(t, config(func(c *Config) { c.Requests, c.Burst, c.Period = 60, 5, time.Minute }), filter.Env{})
	x := from("10.0.0.1")
	now := 100 * second
	for i := range 5 {
		if allowed, remaining, next := f.count(x, now); !allowed || remaining != 4-i || next != time.Second {
			t.Fatalf("request %d: %v, %d, %v", i, allowed, remaining, next)
		}
	}
	if allowed, remaining, next := f.count(x, now+second/4); allowed || remaining != 0 || next != 750*time.Millisecond {
		t.Errorf("above: %v, %d, %v", allowed, remaining, next)
	}
	for range 10 {
		now += second
		if allowed, remaining, _ := f.count(x, now); !allowed || remaining != 0 {
			t.Errorf("one a second: %v, %d", allowed, remaining)
		}
	}
	if allowed, remaining, _ := f.count(x, now+3600*second); !allowed || remaining != 4 {
		t.Errorf("after an hour: %v, %d", allowed, remaining)
	}
}

func TestServiceCountsConcurrently(t *testing.T) {
	f := build(t, config(func(c *Config) { c.By, c.Requests, c.Burst = Service, 500, 500 }), filter.Env{})
	var all sync.WaitGroup
	var mu sync.Mutex
	total := 0
	for range 8 {
		all.Go(func() {
			n := passes(f, 100, func(int) *exchange.Exchange { return from("10.0.0.1") })
			mu.Lock()
			total += n
			mu.Unlock()
		})
	}
	all.Wait()
	if total != 500 {
		t.Errorf("%d of 800 pass, want 500", total)
	}
}

// A store is a fake of filter.Shared.
type store struct {
	err   error
	asked []string
}

func (s *store) Take(_ context.Context, key string, burst int, interval time.Duration) (bool, int, time.Duration, time.Duration, error) {
	s.asked = append(s.asked, key)
	if s.err != nil {
		return false, 0, 0, 0, s.err
	}
	n := len(s.asked)
	if n > burst {
		return false, 0, interval / 2, time.Duration(burst) * interval, nil
	}
	return true, burst - n, 0, time.Duration(n)*interval - interval/4, nil
}

func TestShared(t *testing.T) {
	metrics, asked := &counted{}, &store{}
	c := config(func(c *Config) { c.Shared, c.Period, c.By, c.Field = true, 3*time.Hour, Header, "X-Key" })
	f := build(t, c, filter.Env{Shared: asked, Metrics: metrics})
	for i, want := range []string{
		`RateLimit: "per-user";r=2;t=2700`, `RateLimit: "per-user";r=1;t=2700`, `RateLimit: "per-user";r=0;t=2700`, `RateLimit: "per-user";r=0;t=1800`,
	} {
		x := from("10.0.0.1", "X-Key: secret-value")
		f.Request(x)
		f.Response(x)
		if got := fields(&x.Response.Header); got[len(got)-1] != want {
			t.Errorf("request %d: %q, want %q", i, got, want)
		}
	}
	for _, key := range asked.asked {
		if key != asked.asked[0] || strings.Contains(key, "secret") || !strings.HasPrefix(key, "pingora-proxy:limit:ns/shop:per-user:") || len(key) > 80 {
			t.Errorf("the store was asked for %q", key)
		}
	}
	build(t, c, filter.Env{Shared: asked}).Request(from("10.0.0.1", "X-Key: other"))
	if asked.asked[4] == asked.asked[0] {
		t.Error("two values have one key")
	}
	build(t, c, filter.Env{Shared: asked}).Request(from("10.0.0.2", "X-Key: secret-value"))
	if asked.asked[5] != asked.asked[0] {
		t.Error("two replicas have two keys for one value")
	}

	for i, x := range []*exchange.Exchange{from("65.65.65.65"), from("10.0.0.1", "X-Key: AAAA")} { // the bytes of that address
		f.Request(x)
		if key := asked.asked[len(asked.asked)-1]; i == 1 && key == asked.asked[len(asked.asked)-2] {
			t.Error("a value that is another's address has its key")
		}
	}

	asked.err = errors.New("away")
	if got := passes(f, 5, func(int) *exchange.Exchange { return from("10.0.0.1", "X-Key: a") }); got != 3 {
		t.Errorf("without the store %d of 5 pass, want 3", got)
	}
	if metrics.errors != 5 {
		t.Errorf("%d requests without an answer are counted", metrics.errors)
	}
	asked.err = filter.ErrNoStore
	f.Request(from("10.0.0.1"))
	if metrics.errors != 5 {
		t.Error("a store that is not configured counts as one that is away")
	}
}

func TestDivided(t *testing.T) {
	replicas := 1
	env := filter.Env{Replicas: func() int { return replicas }}
	for _, test := range []struct {
		replicas, requests, burst, want int
		shared                          bool
	}{
		{1, 12, 12, 12, true}, {3, 12, 12, 4, true}, {3, 12, 12, 12, false}, {5, 12, 12, 2, true}, {100, 12, 12, 1, true}, {3, 30, 2, 1, true},
	} {
		replicas = test.replicas
		for _, by := range []By{Service, ClientIP} {
			f := build(t, config(func(c *Config) { c.By, c.Requests, c.Burst, c.Shared = by, test.requests, test.burst, test.shared }), env)
			if got := passes(f, 50, func(int) *exchange.Exchange { return from("10.0.0.1") }); got != test.want {
				t.Errorf("%+v by %d: %d pass", test, by, got)
			}
		}
	}
	replicas = 3
	share := build(t, config(func(c *Config) { c.Requests, c.Burst, c.Period, c.Shared = 12, 6, time.Minute, true }), env)
	if interval, tolerance := share.pace(); time.Duration(interval) != 15*time.Second || time.Duration(tolerance) != 30*time.Second {
		t.Errorf("a third of 12 a minute: one in %v, %v ahead", time.Duration(interval), time.Duration(tolerance))
	}
	replicas = 1000
	f := build(t, config(func(c *Config) { c.Shared = true }), env)
	if interval, tolerance := f.pace(); interval != int64(maxPeriod) || tolerance != int64(maxPeriod) {
		t.Errorf("the share is less than one in a period: %v, %v", time.Duration(interval), time.Duration(tolerance))
	}
}

func TestInherit(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Config)
		same   bool // lineage
		want   int  // of ten, after three of three
	}{
		{"more", func(c *Config) { c.Requests, c.Burst = 6, 6 }, true, 0}, // three of three are a whole period, and so are six of six
		{"a wider burst", func(c *Config) { c.Burst = 5 }, true, 2},
		{"observed", func(c *Config) { c.Observe = true }, true, 10},
		{"another period", func(c *Config) { c.Period = time.Hour }, false, 3},
		{"another key", func(c *Config) { c.By = Service }, false, 3},
		{"another name", func(c *Config) { c.Name = "other" }, false, 3},
		{"another owner", func(c *Config) { c.Owner = "ns/shop/api" }, false, 3},
	} {
		old, c := config(nil), config(test.change)
		f := build(t, old, filter.Env{})
		passes(f, 3, func(int) *exchange.Exchange { return from("10.0.0.1") })
		if (c.Lineage() == old.Lineage()) != test.same {
			t.Errorf("%s: lineages %s and %s", test.name, old.Lineage(), c.Lineage())
		}
		var heir filter.Filter = build(t, c, filter.Env{})
		if test.same {
			var err error
			if heir, err = c.Inherit(filter.Env{}, f); err != nil {
				t.Fatal(err)
			}
		}
		if got := passes(heir, 10, func(int) *exchange.Exchange { return from("10.0.0.1") }); got != test.want {
			t.Errorf("%s: %d of 10 pass, want %d", test.name, got, test.want)
		}
	}
	if f, err := config(nil).Inherit(filter.Env{}, filter.Nop{}); err != nil || f == nil {
		t.Errorf("of another's filter: %v, %v", f, err)
	}
	if f, err := (Config{}).Inherit(filter.Env{}, build(t, config(nil), filter.Env{})); err == nil || f != nil {
		t.Errorf("an invalid one: %v, %v", f, err)
	}
}

func TestKey(t *testing.T) {
	full := config(func(c *Config) { c.By, c.Field, c.Shared, c.Observe = Header, "X-Key", true, true })
	for i := range reflect.TypeFor[Config]().NumField() {
		changed := full
		reflect.ValueOf(&changed).Elem().Field(i).SetZero()
		if changed.Key() == full.Key() {
			t.Errorf("the key does not hold %s", reflect.TypeFor[Config]().Field(i).Name)
		}
	}
}

func TestValidate(t *testing.T) {
	if err := config(nil).Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Config){
		"name: must":                    func(c *Config) { c.Name = `a"b` },
		"name: must be printable":       func(c *Config) { c.Name = "" },
		"key: unknown":                  func(c *Config) { c.By, c.Field = 9, "x" },
		"key_name: is for":              func(c *Config) { c.Field = "x" },
		"key_name: is for the keys":     func(c *Config) { c.By = Cookie },
		"requests: must":                func(c *Config) { c.Requests = 0 },
		"requests: must be between 1 ":  func(c *Config) { c.Requests = maxRequests + 1 },
		"burst: must":                   func(c *Config) { c.Burst = 0 },
		"period_secs: must":             func(c *Config) { c.Period = time.Millisecond },
		"period_secs: must be between ": func(c *Config) { c.Period = 25 * time.Hour },
	} {
		c := config(change)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v; want %q", c, err, want)
		}
		if f, err := c.New(filter.Env{}); err == nil || f != nil {
			t.Errorf("%+v: a filter is made of it", c)
		}
	}
}

func TestAllocates(t *testing.T) {
	for _, by := range []By{Service, ClientIP, Header, Cookie, JWTClaim} {
		c := config(func(c *Config) { c.By, c.Requests, c.Burst = by, maxRequests, maxRequests })
		if by >= Header {
			c.Field = "sub"
		}
		f := build(t, c, filter.Env{})
		x := from("10.0.0.1")
		x.Identity.Claims = claims{"sub": "me"}
		held := x.Identity
		if n := testing.AllocsPerRun(100, func() {
			x.Reset()
			x.ClientIP, x.Identity = netip.AddrFrom4([4]byte{10, 0, 0, 1}), held
			x.Request.Header.Add("Sub", "v")
			x.Request.Header.Add("Sub", "w")
			x.Request.Header.Add("Cookie", "a=b; sub=me")
			f.Request(x)
			f.Response(x)
		}); n != 0 {
			t.Errorf("by %d: %v allocations", by, n)
		}
	}
}

// FuzzCookie: a cookie's value is what stands behind its name, and a piece of the field.
func FuzzCookie(f *testing.F) {
	for _, s := range []string{"sid=a", "a=b; sid=c", "sid", ";sid=;sid=x", " \tsid=a=b;", "xsid=1; sid=2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, field string) {
		var h exchange.Header
		h.Add("Cookie", field)
		got := cookie(&h, "sid")
		var want []byte
		for pair := range strings.SplitSeq(field, ";") {
			if v, ok := strings.CutPrefix(strings.TrimLeft(pair, " \t"), "sid="); ok {
				want = []byte(v)
				break
			}
		}
		if string(got) != string(want) {
			t.Errorf("%q: %q, want %q", field, got, want)
		}
	})
}

func BenchmarkLimit(b *testing.B) {
	for name, by := range map[string]By{"Service": Service, "ClientIP": ClientIP, "Header": Header} {
		b.Run(name, func(b *testing.B) {
			c := config(func(c *Config) { c.By, c.Requests, c.Burst = by, maxRequests, maxRequests })
			if by == Header {
				c.Field = "X-Key"
			}
			f := build(b, c, filter.Env{})
			x := from("10.0.0.1", "X-A: 1", "X-B: 2", "X-Key: abcdefghijklmnop")
			b.ReportAllocs()
			for b.Loop() {
				x.Quotas = x.Quotas[:0]
				if f.Request(x) != filter.Continue {
					b.Fatal("limited")
				}
			}
		})
	}
	b.Run("with its response", func(b *testing.B) {
		f := build(b, config(func(c *Config) { c.Requests, c.Burst = maxRequests, maxRequests }), filter.Env{})
		x := from("10.0.0.1")
		b.ReportAllocs()
		for b.Loop() {
			x.Reset()
			f.Request(x)
			f.Response(x)
		}
	})
}
