package signing

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

// RFC 9421, appendix B.1.4 and B.1.5. They are public: no secret is in them.
const (
	rfcEd25519 = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF\n-----END PRIVATE KEY-----\n" // gitleaks:allow
	rfcShared  = "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ=="                                   // gitleaks:allow
)

var secret = []byte("0123456789abcdef0123456789abcdef") // gitleaks:allow

func build(t testing.TB, c Config) *signing {
	t.Helper()
	f, err := c.New(filter.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return f.(*signing)
}

// request is the one of RFC 9421, appendix B.2.
func request() *exchange.Exchange {
	x := &exchange.Exchange{}
	r := &x.Request
	r.Method, r.MethodName = exchange.POST, []byte("POST")
	r.Host, r.RawPath, r.Path = []byte("example.com"), []byte("/foo"), []byte("/foo")
	r.HasQuery, r.Query = true, []byte("param=Value&Pet=dog")
	for _, f := range [][2]string{
		{"Host", "example.com"},
		{"Date", "Tue, 20 Apr 2021 02:07:55 GMT"},
		{"Content-Type", "application/json"},
		{"Content-Digest", "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:"},
		{"Content-Length", "18"},
	} {
		r.Header.Add(f[0], f[1])
	}
	body := new(exchange.Bytes)
	body.Reset([]byte(`{"hello": "world"}`))
	r.Body, r.ContentLength = body, 18
	return x
}

func TestVectors(t *testing.T) {
	shared, err := base64.StdEncoding.DecodeString(rfcShared)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, params, base, signature string
		config                        Config
	}{
		{
			name:   "B.2.5",
			config: Config{Secret: shared, KeyID: "test-shared-secret", Components: []string{"date", "@authority", "content-type"}},
			params: `;keyid="test-shared-secret"`,
			base: `"date": Tue, 20 Apr 2021 02:07:55 GMT
"@authority": example.com
"content-type": application/json
"@signature-params": ("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"`,
			signature: "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=",
		},
		{
			name: "B.2.6",
			config: Config{
				Algorithm: Ed25519, Secret: []byte(rfcEd25519), KeyID: "test-key-ed25519",
				Components: []string{"date", "@method", "@path", "@authority", "content-type", "content-length"},
			},
			params: `;keyid="test-key-ed25519"`,
			base: `"date": Tue, 20 Apr 2021 02:07:55 GMT
"@method": POST
"@path": /foo
"@authority": example.com
"content-type": application/json
"content-length": 18
"@signature-params": ("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519"`,
			signature: "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==",
		},
	} {
		f := build(t, test.config)
		f.params = test.params // without an algorithm, as the examples are
		x := request()
		base, _ := f.base(x, 1618884473)
		if string(base) != test.base {
			t.Errorf("%s: signed is\n%s\nwant\n%s", test.name, base, test.base)
		}
		if got, want := string(f.sign(x, base)), label+"=:"+test.signature+":"; got != want {
			t.Errorf("%s: %s, want %s", test.name, got, want)
		}
	}
}

