package jwt

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

func TestAlgorithms(t *testing.T) {
	for _, alg := range []string{"RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA"} {
		k := newKey(t, "k", alg)
		f, _ := start(t, inline(setOf(k)), nil)
		x := ask(f, bearer(k.token(t, nil)))
		if said(x) != "" || x.Identity.User != "alice" {
			t.Errorf("%s: %s, user %q", alg, said(x), x.Identity.User)
		}
		if scope, ok := x.Identity.Claims.Text("scope"); !ok || scope != "openid shop.read" {
			t.Errorf("%s: scope %q", alg, scope)
		}
		token := k.token(t, nil)
		at := strings.LastIndexByte(token, '.') + 5
		other := byte('A')
		if token[at] == 'A' {
			other = 'B'
		}
		if got := said(ask(f, bearer(token[:at]+string(other)+token[at+1:]))); got != "401 jwt_invalid" {
			t.Errorf("%s with another signature: %q", alg, got)
		}
	}
}

// Each of these was let pass by somebody's library once, or is refused by the standard.
func TestRefused(t *testing.T) {
	k, e := newKey(t, "k", "RS256"), newKey(t, "e", "ES256")
	evil := newKey(t, "evil", "ES256")
	ps := &testKey{id: "pinned", alg: "PS256", private: k.private}
	pinned := k.jwk()
	pinned["kid"], pinned["alg"] = "pinned", "RS256"
	oct := dict{"kty": "oct", "kid": "oct", "k": b64([]byte("0123456789abcdef0123456789abcdef")), "alg": "HS256"}
	c := inline(set(k.jwk(), e.jwk(), pinned, oct))
	c.Providers[0].Audiences = []string{"shop", "admin"}
	c.Providers = append(c.Providers, Provider{Name: "other", Issuer: "https://other", Keys: setOf(evil), Leeway: 0})
	f, _ := start(t, c, nil)
	modulus := []byte(fmt.Sprint(k.jwk()["n"]))
	good := k.token(t, nil)
	parts := strings.Split(good, ".")
	head := func(changes dict) dict {
		h := k.header()
		for name, value := range changes {
			h[name] = value
		}
		return h
	}
	now := time.Now()
	for name, test := range map[string]struct{ token, want string }{
		"good":                  {good, ""},
		"no kid":                {k.sign(t, dict{"alg": "RS256"}, claims(nil)), ""},
		"audience in a list":    {k.token(t, dict{"aud": []string{"x", "admin"}}), ""},
		"a little late":         {k.token(t, dict{"exp": now.Add(-20 * time.Second).Unix()}), ""},
		"a little early":        {k.token(t, dict{"nbf": now.Add(20 * time.Second).Unix()}), ""},
		"a fraction of time":    {k.token(t, dict{"exp": float64(now.Unix()) + 3600.5}), ""},
		"none":                  {b64(marshal(dict{"alg": "none"})) + "." + parts[1] + ".", "401 jwt_invalid"},
		"nOnE with a signature": {b64(marshal(dict{"alg": "nOnE"})) + "." + parts[1] + "." + parts[2], "401 jwt_invalid"},
		"HMAC with public key":  {hmacToken(modulus, dict{"alg": "HS256", "kid": "k"}, claims(nil)), "401 jwt_invalid"},
		"HMAC with oct key":     {hmacToken([]byte("0123456789abcdef0123456789abcdef"), dict{"alg": "HS256", "kid": "oct"}, claims(nil)), "401 jwt_invalid"},
		"algorithm of another":  {e.sign(t, dict{"alg": "ES256", "kid": "k"}, claims(nil)), "401 jwt_invalid"},
		"PS256 by an RS256 key": {ps.token(t, nil), "401 jwt_invalid"},
		"key of other provider": {evil.token(t, nil), "401 jwt_invalid"},
		"unknown key":           {evil.sign(t, dict{"alg": "ES256"}, claims(nil)), "401 jwt_invalid"},
		"key in the header":     {evil.sign(t, dict{"alg": "ES256", "jwk": evil.jwk()}, claims(nil)), "401 jwt_invalid"},
		"jku":                   {evil.sign(t, dict{"alg": "ES256", "kid": "evil", "jku": "http://127.0.0.1:1/"}, claims(nil)), "401 jwt_invalid"},
		"crit":                  {k.sign(t, head(dict{"crit": []string{"exp"}, "exp": 1}), claims(nil)), "401 jwt_invalid"},
		"b64":                   {k.sign(t, head(dict{"b64": true}), claims(nil)), "401 jwt_invalid"},
		"zip":                   {k.sign(t, head(dict{"zip": "DEF"}), claims(nil)), "401 jwt_invalid"},
		"encrypted":             {good + ".a.b", "401 jwt_invalid"},
		"two parts":             {parts[0] + "." + parts[1], "401 jwt_invalid"},
		"no signature":          {parts[0] + "." + parts[1] + ".", "401 jwt_invalid"},
		"nothing":               {"", "401 jwt_invalid"},
		"padding":               {parts[0] + "." + parts[1] + "." + parts[2] + "=", "401 jwt_invalid"},
		"line break":            {parts[0] + "." + parts[1] + "." + parts[2][:9] + "\t" + parts[2][9:], "401 jwt_invalid"},
		"base64, not url":       {parts[0] + "." + parts[1] + "." + strings.Repeat("+/", 20), "401 jwt_invalid"},
		"too long":              {k.token(t, dict{"x": strings.Repeat("x", 8192)}), "401 jwt_invalid"},
		"other issuer":          {k.token(t, dict{"iss": "https://id.example.com/"}), "401 jwt_invalid"},
		"wrong issuer":          {k.token(t, dict{"iss": "https://other"}), "401 jwt_invalid"},
		"no issuer":             {k.token(t, dict{"iss": nil}), "401 jwt_invalid"},
		"issuer in a list":      {k.token(t, dict{"iss": []string{issuer}}), "401 jwt_invalid"},
		"other audience":        {k.token(t, dict{"aud": "Shop"}), "401 jwt_invalid"},
		"no audience":           {k.token(t, dict{"aud": nil}), "401 jwt_invalid"},
		"empty audiences":       {k.token(t, dict{"aud": []string{}}), "401 jwt_invalid"},
		"expired":               {k.token(t, dict{"exp": now.Add(-40 * time.Second).Unix()}), "401 jwt_expired"},
		"not yet":               {k.token(t, dict{"nbf": now.Add(40 * time.Second).Unix()}), "401 jwt_expired"},
		"no exp":                {k.token(t, dict{"exp": nil}), "401 jwt_invalid"},
		"exp as text":           {k.token(t, dict{"exp": "9999999999"}), "401 jwt_invalid"},
		"exp without end":       {k.token(t, dict{"exp": 1e300}), "401 jwt_invalid"},
		"nbf as text":           {k.token(t, dict{"nbf": "1"}), "401 jwt_invalid"},
		"expired, forged":       {evil.sign(t, dict{"alg": "ES256"}, claims(dict{"exp": 1})), "401 jwt_invalid"},
	} {
		for range 2 { // also when it is known
			if got := said(ask(f, bearer(test.token))); got != test.want {
				t.Errorf("%s: %q, want %q", name, got, test.want)
			}
		}
	}
	// Members that are there twice: text made by hand.
	for _, text := range []string{
		`{"alg":"RS256","alg":"none"}`, `{"alg":"RS256"} {}`, `["RS256"]`, `{"alg":"RS256"`, `null`, `{"alg":["RS256"]}`, `{"alg":"RS256","kid":1}`,
		"{\"alg\":\"RS256\",\"x\":\"\xff\"}",
	} {
		signed := b64([]byte(text)) + "." + parts[1]
		if got := said(ask(f, bearer(signed+"."+b64(k.signature(t, []byte(signed)))))); got != "401 jwt_invalid" {
			t.Errorf("%s: %q", text, got)
		}
	}
	for _, text := range []string{
		`{"iss":"https://id.example.com","exp":9999999999,"aud":"shop","sub":"a","sub":"b"}`, `[]`, `{"iss":"https://id.example.com","exp":9999999999,"aud":"shop"}x`,
		"{\"iss\":\"https://id.example.com\",\"exp\":9999999999,\"aud\":\"shop\",\"sub\":\"\xff\"}",
	} {
		signed := parts[0] + "." + b64([]byte(text))
		if got := said(ask(f, bearer(signed+"."+b64(k.signature(t, []byte(signed)))))); got != "401 jwt_invalid" {
			t.Errorf("%s: %q", text, got)
		}
	}
}

