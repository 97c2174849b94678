package jwt

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const issuer = "https://id.example.com"

// A signer is a key of a provider in a test.
type testKey struct {
	id, alg string
	private crypto.Signer
}

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func newKey(t testing.TB, id, alg string) *testKey {
	t.Helper()
	k := &testKey{id: id, alg: alg}
	var err error
	switch alg {
	case "RS256", "PS256":
		k.private = rsaKey()
	case "ES256":
		k.private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		k.private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		k.private, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA":
		_, k.private, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func marshal(v any) []byte {
	out, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return out
}

type dict = map[string]any

// jwk is the public key as a provider publishes it.
func (k *testKey) jwk() dict {
	out := dict{"kid": k.id}
	switch pub := k.private.Public().(type) {
	case *rsa.PublicKey:
		out["kty"], out["n"], out["e"] = "RSA", b64(pub.N.Bytes()), "AQAB"
	case *ecdsa.PublicKey:
		raw, err := pub.Bytes()
		if err != nil {
			panic(err)
		}
		n := len(raw) / 2
		out["kty"], out["crv"], out["x"], out["y"] = "EC", pub.Curve.Params().Name, b64(raw[1:1+n]), b64(raw[1+n:])
	case ed25519.PublicKey:
		out["kty"], out["crv"], out["x"] = "OKP", "Ed25519", b64(pub)
	}
	return out
}

func set(keys ...dict) []byte { return marshal(dict{"keys": keys}) }

func setOf(keys ...*testKey) []byte {
	var list []dict
	for _, k := range keys {
		list = append(list, k.jwk())
	}
	return set(list...)
}

// sign makes a token with exactly that header and those claims.
func (k *testKey) sign(t testing.TB, header, claims any) string {
	t.Helper()
	text := b64(marshal(header)) + "." + b64(marshal(claims))
	return text + "." + b64(k.signature(t, []byte(text)))
}

func (k *testKey) signature(t testing.TB, text []byte) []byte {
	t.Helper()
	hash := map[string]crypto.Hash{"ES384": crypto.SHA384, "ES512": crypto.SHA512}[k.alg]
	if hash == 0 {
		hash = crypto.SHA256
	}
	h := hash.New()
	h.Write(text)
	sum := h.Sum(nil)
	var out []byte
	var err error
	switch k.alg {
	case "RS256":
		out, err = k.private.Sign(rand.Reader, sum, crypto.SHA256)
	case "PS256":
		out, err = k.private.Sign(rand.Reader, sum, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
	case "EdDSA":
		out, err = k.private.Sign(rand.Reader, text, crypto.Hash(0))
	default:
		private := k.private.(*ecdsa.PrivateKey)
		r, s, e := ecdsa.Sign(rand.Reader, private, sum)
		n := (private.Curve.Params().BitSize + 7) / 8
		out, err = append(r.FillBytes(make([]byte, n)), s.FillBytes(make([]byte, n))...), e
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (k *testKey) header() dict {
	h := dict{"alg": k.alg, "typ": "JWT"}
	if k.id != "" {
		h["kid"] = k.id
	}
	return h
}

// claims are those of a good token, with changes; nil removes one.
func claims(changes dict) dict {
	out := dict{
		"iss": issuer, "sub": "alice", "aud": "shop", "scope": "openid shop.read",
		"exp": time.Now().Add(time.Hour).Unix(), "nbf": time.Now().Add(-time.Hour).Unix(),
	}
	for name, value := range changes {
		if value == nil {
			delete(out, name)
		} else {
			out[name] = value
		}
	}
	return out
}

func (k *testKey) token(t testing.TB, changes dict) string {
	t.Helper()
	return k.sign(t, k.header(), claims(changes))
}

func hmacToken(secret []byte, header, claims any) string {
	text := b64(marshal(header)) + "." + b64(marshal(claims))
	m := hmac.New(sha256.New, secret)
	m.Write([]byte(text))
	return text + "." + b64(m.Sum(nil))
}

// metrics count refreshes.
type metrics struct {
	filter.Metrics
	mu       sync.Mutex
	ok, fail int
}

func (m *metrics) JWKSRefresh(_ string, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ok {
		m.ok++
	} else {
		m.fail++
	}
}

// start makes the filter and ends what it does in the background with the test.
func start(t testing.TB, c Config, transport http.RoundTripper) (*tokens, *metrics) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	m := &metrics{}
	f, err := c.New(filter.Env{
		Metrics:    m,
		Fetch:      &http.Client{Transport: transport},
		Background: func(run func(context.Context)) { running.Go(func() { run(ctx) }) },
	})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
		f.Close()
	})
	return f.(*tokens), m
}

func inline(keys []byte) Config {
	return Config{Owner: "shop", Providers: []Provider{{Name: "corp", Issuer: issuer, Keys: keys, Forward: true, Leeway: 30 * time.Second}}}
}

// ask sends a request with those header lines through the filter.
func ask(f filter.Filter, lines ...[2]string) *exchange.Exchange {
	x := &exchange.Exchange{Conn: &exchange.Conn{}}
	x.Request.Method = exchange.GET
	for _, line := range lines {
		x.Request.Header.Add(line[0], line[1])
	}
	verdict := f.Request(x)
	if (verdict == filter.Respond) != (x.Response.Status != 0) {
		panic(fmt.Sprintf("verdict %d with status %d", verdict, x.Response.Status))
	}
	return x
}

func bearer(token string) [2]string { return [2]string{"Authorization", "Bearer " + token} }

// said is the answer in short: "" where the request passes.
func said(x *exchange.Exchange) string {
	if x.Response.Status == 0 {
		return ""
	}
	return fmt.Sprintf("%d %s", x.Response.Status, x.Record.Reason)
}

func lines(h *exchange.Header) (out []string) {
	for i := range h.Len() {
		if _, name, value, ok := h.At(i); ok {
			out = append(out, string(name)+": "+string(value))
		}
	}
	return out
}

func digestOf(token string) digest { return sha256.Sum256([]byte(token)) }

func (m *metrics) succeeded() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ok
}

func (m *metrics) failed() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fail
}