// The components of requests that are not the usual ones.
func TestComponents(t *testing.T) {
	for _, test := range []struct {
		name, component string
		change          func(*exchange.Request)
		secure          bool
		want            string // -: the component is left out
	}{
		{"method", "@method", nil, false, "POST"},
		{"a method without a name", "@method", func(r *exchange.Request) { r.MethodName = nil }, false, "POST"},
		{"another method", "@method", func(r *exchange.Request) { r.Method, r.MethodName = exchange.MethodOther, []byte("pRoPFiND") }, false, "pRoPFiND"},
		{"authority", "@authority", func(r *exchange.Request) { r.Host = []byte("WWW.Example.COM:8080") }, false, "www.example.com:8080"},
		{"the usual port", "@authority", func(r *exchange.Request) { r.Host = []byte("a:80") }, false, "a"},
		{"no port", "@authority", func(r *exchange.Request) { r.Host = []byte("a:") }, false, "a"},
		{"the port of https", "@authority", func(r *exchange.Request) { r.Host = []byte("a:443") }, true, "a"},
		{"the other's port", "@authority", func(r *exchange.Request) { r.Host = []byte("a:80") }, true, "a:80"},
		{"IPv6", "@authority", func(r *exchange.Request) { r.Host = []byte("[2001:DB8::1]:80") }, false, "[2001:db8::1]"},
		{"scheme", "@scheme", nil, false, "http"},
		{"https", "@scheme", nil, true, "https"},
		{"target URI", "@target-uri", nil, true, "https://example.com/foo?param=Value&Pet=dog"},
		{"request target", "@request-target", nil, false, "/foo?param=Value&Pet=dog"},
		{"request target, empty query", "@request-target", func(r *exchange.Request) { r.Query = nil }, false, "/foo?"},
		{"request target of OPTIONS", "@request-target", func(r *exchange.Request) { r.Path, r.HasQuery = []byte("*"), false }, false, "*"},
		{"path that was rewritten", "@path", func(r *exchange.Request) { r.Path = []byte("/a%2Fb//") }, false, "/a%2Fb//"},
		{"path that was not normalised", "@path", func(r *exchange.Request) { r.Path = nil }, false, "/foo"},
		{"path of OPTIONS", "@path", func(r *exchange.Request) { r.Path = []byte("*") }, false, "/"},
		{"query", "@query", nil, false, "?param=Value&Pet=dog"},
		{"query as it came", "@query", func(r *exchange.Request) { r.Query = []byte("a=%7e+b&&c") }, false, "?a=%7e+b&&c"},
		{"no query", "@query", func(r *exchange.Request) { r.Query, r.HasQuery = nil, false }, false, "?"},
		{"host", "host", func(r *exchange.Request) { r.Host = []byte("Rewritten.example:80") }, false, "Rewritten.example:80"},
		{"length", "content-length", nil, false, "18"},
		{"no body", "content-length", func(r *exchange.Request) { r.Body, r.ContentLength = nil, 0 }, false, "-"},
		{"chunked", "content-length", func(r *exchange.Request) { r.ContentLength = -1 }, false, "-"},
		{"no field", "x-a", nil, false, "-"},
		{"an empty field", "x-a", func(r *exchange.Request) { r.Header.Add("X-A", "") }, false, ""},
		{"several lines", "x-a", func(r *exchange.Request) {
			r.Header.Add("X-A", " 1 ")
			r.Header.Add("X-B", "no")
			r.Header.Add("x-a", "\t2, 3")
			r.Header.Add("X-A", "")
		}, false, "1, 2, 3, "},
		{"a field that was removed", "content-type", func(r *exchange.Request) { r.Header.Del("Content-Type") }, false, "-"},
	} {
		f := build(t, Config{Secret: secret, KeyID: "k", Components: []string{test.component}, Secure: test.secure})
		x := request()
		if test.change != nil {
			test.change(&x.Request)
		}
		base, input := f.base(x, 7)
		list, line := `("`+test.component+`")`, `"`+test.component+`": `+test.want+"\n"
		if test.want == "-" {
			list, line = "()", ""
		}
		params := list + `;created=7;keyid="k";alg="hmac-sha256"`
		if got, want := string(base), line+`"@signature-params": `+params; got != want {
			t.Errorf("%s: signed is\n%s\nwant\n%s", test.name, got, want)
		}
		if got, want := string(input), label+"="+params; got != want {
			t.Errorf("%s: the field is %s, want %s", test.name, got, want)
		}
	}
}

func get(t *testing.T, x *exchange.Exchange, name string) string {
	t.Helper()
	value, has := x.Request.Header.Get(name)
	if !has {
		t.Fatalf("there is no %s", name)
	}
	return string(value)
}