func TestChallenge(t *testing.T) {
	k := newKey(t, "k", "EdDSA")
	c := inline(setOf(k))
	c.Providers[0].Required = []Requirement{{"scope", "shop.write"}}
	f, _ := start(t, c, nil)
	for name, test := range map[string]struct {
		lines []([2]string)
		want  string
	}{
		"nothing":      {nil, `401 jwt_missing Bearer realm="restricted"`},
		"other scheme": {[][2]string{{"Authorization", "Basic YTpi"}}, `401 jwt_missing Bearer realm="restricted"`},
		"several":      {[][2]string{bearer("a"), bearer("b")}, `400 bad_request Bearer realm="restricted", error="invalid_request", error_description="there is more than one Authorization field"`},
		"expired":      {[][2]string{bearer(k.token(t, dict{"exp": 1}))}, `401 jwt_expired Bearer realm="restricted", error="invalid_token", error_description="the token has expired"`},
		"scope":        {[][2]string{bearer(k.token(t, nil))}, `403 jwt_claims Bearer realm="restricted", error="insufficient_scope", error_description="a claim that is required is missing or has another value", scope="shop.write"`},
		"in any case":  {[][2]string{{"authorization", "bEaReR  " + k.token(t, dict{"scope": "shop.write"})}}, ""},
	} {
		x := ask(f, test.lines...)
		got := said(x)
		if got != "" {
			challenge, _ := x.Response.Header.Get("WWW-Authenticate")
			got += " " + string(challenge)
		}
		if got != test.want {
			t.Errorf("%s: %s\nwant %s", name, got, test.want)
		}
	}
}

