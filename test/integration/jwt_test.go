package integration_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// A tokenKey is a key of somebody who issues tokens.
type tokenKey struct {
	id      string
	private *ecdsa.PrivateKey
}

func newTokenKey(t *testing.T, id string) *tokenKey {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &tokenKey{id, private}
}

// jwks is the set of these keys.
func jwks(t *testing.T, keys ...*tokenKey) string {
	t.Helper()
	var list []string
	for _, k := range keys {
		raw, err := k.private.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		encode := base64.RawURLEncoding.EncodeToString
		list = append(list, fmt.Sprintf(`{"kty":"EC","crv":"P-256","use":"sig","kid":%q,"x":%q,"y":%q}`, k.id, encode(raw[1:33]), encode(raw[33:])))
	}
	return `{"keys":[` + strings.Join(list, ",") + `]}`
}

// token signs claims; exp is an hour away where they do not say otherwise.
func (k *tokenKey) token(t *testing.T, claims map[string]any) string {
	t.Helper()
	all := map[string]any{"exp": time.Now().Add(time.Hour).Unix()}
	for name, value := range claims {
		all[name] = value
	}
	payload, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	text := encode(fmt.Appendf(nil, `{"alg":"ES256","kid":%q}`, k.id)) + "." + encode(payload)
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, k.private, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + encode(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

// A keyServer publishes a set of keys that can be changed.
type keyServer struct {
	mu    sync.Mutex
	set   string // empty: 500
	asked int
}

func (s *keyServer) publish(set string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set = set
}

func (s *keyServer) fetches() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *keyServer) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	set := s.set
	s.asked++
	s.mu.Unlock()
	if set == "" {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	_, _ = w.Write([]byte(set))
}

// reasonOf is the reason of an answer that the proxy made.
func reasonOf(r *matrix.Response) string {
	var problem struct{ Reason string }
	_ = json.Unmarshal([]byte(r.Body), &problem)
	return problem.Reason
}

func TestJWT(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		url, file, inline, other := newTokenKey(t, "u1"), newTokenKey(t, "f1"), newTokenKey(t, "i1"), newTokenKey(t, "u1")
		server := &keyServer{set: jwks(t, url)}
		c.Write(t, "keys.json", jwks(t, file))
		services := `
  - name: shop
    bind_address: '${host}:8080'
    upstreams: ['${origin}']
    auth:
      jwt:
        - name: corp
          issuer: https://id.example.com
          audiences: [shop]
          jwks_url: 'http://` + c.Origin(t, server) + `/keys'
          required_claims: {scope: shop.read}
          claims_to_headers: {sub: X-User, groups: X-Groups}
          from_cookie: session
          forward_token: false
        - name: file
          issuer: https://file.example.com
          jwks_ref: {file: '${dir}/keys.json'}
        - name: inline
          issuer: https://inline.example.com
          jwks: '` + jwks(t, inline) + `'
    routes:
      - name: public
        matches: [{path: {value: /public}}]
        auth: {mode: None}
      - name: mine
        matches: [{path: {value: /mine}}]
        auth: {jwt: [{name: file, issuer: 'https://file.example.com', jwks_ref: {file: '${dir}/keys.json'}}]}
`
		c.Serve(t, services)
		const at = "http://shop.example:8080"
		good := map[string]any{"iss": "https://id.example.com", "aud": "shop", "sub": "alice", "scope": "openid shop.read", "groups": []string{"a", "b"}}
		with := func(name string, value any) map[string]any {
			changed := map[string]any{}
			for k, v := range good {
				changed[k] = v
			}
			changed[name] = value
			return changed
		}
		ask := func(token, path string, fields ...string) *matrix.Response {
			t.Helper()
			if token != "" {
				fields = append(fields, "Authorization: Bearer "+token)
			}
			return c.Get(t, at+path, fields...)
		}

		token := url.token(t, good)
		for range 2 { // the second time it is known
			r := ask(token, "/", "X-User: root", "X-Groups: admin")
			if r.Status != 200 {
				t.Fatalf("a good token: %d %s", r.Status, r.Body)
			}
			e := harness.ParseEchoed(t, r.Body)
			if e.Header.Get("X-User") != "alice" || e.Header.Get("X-Groups") != "a,b" || len(e.Header.Values("X-User")) != 1 || e.Header.Get("Authorization") != "" {
				t.Errorf("the origin has seen %v", e.Header)
			}
		}
		e := harness.ParseEchoed(t, ask("", "/", "Cookie: a=b; session="+token).Body)
		if e.Header.Get("X-User") != "alice" || e.Header.Get("Cookie") != "a=b" {
			t.Errorf("with a cookie the origin has seen %v", e.Header)
		}
		for name, test := range map[string]struct {
			token, path, want, challenge string
		}{
			"none":           {"", "/", "401 jwt_missing", `Bearer realm="restricted"`},
			"forged":         {other.token(t, good), "/", "401 jwt_invalid", `error="invalid_token", error_description="the signature`},
			"expired":        {url.token(t, with("exp", 1)), "/", "401 jwt_expired", `error="invalid_token", error_description="the token has expired"`},
			"audience":       {url.token(t, with("aud", "x")), "/", "401 jwt_invalid", `another audience`},
			"issuer":         {url.token(t, with("iss", "x")), "/", "401 jwt_invalid", `issuer`},
			"scope":          {url.token(t, with("scope", "openid")), "/", "403 jwt_claims", `error="insufficient_scope", error_description="a claim that is required is missing or has another value", scope="shop.read"`},
			"file":           {file.token(t, map[string]any{"iss": "https://file.example.com"}), "/", "200 ", ""},
			"inline":         {inline.token(t, map[string]any{"iss": "https://inline.example.com"}), "/", "200 ", ""},
			"mixed":          {inline.token(t, map[string]any{"iss": "https://file.example.com"}), "/", "401 jwt_invalid", "key of the token is not known"},
			"public":         {"", "/public", "200 ", ""},
			"route's own":    {file.token(t, map[string]any{"iss": "https://file.example.com"}), "/mine", "200 ", ""},
			"not the whole":  {token, "/mine", "401 jwt_invalid", "issuer"},
			"dots to public": {"", "/public/../x", "401 jwt_missing", "Bearer"},
		} {
			r := ask(test.token, test.path)
			if got := fmt.Sprint(r.Status, " ", reasonOf(r)); got != test.want || !strings.Contains(r.Header.Get("WWW-Authenticate"), test.challenge) {
				t.Errorf("%s: %s, %q; want %s, %q", name, got, r.Header.Get("WWW-Authenticate"), test.want, test.challenge)
			}
		}
		if e := harness.ParseEchoed(t, ask("", "/public", "X-User: root", "X_Groups: admin").Body); e.Header.Get("X-User") != "" || len(e.Header["X_groups"]) != 0 {
			t.Errorf("without auth a client says who it is: %v", e.Header)
		}

		// A reload keeps the keys and what is known.
		fetches := server.fetches()
		c.Serve(t, strings.Replace(services, "/public}", "/open}", 1))
		if r := ask(token, "/"); r.Status != 200 || server.fetches() != fetches {
			t.Errorf("after a reload: %d, %d fetches", r.Status, server.fetches()-fetches)
		}
		if n := c.Proxy.Metric(t, "pingora_proxy_jwks_refreshes_total", "provider", "corp", "result", "success"); n < 1 {
			t.Errorf("%v fetches are counted", n)
		}
		// The provider signs with a new key, all at once. No request fails.
		next := newTokenKey(t, "u2")
		server.publish(jwks(t, url, next))
		var all sync.WaitGroup
		for i := range 20 {
			token, client := next.token(t, with("jti", fmt.Sprint(i))), c.Client(t, nil)
			all.Go(func() {
				r, err := c.Try(client, matrix.Request(t, "GET", at+"/", "", "Authorization: Bearer "+token))
				if err != nil || r.Status != 200 {
					t.Errorf("while the key changes: %v, %v", r, err)
				}
			})
		}
		all.Wait()
		// While it is away, what is known serves on.
		server.publish("")
		if r := ask(token, "/"); r.Status != 200 {
			t.Errorf("while the provider is away: %d", r.Status)
		}
		// The keys of a file are those that stand in it.
		fresh := newTokenKey(t, "f2")
		c.Write(t, "keys.json", jwks(t, fresh))
		harness.Eventually(t, "the new keys of the file", func() bool {
			return ask(fresh.token(t, map[string]any{"iss": "https://file.example.com"}), "/mine").Status == 200
		})
		if r := ask(file.token(t, map[string]any{"iss": "https://file.example.com"}), "/mine"); r.Status != 401 {
			t.Errorf("a key that is gone: %d", r.Status)
		}
		for _, secret := range []string{token, strings.Split(token, ".")[2]} {
			if strings.Contains(c.Proxy.LogText()+c.Proxy.AccessLogText(), secret) {
				t.Error("a token is in the log")
			}
		}
	})
}

// Without keys nobody passes.
func TestJWTFailsClosed(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		k := newTokenKey(t, "k")
		server := &keyServer{}
		c.Serve(t, `
  - name: shop
    bind_address: '${host}:8080'
    upstreams: ['${origin}']
    auth: {jwt: [{name: corp, issuer: i, jwks_url: 'http://`+c.Origin(t, server)+`/'}]}
`)
		token := k.token(t, map[string]any{"iss": "i"})
		ask := func() *matrix.Response {
			return c.Get(t, "http://shop.example:8080/", "Authorization: Bearer "+token)
		}
		if r := ask(); r.Status != 503 || reasonOf(r) != "auth_unavailable" || r.Header.Get("Retry-After") == "" {
			t.Errorf("without keys: %d %s", r.Status, r.Body)
		}
		server.publish(jwks(t, k))
		harness.Eventually(t, "the keys", func() bool { return ask().Status == 200 })
	})
}