// What an attempt adds is one signature, of now, that the key verifies.
func TestAttempt(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []Config{
		{Secret: append(slices.Clone(secret), '\n'), KeyID: "k"},
		{Algorithm: Ed25519, Secret: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), KeyID: "k"},
	} {
		f := build(t, c)
		x := request()
		h := &x.Request.Header
		h.Add("Signature-Input", `client=("@method");keyid="k"`)
		h.Add("signature", "client=:AAAA:")
		h.Add("SIGNATURE_INPUT", "pingora-proxy=()")
		h.MarkUnderscored()
		for range 2 { // a second try
			f.Attempt(x)
		}
		names := 0
		for i := range h.Len() {
			if _, name, _, ok := h.At(i); ok && strings.HasPrefix(strings.ToLower(string(name)), "signature") {
				names++
			}
		}
		if names != 2 {
			t.Errorf("%d fields of signatures", names)
		}
		m := regexp.MustCompile(`^pingora-proxy=(\("@method" "@authority" "@path" "@query" "content-digest"\);created=(\d+);keyid="k";alg="[a-z0-9-]+")$`).
			FindStringSubmatch(get(t, x, "Signature-Input"))
		if m == nil {
			t.Fatalf("Signature-Input: %s", get(t, x, "Signature-Input"))
		}
		base := "\"@method\": POST\n\"@authority\": example.com\n\"@path\": /foo\n\"@query\": ?param=Value&Pet=dog\n\"content-digest\": " +
			get(t, x, "Content-Digest") + "\n\"@signature-params\": " + m[1]
		text, _ := strings.CutPrefix(get(t, x, "Signature"), "pingora-proxy=:")
		signature, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(text, ":"))
		if err != nil {
			t.Fatal(err)
		}
		if c.Algorithm == Ed25519 {
			if !ed25519.Verify(public, []byte(base), signature) {
				t.Error("the signature is not the key's")
			}
			continue
		}
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(base))
		if !hmac.Equal(mac.Sum(nil), signature) {
			t.Error("the code is not the key's")
		}
	}
}

// A body as an engine reads it: some bytes are at hand.
type body struct {
	exchange.Bytes
	at []byte
}

func (b *body) Buffered() []byte { return b.at }

func TestDigest(t *testing.T) {
	const hello = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:" // RFC 9530, appendix D
	text := []byte(`{"hello": "world"}`)
	whole := new(exchange.Bytes)
	whole.Reset(text)
	read := new(exchange.Bytes)
	read.Reset(text)
	if _, err := io.ReadAll(read); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name     string
		body     exchange.Body
		length   int64
		declared string
		want     string // empty: none
	}{
		{"in memory", whole, 18, "", hello},
		{"sent before", read, 18, "", hello},
		{"all at hand", &body{at: text}, 18, "", hello},
		{"some at hand", &body{at: text[:17]}, 18, "", ""},
		{"none at hand", &body{}, 18, "", ""},
		{"chunked", &body{at: text}, -1, "", ""},
		{"no body", nil, 0, "", ""},
		{"declared", whole, 18, "sha-512=:AAAA:", "sha-512=:AAAA:"},
		{"declared, streamed", &body{}, -1, "sha-512=:AAAA:", "sha-512=:AAAA:"},
	} {
		f := build(t, Config{Secret: secret, KeyID: "k"})
		x := request()
		h := &x.Request.Header
		h.Del("Content-Digest")
		if test.declared != "" {
			h.Add("Content-Digest", test.declared)
		}
		x.Request.Body, x.Request.ContentLength = test.body, test.length
		f.Attempt(x)
		value, _ := h.Get("Content-Digest")
		if string(value) != test.want {
			t.Errorf("%s: %s, want %s", test.name, value, test.want)
		}
		if covered := strings.Contains(get(t, x, "Signature-Input"), `"content-digest"`); covered != (test.want != "") {
			t.Errorf("%s: %s", test.name, get(t, x, "Signature-Input"))
		}
	}
	f := build(t, Config{Secret: secret, KeyID: "k", Components: []string{"@method"}})
	x := request()
	x.Request.Header.Del("Content-Digest")
	f.Attempt(x)
	if _, has := x.Request.Header.Get("Content-Digest"); has {
		t.Error("a digest is made that nobody asked for")
	}
}

