package accesslog

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

func TestAppendEscaped(t *testing.T) {
	for in, want := range map[string]string{
		"":                       "",
		"plain /path?x=<&>'":     "plain /path?x=<&>'",
		`"quoted" \ back`:        `\"quoted\" \\ back`,
		"forged\r\n{\"a\":1}":    `forged\r\n{\"a\":1}`,
		"\x00\x01\t\x1b[31m\x7f": `\u0000\u0001\t\u001b[31m\u007f`,
		"é":                      `\u00e9`,
		"\u0085\u009b\u2028":     `\u0085\u009b\u2028`,
		"user\u202egnp.exe":      `user\u202egnp.exe`,
		"😀x":                     `\ud83d\ude00x`,
		"a\xffb":                 `a\ufffdb`,
		"\xc0\xaf":               `\ufffd\ufffd`,
		"\xed\xa0\x80":           `\ufffd\ufffd\ufffd`,
		"cut\xf0\x9f\x98":        `cut\ufffd\ufffd\ufffd`,
	} {
		if got := string(appendEscaped(nil, in)); got != want {
			t.Errorf("%q became %s, not %s", in, got, want)
		}
		if got := string(appendEscaped([]byte("before"), []byte(in))); got != "before"+want {
			t.Errorf("%q as bytes became %s", in, got)
		}
	}
}

// valid is s as JSON can say it: every byte that is not UTF-8 is U+FFFD.
func valid(s string) string {
	var b strings.Builder
	for _, r := range s {
		b.WriteRune(r)
	}
	return b.String()
}

func FuzzEncode(f *testing.F) {
	f.Add("shop.example", "/cart", "id", "GET", "shop")
	f.Add("a\r\nb", "/\"\\\x00", "\xff\xfe", "M\u2028", "\U0010ffff")
	f.Add("", "", "", "", "")
	f.Fuzz(func(t *testing.T, host, path, id, method, service string) {
		x := served()
		x.Request.Host, x.Request.Path, x.RequestID = []byte(host), []byte(path), []byte(id)
		x.Request.Method, x.Request.MethodName = exchange.MethodOther, []byte(method)
		x.Record.Service = service
		var e encoder
		e.json(x, service)
		if n := strings.Count(string(e.line), "\n"); n != 1 || e.line[len(e.line)-1] != '\n' {
			t.Fatalf("not one line: %q", e.line)
		}
		for _, c := range e.line[:len(e.line)-1] {
			if c < ' ' || c > '~' {
				t.Fatalf("%q stands in the line: %q", c, e.line)
			}
		}
		var got map[string]any
		if err := json.Unmarshal(e.line, &got); err != nil {
			t.Fatalf("%v: %s", err, e.line)
		}
		for field, want := range map[string]string{
			"host": host, "path": path, "request_id": id, "method": method, "service": service, "config_hash": service,
		} {
			if got[field] != valid(want) {
				t.Errorf("%s is %q, not %q", field, got[field], want)
			}
		}
		e.console(x)
		if strings.Count(string(e.line), "\n") != 1 || !utf8.Valid(e.line) {
			t.Fatalf("not one line: %q", e.line)
		}
	})
}