func TestRequired(t *testing.T) {
	k := newKey(t, "k", "EdDSA")
	for _, test := range []struct {
		claim, value string
		has          any
		pass         bool
	}{
		{"scope", "a", "b a", true},
		{"scope", "a b", "b c a", true},
		{"scope", "a", "ab", false},
		{"scope", "", "a", false},
		{"scope", "a d", "b c a", false},
		{"scp", "a", []string{"b", "a"}, true},
		{"role", "admin", "admin", true},
		{"role", "admin", "not admin", false},
		{"role", "admin", "Admin", false},
		{"role", "admin", []string{"user", "admin"}, true},
		{"role", "admin", []any{[]string{"admin"}}, false},
		{"role", "admin", dict{"admin": true}, false},
		{"role", "admin", nil, false},
		{"level", "3", 3, true},
		{"level", "3", "3", true},
		{"level", "3", 30, false},
		{"admin", "true", true, true},
		{"admin", "true", false, false},
	} {
		c := inline(setOf(k))
		c.Providers[0].Required = []Requirement{{"sub", "alice"}, {test.claim, test.value}}
		f, _ := start(t, c, nil)
		token := k.token(t, dict{test.claim: test.has})
		for range 2 {
			if x := ask(f, bearer(token)); (said(x) == "") != test.pass || !test.pass && said(x) != "403 jwt_claims" {
				t.Errorf("%s %q of %v: %q", test.claim, test.value, test.has, said(x))
			} else if x.Identity.User != "alice" {
				t.Errorf("user %q", x.Identity.User)
			}
		}
	}
}