func TestValidate(t *testing.T) {
	good := Config{Secret: secret, KeyID: "edge-1"}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	rsa := "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n" // gitleaks:allow
	for want, change := range map[string]func(*Config){
		"key: has 31 bytes":              func(c *Config) { c.Secret = secret[:31] },
		"key: has 31 bytes; HMACSHA256":  func(c *Config) { c.Secret = []byte(string(secret[:31]) + "\r\n") },
		"key: has 0 bytes":               func(c *Config) { c.Secret = nil },
		"key: Ed25519 needs":             func(c *Config) { c.Algorithm = Ed25519 },
		"key: Ed25519 needs a private":   func(c *Config) { c.Algorithm, c.Secret = Ed25519, []byte(rsa) },
		"key: what stands":               func(c *Config) { c.Algorithm, c.Secret = Ed25519, []byte(strings.ReplaceAll(rsa, "RSA ", "")) },
		"unknown algorithm":              func(c *Config) { c.Algorithm = 7 },
		"key_id: must":                   func(c *Config) { c.KeyID = "" },
		"key_id: must be printable":      func(c *Config) { c.KeyID = `a"b` },
		"key_id: must be printable ASC":  func(c *Config) { c.KeyID = "ü" },
		`component "@path": is there tw`: func(c *Config) { c.Components = []string{"@path", "@path"} },
		`component "@status": is not kn`: func(c *Config) { c.Components = []string{"@status"} },
		`component "Date": must be in l`: func(c *Config) { c.Components = []string{"Date"} },
		`component "a b": a field name `: func(c *Config) { c.Components = []string{"a b"} },
		`component "connection": the fi`: func(c *Config) { c.Components = []string{"connection"} },
		`component "signature": is what`: func(c *Config) { c.Components = []string{"signature"} },
	} {
		c := good
		change(&c)
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
		if f, err := c.New(filter.Env{}); err == nil || f != nil {
			t.Errorf("%s: a filter is made of it", want)
		}
		if err != nil && len(c.Secret) > 0 && strings.Contains(err.Error(), string(c.Secret)) {
			t.Errorf("%v: the key is in the message", err)
		}
	}
}

func TestTrimLine(t *testing.T) {
	for text, want := range map[string]string{
		"abc": "abc", "abc\n": "abc", "abc\r\n": "abc", "abc\n\n": "abc\n\n", "ab\x01\n": "ab\x01\n", "\xff\n": "\xff\n", "": "",
	} {
		if got := trimLine([]byte(text)); string(got) != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestKey(t *testing.T) {
	full := Config{Owner: "o", Algorithm: Ed25519, Secret: []byte("canary"), KeyID: "k", Components: []string{"@path"}, Secure: true}
	for i := range reflect.TypeFor[Config]().NumField() {
		changed := full
		reflect.ValueOf(&changed).Elem().Field(i).SetZero()
		if changed.Key() == full.Key() {
			t.Errorf("the key does not hold %s", reflect.TypeFor[Config]().Field(i).Name)
		}
	}
	if strings.Contains(full.Key(), "canary") {
		t.Error("the secret stands in the key")
	}
}

// FuzzBase: whatever a client sends, each line of what is signed is one component, and the field says which.
func FuzzBase(f *testing.F) {
	f.Add("example.com:80", "/a", "x=1", "value", "more")
	f.Add("[::1]:443", "*", "", " \t", "")
	f.Fuzz(func(t *testing.T, host, path, query, first, second string) {
		for _, s := range []string{host, path, query, first, second} {
			if strings.ContainsAny(s, "\r\n\x00") {
				t.Skip("no engine lets that pass")
			}
		}
		s := build(t, Config{Secret: secret, KeyID: "k", Components: []string{"@authority", "@target-uri", "@request-target", "@query", "@path", "host", "x-a", "cookie"}})
		x := request()
		r := &x.Request
		r.Host, r.Path, r.Query = []byte(host), []byte(path), []byte(query)
		r.Header.Add("X-A", first)
		r.Header.Add("X-A", second)
		base, input := s.base(x, 1)
		lines := strings.Split(string(base), "\n")
		names := regexp.MustCompile(`"([^"]+)"`).FindAllStringSubmatch(strings.Split(string(input), ")")[0], -1)
		if len(lines) != len(names)+1 {
			t.Fatalf("%d lines, %d names:\n%s\n%s", len(lines), len(names), base, input)
		}
		for i, name := range names {
			if !strings.HasPrefix(lines[i], strconv.Quote(name[1])+": ") {
				t.Errorf("line %d is %q, not of %q", i, lines[i], name[1])
			}
		}
	})
}

func BenchmarkAttempt(b *testing.B) {
	for name, c := range map[string]Config{
		"HMACSHA256": {Secret: secret, KeyID: "k"}, "Ed25519": {Algorithm: Ed25519, Secret: []byte(rfcEd25519), KeyID: "k"},
	} {
		b.Run(name, func(b *testing.B) {
			f := build(b, c)
			x := request()
			b.ReportAllocs()
			for b.Loop() {
				x.Reset()
				r := &x.Request
				r.Method, r.Host, r.Path = exchange.GET, []byte("example.com"), []byte("/api/v2/users/42")
				f.Attempt(x)
			}
		})
	}
}