func TestJSONLine(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(x *exchange.Exchange)
		want   string // without ts
	}{
		{
			"ordinary", func(*exchange.Exchange) {},
			`"request_id":"0123456789abcdef0123456789abcdef","client_ip":"192.0.2.7","method":"GET","host":"shop.example",` +
				`"path":"/cart/items","protocol":"HTTP/1.1","status":200,"bytes_in":12,"bytes_out":3456,"duration_ms":4.567,` +
				`"service":"shop","route":"cart","upstream_addr":"10.0.0.3:8080","upstream_status":200,` +
				`"upstream_connect_ms":0.250,"upstream_duration_ms":2.000,"attempts":1,"config_hash":"9f3c"}`,
		},
		{
			"rewritten", func(x *exchange.Exchange) {
				x.Record.Host, x.Record.Path, x.Record.Namespace = []byte("asked.example"), []byte("/asked"), "ns"
				x.ClientIP = netip.MustParseAddr("2001:db8::1")
				x.Record.Upstream = netip.MustParseAddrPort("[2001:db8::2]:80")
				x.Record.Reason, x.Record.UpstreamStatus, x.Record.UpstreamHead, x.Record.Attempts = "upstream_reset", 0, 0, 2
			},
			`"request_id":"0123456789abcdef0123456789abcdef","client_ip":"2001:db8::1","method":"GET","host":"asked.example",` +
				`"path":"/asked","protocol":"HTTP/1.1","status":200,"reason":"upstream_reset","bytes_in":12,"bytes_out":3456,` +
				`"duration_ms":4.567,"namespace":"ns","service":"shop","route":"cart","upstream_addr":"[2001:db8::2]:80",` +
				`"upstream_connect_ms":0.250,"attempts":2,"config_hash":"9f3c"}`,
		},
		{
			"refused", func(x *exchange.Exchange) {
				x.Request.Method, x.Request.MethodName, x.Request.Path = exchange.MethodOther, []byte("BREW"), nil
				x.Request.RawPath, x.Request.Protocol = []byte("/%zz"), 0
				x.ClientIP, x.RequestID = netip.Addr{}, nil
				x.Record = exchange.Record{Start: 9, End: 8, Status: 400, Reason: exchange.BadRequest}
			},
			`"request_id":"","client_ip":"","method":"BREW","host":"shop.example","path":"/%zz","protocol":"unknown",` +
				`"status":400,"reason":"bad_request","bytes_in":0,"bytes_out":0,"duration_ms":0.000,"service":"","route":"",` +
				`"attempts":0,"config_hash":"9f3c"}`,
		},
		{
			"over TLS", func(x *exchange.Exchange) {
				x.Conn = &exchange.Conn{Secure: true, TLSVersion: "1.3", ServerName: "shop\nexample"}
				x.Record = exchange.Record{Start: 8, End: 8, Status: 404, Reason: exchange.NoRoute}
			},
			`"request_id":"0123456789abcdef0123456789abcdef","client_ip":"192.0.2.7","method":"GET","host":"shop.example",` +
				`"path":"/cart/items","protocol":"HTTP/1.1","status":404,"reason":"no_route","bytes_in":0,"bytes_out":0,` +
				`"duration_ms":0.000,"service":"","route":"","attempts":0,"tls_version":"1.3","sni":"shop\nexample","config_hash":"9f3c"}`,
		},
		{
			"over TLS without a name", func(x *exchange.Exchange) {
				x.Conn = &exchange.Conn{Secure: true, TLSVersion: "1.2"}
				x.Record = exchange.Record{Start: 8, End: 8, Status: 404, Reason: exchange.NoRoute}
			},
			`"request_id":"0123456789abcdef0123456789abcdef","client_ip":"192.0.2.7","method":"GET","host":"shop.example",` +
				`"path":"/cart/items","protocol":"HTTP/1.1","status":404,"reason":"no_route","bytes_in":0,"bytes_out":0,` +
				`"duration_ms":0.000,"service":"","route":"","attempts":0,"tls_version":"1.2","config_hash":"9f3c"}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := served()
			c.change(x)
			var e encoder
			e.json(x, "9f3c")
			var parsed map[string]any
			if err := json.Unmarshal(e.line, &parsed); err != nil {
				t.Fatal(err)
			}
			_, rest, _ := strings.Cut(string(e.line), ",")
			if diff := cmp.Diff(c.want+"\n", rest); diff != "" {
				t.Error(diff)
			}
			if strings.Contains(string(e.line), "canary") {
				t.Error("the query is logged")
			}
		})
	}
}

func TestConsoleLine(t *testing.T) {
	x := served()
	x.Record.Attempts, x.Record.Reason = 2, exchange.UpstreamTruncated
	var e encoder
	e.console(x)
	_, rest, _ := strings.Cut(string(e.line), " ")
	want := "200 GET shop.example/cart/items 4.567ms 3456B 192.0.2.7 > 10.0.0.3:8080 shop/cart tries=2 reason=upstream_truncated\n"
	if diff := cmp.Diff(want, rest); diff != "" {
		t.Error(diff)
	}
	if _, err := time.Parse("15:04:05.000", strings.Fields(string(e.line))[0]); err != nil {
		t.Error(err)
	}
}

func TestTimeIsTheWallClock(t *testing.T) {
	var e encoder
	for range 3 { // the first reads the clock, the others take it from memory
		before := time.Now().Truncate(time.Millisecond)
		text := string(e.appendTime(nil, exchange.Now()))
		got, err := time.Parse("2006-01-02T15:04:05.000Z07:00", text)
		if err != nil {
			t.Fatal(err)
		}
		if got.Before(before.Add(-time.Millisecond)) || got.After(time.Now().Add(time.Millisecond)) {
			t.Errorf("%s is not %s", text, before)
		}
	}
	e = encoder{second: 1_700_000_000, wall: 1_700_000_000_000_000_000}
	copy(e.stamp[:], "2023-11-14T22:13:20")
	if got := string(e.appendTime(nil, 7_999_999)); got != "2023-11-14T22:13:20.007Z" {
		t.Error(got)
	}
}

func TestAppendMillis(t *testing.T) {
	for in, want := range map[exchange.Nanos]string{
		0: "0.000", 999: "0.000", 1000: "0.001", 1_500_000: "1.500", 61_000_000_123: "61000.000", -5: "0.000",
	} {
		if got := string(appendMillis(nil, in)); got != want {
			t.Errorf("%d is %s, not %s", in, got, want)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, format := range []string{JSON, Console} {
		b.Run(fmt.Sprint(format), func(b *testing.B) {
			x := served()
			var e encoder
			b.ReportAllocs()
			for b.Loop() {
				if format == JSON {
					e.json(x, "9f3c2a51")
				} else {
					e.console(x)
				}
			}
		})
	}
}