func TestClaimsToHeaders(t *testing.T) {
	k, other := newKey(t, "k", "EdDSA"), newKey(t, "o", "EdDSA")
	c := inline(setOf(k))
	c.Providers[0].Headers = []ClaimHeader{{"sub", "X-User-Id"}, {"groups", "X-Groups"}, {"n", "X-N"}}
	c.Providers = append(c.Providers, Provider{Name: "other", Issuer: "other", Keys: setOf(other), Headers: []ClaimHeader{{"sub", "X-Other"}}})
	f, _ := start(t, c, nil)
	for name, test := range map[string]struct {
		changes dict
		want    []string
	}{
		"texts":       {dict{"groups": []any{"a", "b c", 3, true}, "n": 1.5}, []string{"X-User-Id: alice", "X-Groups: a,b c,3,true", "X-N: 1.5"}},
		"absent":      {dict{"sub": nil}, nil},
		"line break":  {dict{"sub": "a\r\nX-Admin: 1", "n": 1}, []string{"X-N: 1"}},
		"NUL":         {dict{"sub": "a\x00"}, nil},
		"space":       {dict{"sub": " a"}, nil},
		"empty":       {dict{"sub": ""}, nil},
		"object":      {dict{"groups": dict{"a": 1}, "n": []any{[]string{"a"}}}, []string{"X-User-Id: alice"}},
		"comma":       {dict{"groups": []string{"a,admin"}}, []string{"X-User-Id: alice"}},
		"list, break": {dict{"groups": []string{"a", "b\n"}}, []string{"X-User-Id: alice"}},
		"not ASCII":   {dict{"sub": "ünï"}, []string{"X-User-Id: ünï"}},
	} {
		token := k.token(t, test.changes)
		for range 2 {
			x := ask(f, bearer(token), [2]string{"x-user-id", "root"}, [2]string{"X_USER-ID", "root"}, [2]string{"X_Other", "root"}, [2]string{"X-Groups", "admin"},
				[2]string{"X-N", "0"}, [2]string{"X-Keep", "1"})
			want := append([]string{"Authorization: Bearer " + token, "X-Keep: 1"}, test.want...)
			if diff := cmp.Diff(want, lines(&x.Request.Header)); diff != "" || said(x) != "" {
				t.Errorf("%s: %s %s", name, said(x), diff)
			}
		}
	}
}

func TestCookieAndForward(t *testing.T) {
	k, other := newKey(t, "k", "EdDSA"), newKey(t, "o", "EdDSA")
	c := inline(setOf(k))
	c.Providers[0].Cookie, c.Providers[0].Forward = "session", false
	c.Providers = append(c.Providers, Provider{Name: "other", Issuer: "other", Keys: setOf(other)})
	f, _ := start(t, c, nil)
	token := k.token(t, nil)
	foreign := other.token(t, dict{"iss": "other"})
	for name, test := range map[string]struct {
		lines [][2]string
		want  string
		left  []string
	}{
		"cookie":           {[][2]string{{"Cookie", "a=b; session=" + token + "; c=d"}}, "", []string{"Cookie: a=b; c=d"}},
		"quoted":           {[][2]string{{"Cookie", `session="` + token + `"`}}, "", nil},
		"two lines":        {[][2]string{{"Cookie", "a=b"}, {"Cookie", "session=" + token}}, "", []string{"Cookie: a=b"}},
		"case":             {[][2]string{{"Cookie", "Session=" + token}}, "401 jwt_missing", nil},
		"twice":            {[][2]string{{"Cookie", "session=" + token + "; session=" + token}}, "401 jwt_invalid", nil},
		"twice, two lines": {[][2]string{{"Cookie", "session=" + token}, {"Cookie", "session=x"}}, "401 jwt_invalid", nil},
		"empty":            {[][2]string{{"Cookie", "session="}}, "401 jwt_invalid", nil},
		"header first":     {[][2]string{{"Cookie", "session=x; a=b"}, bearer(token)}, "", []string{"Cookie: a=b"}},
		"header is wrong":  {[][2]string{{"Cookie", "session=" + token}, bearer("x")}, "401 jwt_invalid", nil},
		"other scheme":     {[][2]string{{"Cookie", "session=" + token}, {"Authorization", "Basic x"}}, "401 jwt_missing", nil},
		"other provider":   {[][2]string{{"Cookie", "session=" + foreign}}, "401 jwt_invalid", nil},
	} {
		for range 2 {
			x := ask(f, test.lines...)
			if got := said(x); got != test.want {
				t.Errorf("%s: %q, want %q", name, got, test.want)
			} else if diff := cmp.Diff(test.left, lines(&x.Request.Header)); got == "" && diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	}
	// That a token was believed in its own way says nothing about another one.
	if got := said(ask(f, bearer(foreign))); got != "" {
		t.Errorf("the other provider's token: %q", got)
	}
	if got := said(ask(f, [2]string{"Cookie", "session=" + foreign})); got != "401 jwt_invalid" {
		t.Errorf("the same in a cookie: %q", got)
	}
}

func TestEmptySet(t *testing.T) {
	f, _ := start(t, inline([]byte(`{"keys":[]}`)), nil)
	if got := said(ask(f, bearer(newKey(t, "k", "EdDSA").token(t, nil)))); got != "503 auth_unavailable" {
		t.Errorf("%q", got)
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache()
	for i := range 3 * maxKnown * shards {
		o := &outcome{size: 10}
		o.of[0], o.of[1], o.of[2], o.of[3] = byte(i), byte(i>>8), byte(i>>16), 1
		c.put(o)
	}
	first := digest{0, 0, 0, 1}
	if c.get(&first) != nil {
		t.Error("the oldest is still there")
	}
	for i := range c.shards {
		s := &c.shards[i]
		n := 0
		for o := s.ends.next; o != &s.ends; o = o.next {
			n++
		}
		if len(s.known) != maxKnown || n != maxKnown || s.size != 10*maxKnown {
			t.Errorf("shard %d: %d known, %d linked, %d bytes", i, len(s.known), n, s.size)
		}
	}
	// Long ones push out more; what was asked for stays.
	kept := &outcome{of: digest{0, 1}, size: maxSize / 8}
	c.put(kept)
	for i := range 100 {
		c.put(&outcome{of: digest{0, 2, byte(i)}, size: maxSize / 8})
		if c.get(&kept.of) != kept {
			t.Fatal("what was asked for last is gone")
		}
	}
	if s := c.of(&kept.of); s.size > maxSize || len(s.known) != 8 {
		t.Errorf("%d bytes of %d", s.size, len(s.known))
	}
	c.put(&outcome{of: kept.of, size: 1})
	c.drop(kept) // another one has its place
	if c.get(&kept.of) == nil {
		t.Error("the newer one is gone")
	}
}

func TestKnownTokenExpires(t *testing.T) {
	k := newKey(t, "k", "EdDSA")
	f, _ := start(t, inline(setOf(k)), nil)
	token := k.token(t, nil)
	x := ask(f, bearer(token))
	of := digestOf(token)
	o := f.cache.get(&of)
	if o == nil || said(x) != "" {
		t.Fatalf("%s; the token is not known: %v", said(x), o)
	}
	now := time.Now().Unix()
	if !o.holds(now) || o.holds(now+int64(maxKept/time.Second)+1) {
		t.Error("it is not kept for its time")
	}
	o.key.gone.Store(true)
	if o.holds(now) {
		t.Error("it is believed without its key")
	}
	short := k.token(t, dict{"exp": now + 5})
	ask(f, bearer(short))
	of = digestOf(short)
	if o := f.cache.get(&of); o == nil || o.expires != now+35 {
		t.Errorf("a short token is kept until %v, now is %d", o, now)
	}
	if bad := digestOf("x.y.z"); ask(f, bearer("x.y.z")) == nil || f.cache.get(&bad) != nil {
		t.Error("what is refused is kept")
	}
}

func TestValidate(t *testing.T) {
	k := newKey(t, "k", "EdDSA")
	keys := setOf(k)
	good := inline(keys).Providers[0]
	change := func(f func(*Provider)) Config {
		p := good
		f(&p)
		return Config{Providers: []Provider{p}}
	}
	weak := dict{"kty": "RSA", "kid": "canary-secret", "n": b64([]byte(strings.Repeat("\xff", 128))), "e": "AQAB"}
	private := k.jwk()
	private["d"] = b64([]byte("canary-secret-canary-secret-1234"))
	point := newKey(t, "p", "ES256").jwk()
	point["y"] = point["x"]
	for name, test := range map[string]struct {
		c    Config
		want string // empty: it is good
	}{
		"good":           {Config{Providers: []Provider{good}}, ""},
		"private key":    {change(func(p *Provider) { p.Keys = set(private) }), ""},
		"a good one":     {change(func(p *Provider) { p.Keys = set(weak, k.jwk()) }), ""},
		"none":           {Config{}, "there is no provider"},
		"issuer":         {Config{Providers: []Provider{good, good}}, "another one has the issuer"},
		"no name":        {change(func(p *Provider) { p.Name = "" }), "it has no name"},
		"no issuer":      {change(func(p *Provider) { p.Issuer = "" }), "it has no issuer"},
		"algorithm":      {change(func(p *Provider) { p.Algorithms = []string{"HS256"} }), `algorithm "HS256"`},
		"none allowed":   {change(func(p *Provider) { p.Algorithms = []string{"RS256"} }), "for none of the algorithms"},
		"both":           {change(func(p *Provider) { p.URL = "https://a" }), "exactly one"},
		"neither":        {change(func(p *Provider) { p.Keys = nil }), "exactly one"},
		"file":           {change(func(p *Provider) { p.Keys, p.URL = nil, "file:///etc/passwd" }), "http or https URL"},
		"user":           {change(func(p *Provider) { p.Keys, p.URL = nil, "https://a:canary-secret@b/" }), "without a user"},
		"no set":         {change(func(p *Provider) { p.Keys = set() }), "this is no set"},
		"empty":          {change(func(p *Provider) { p.Keys = []byte{} }), "this is no set of keys"},
		"garbage":        {change(func(p *Provider) { p.Keys = []byte("canary-secret") }), "this is no set of keys"},
		"weak":           {change(func(p *Provider) { p.Keys = set(weak) }), "2048 to 8192 bits; this one has 1024"},
		"symmetric":      {change(func(p *Provider) { p.Keys = set(dict{"kty": "oct", "k": "canary-secret"}) }), "symmetric"},
		"not on curve":   {change(func(p *Provider) { p.Keys = set(point) }), "cannot be read"},
		"encryption":     {change(func(p *Provider) { e := k.jwk(); e["use"] = "enc"; p.Keys = set(e) }), "not for signatures (use)"},
		"key_ops":        {change(func(p *Provider) { e := k.jwk(); e["key_ops"] = []string{"sign"}; p.Keys = set(e) }), "not for signatures (key_ops)"},
		"alg":            {change(func(p *Provider) { e := k.jwk(); e["alg"] = "RS256"; p.Keys = set(e) }), "does not fit"},
		"curve":          {change(func(p *Provider) { e := k.jwk(); e["crv"] = "Ed448"; p.Keys = set(e) }), "cannot be"},
		"many":           {change(func(p *Provider) { p.Keys = set(make([]dict, 129)...) }), "there are 129 keys"},
		"header":         {change(func(p *Provider) { p.Headers = []ClaimHeader{{"sub", "Host"}} }), `the field "Host"`},
		"leeway":         {change(func(p *Provider) { p.Leeway = time.Hour }), "leeway"},
		"a claim's name": {change(func(p *Provider) { p.Required = []Requirement{{"", "x"}} }), "has no name"},
	} {
		err := test.c.Validate()
		_, err2 := test.c.New(filter.Env{})
		switch {
		case test.want == "":
			if err != nil || err2 != nil {
				t.Errorf("%s: %v, %v", name, err, err2)
			}
		case err == nil || !strings.Contains(err.Error(), test.want) || err2 == nil:
			t.Errorf("%s: %v; want %q", name, err, test.want)
		case strings.Contains(err.Error(), "canary-secret"):
			t.Errorf("%s: a secret is told: %v", name, err)
		}
	}
}

func TestKey(t *testing.T) {
	k := newKey(t, "k", "EdDSA")
	base := inline(setOf(k))
	seen := map[string]string{base.Key(): "base"}
	if inline(setOf(k)).Key() != base.Key() {
		t.Error("equal configurations have two keys")
	}
	if strings.Contains(base.Key(), fmt.Sprint(k.jwk()["x"])) {
		t.Error("the key holds the content")
	}
	for name, change := range map[string]func(*Provider){
		"name": func(p *Provider) { p.Name = "x" }, "issuer": func(p *Provider) { p.Issuer = "x" }, "audiences": func(p *Provider) { p.Audiences = []string{"x"} },
		"url": func(p *Provider) { p.URL = "x" }, "keys": func(p *Provider) { p.Keys = []byte("x") }, "algorithms": func(p *Provider) { p.Algorithms = []string{"x"} },
		"required": func(p *Provider) { p.Required = []Requirement{{"x", ""}} }, "headers": func(p *Provider) { p.Headers = []ClaimHeader{{"x", ""}} },
		"cookie": func(p *Provider) { p.Cookie = "x" }, "forward": func(p *Provider) { p.Forward = false }, "leeway": func(p *Provider) { p.Leeway = 0 },
	} {
		c := inline(setOf(k))
		change(&c.Providers[0])
		if other, ok := seen[c.Key()]; ok {
			t.Errorf("%s and %s have one key", name, other)
		}
		seen[c.Key()] = name
	}
	owner := base
	owner.Owner = "x"
	if owner.Key() == base.Key() {
		t.Error("two owners have one key")
	}
}

func FuzzToken(f *testing.F) {
	k := newKey(f, "k", "EdDSA")
	c := inline(setOf(k))
	c.Providers[0].Headers = []ClaimHeader{{"sub", "X-User"}, {"aud", "X-Aud"}}
	fl, err := c.New(filter.Env{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("", `{"alg":"EdDSA","kid":"k"}`, `{"iss":"https://id.example.com","exp":99999999999,"sub":"x"}`)
	f.Add("a.b.c", `{"alg":"none"}`, `{}`)
	f.Fuzz(func(t *testing.T, raw, header, payload string) {
		if !strings.ContainsAny(raw, "\r\n\x00") {
			if x := ask(fl, bearer(raw)); said(x) == "" {
				t.Fatalf("%q passes", raw)
			}
		}
		signed := b64([]byte(header)) + "." + b64([]byte(payload))
		x := ask(fl, bearer(signed+"."+b64(k.signature(t, []byte(signed)))))
		for _, line := range lines(&x.Request.Header) {
			if strings.ContainsAny(line, "\r\n\x00") {
				t.Errorf("%q", line)
			}
		}
	})
}

func FuzzKeys(f *testing.F) {
	f.Add(setOf(newKey(f, "k", "EdDSA"), newKey(f, "k", "ES256"), newKey(f, "r", "RS256")))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, _, err := parseKeys(data, nil)
		if err != nil && len(keys) > 0 {
			t.Errorf("%d keys, %v", len(keys), err)
		}
		for _, k := range keys {
			if len(k.algorithms) == 0 {
				t.Error("a key without an algorithm")
			}
		}
	})
}

func BenchmarkKnownToken(b *testing.B) {
	k := newKey(b, "k", "RS256")
	c := inline(setOf(k))
	c.Providers[0].Headers = []ClaimHeader{{"sub", "X-User"}}
	f, _ := start(b, c, nil)
	value := "Bearer " + k.token(b, dict{"roles": []string{"reader", "writer"}, "email": "alice@example.com", "name": "Alice Example"})
	var x exchange.Exchange
	b.ReportAllocs()
	b.ReportMetric(float64(len(value)), "B/token")
	for b.Loop() {
		x.Reset()
		x.Request.Header.Add("Host", "shop.example.com")
		x.Request.Header.Add("User-Agent", "curl/8.5.0")
		x.Request.Header.Add("Accept", "*/*")
		x.Request.Header.Add("Authorization", value)
		if f.Request(&x) != filter.Continue {
			b.Fatal(said(&x))
		}
	}
}

func BenchmarkFreshToken(b *testing.B) {
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		b.Run(alg, func(b *testing.B) {
			k := newKey(b, "k", alg)
			f, _ := start(b, inline(setOf(k)), nil)
			token := []byte(k.token(b, nil))
			for b.Loop() {
				if _, refused := f.check(token, "", time.Now().Unix(), func() {}); refused != nil {
					b.Fatal(refused.description)
				}
			}
		})
	}
}
