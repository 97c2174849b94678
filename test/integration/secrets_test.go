package integration_test

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/pingora-proxy/pingora-proxy/test/canary"
	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// secretsServices use every setting that takes a secret. CONTROL is what must be seen where the secrets must not.
const secretsServices = `
  - name: CONTROL
    bind_address: '${host}:8443'
    hosts: [CONTROL.example]
    tls: true
    tls_config:
      certificates: [{cert_file: '${dir}/site.crt', key_file: '${dir}/site.key'}]
      client_auth: {mode: Optional, ca_ref: {file: '${dir}/ca.pem'}}
    client_ip: {trusted_proxies: [0.0.0.0/0]}
    backends: [{address: 'SECURE', protocol: HTTPS}]
    upstream_tls: {server_name: origin.example, ca_ref: {file: '${dir}/ca.pem'}, certificate: {cert_file: '${dir}/us.crt', key_file: '${dir}/us.key'}}
    health_check: {type: HTTP, path: /up, frequency_secs: 1}
    load_balancing: {sticky: {cookie_name: PXS, key_ref: {file: '${dir}/cookie.key'}}}
    request_signing: {algorithm: HMACSHA256, key_ref: {file: '${dir}/sign.key'}, key_id: edge}
    rate_limits: [{name: CONTROL-limit, key: Header, key_name: X-Tenant, requests: 1000, period_secs: 86400, scope: Shared}]
    routes:
      - name: jwt
        matches: [{path: {value: /jwt}}]
        auth: {jwt: [{name: corp, issuer: corp, jwks_ref: {file: '${dir}/jwks.json'}, from_cookie: session, claims_to_headers: {secret: X-Secret}}]}
      - name: fetched
        matches: [{path: {value: /fetched}}]
        auth: {jwt: [{name: other, issuer: other, jwks_url: 'http://GONE/jwks?token=PARAMETER'}]}
      - name: basic
        matches: [{path: {value: /basic}}]
        auth: {basic: {users_ref: {file: '${dir}/htpasswd'}}}
      - name: key
        matches: [{path: {value: /key}}]
        auth: {api_key: {keys_ref: {file: '${dir}/partners.keys'}}}
      - name: forward
        matches: [{path: {value: /forward}}]
        auth: {forward: {backend: {address: 'SSO'}, path: '/auth?key=PARAMETER', response_headers: [X-Session]}}
      - name: forwarded-nowhere
        matches: [{path: {value: /nowhere}}]
        auth: {forward: {backend: {address: 'GONE'}, path: '/auth?key=PARAMETER'}}
      - name: filters
        matches: [{path: {value: /filters}, headers: [{name: X-Match, value: 'CONDITION'}], query: [{name: match, type: Regex, value: '^CONDITION$'}]}]
        filters:
          - request_headers: {set: {Authorization: 'Bearer WRITTEN'}}
          - response_headers: {add: {Set-Cookie: 'written=WRITTEN'}}
          - mirror: {backend: {address: 'GONE'}, max_body_bytes: 1024}
      - name: gone
        matches: [{path: {value: /gone}}]
        backends: [{address: 'GONE'}]
      - name: raw
        matches: [{path: {value: /raw}}]
        backends: [{address: 'RAW', protocol: HTTP}]
        health_check: {type: Disabled}
      - name: limited
        matches: [{path: {value: /limited}}]
        limits: {max_body_bytes: 10}
  - name: CONTROL-plain
    bind_address: '${host}:8080'
    hosts: [CONTROL.example]
    client_ip: {trusted_proxies: [0.0.0.0/0]}
    upstreams: ['${origin}']
  - name: CONTROL-proxied
    bind_address: '${host}:8081'
    client_ip: {proxy_protocol: true, trusted_proxies: [0.0.0.0/0]}
    upstreams: ['${origin}']
  - name: CONTROL-tcp
    protocol: TCP
    bind_address: '${host}:8082'
    upstreams: ['TCP']
`

// secretsControl is public, and given to the proxy as secrets are: looking finds it wherever there is something to be found.
const secretsControl = "c0ntr0l-of-the-canaries"

// A sieve looks for secrets, and for the control, in all places where people look.
type sieve struct {
	secrets, controls canary.Flock
	made              map[string]string
	condition         string // of a route
}

// make returns the secret of a name.
func (s *sieve) make(name string) string {
	if s.made[name] == "" {
		s.made[name] = fmt.Sprintf("c4n4ry%x", sha256.Sum256([]byte(name)))[:32]
		s.secrets.Add(name, s.made[name])
	}
	return s.made[name]
}

// look says which secrets are in a place.
func (s *sieve) look(t *testing.T, place, text string) {
	t.Helper()
	if len(s.controls.In(text)) == 0 {
		t.Errorf("%s: the control is not in it, so that no secret would be seen:\n%.2000s", place, text)
	}
	if found := s.secrets.In(text); len(found) > 0 {
		t.Errorf("%s: %q", place, found)
		for line := range strings.Lines(text) {
			if len(s.secrets.In(line)) > 0 {
				t.Logf("%s: %.1000s", place, line)
				break
			}
		}
	}
}

// TestCanaries gives the proxy secrets of every kind, in every way that there is, in what is right and what is wrong, and
// looks for them wherever people look.
func TestCanaries(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		s := &sieve{made: map[string]string{}}
		s.controls.Add("the control", secretsControl)
		s.condition = s.make("condition of a route")
		redis, sink := startRedis(t), newSpanSink(t)
		s.secrets.Add("password of Redis", redisPassword)

		// What is configured.
		authority := harness.NewAuthority(t, "authority")
		write := func(name, content string) string { c.Write(t, name, content); return content }
		pair := func(name string, hosts ...string) {
			chain, key := authority.Issue(t, nil, hosts...)
			c.Write(t, name+".crt", chain)
			s.secrets.Add("key of "+name, write(name+".key", key))
		}
		pair("site", secretsControl+".example")
		pair("us", "the proxy")
		c.Write(t, "ca.pem", authority.PEM)
		write("cookie.key", s.make("key of sticky cookies"))
		write("sign.key", s.make("key of signatures"))
		issuer, stranger := newTokenKey(t, "1"), newTokenKey(t, "1")
		c.Write(t, "jwks.json", strings.Replace(jwks(t, issuer), `[`, `[{"kty":"oct","kid":"2","k":"`+base64.RawURLEncoding.EncodeToString([]byte(s.make("symmetric key")))+`"},`, 1))
		password, apiKey := s.make("password"), s.make("API key")
		hash, err := bcrypt.GenerateFromPassword([]byte(password), 4)
		if err != nil {
			t.Fatal(err)
		}
		s.secrets.Add("hash of a password", string(hash)[7:])
		write("htpasswd", "bob:"+string(hash)+"\n")
		digest := fmt.Sprintf("%x", sha256.Sum256([]byte(apiKey)))
		s.secrets.Add("digest of an API key", digest)
		write("partners.keys", "acme:sha256:"+digest+"\n")
		stored := filepath.Join(t.TempDir(), "redis.password")
		if err := os.WriteFile(stored, []byte(redisPassword), 0o600); err != nil {
			t.Fatal(err)
		}
		lastGood := filepath.Join(t.TempDir(), "last-good")
		c.Args = []string{"--last-good-file", lastGood}
		c.Env = []string{"LOG_LEVEL=trace", "OTEL_EXPORTER_OTLP_HEADERS=authorization=" + s.make("header of the collector")}
		c.Globals = fmt.Sprintf(`
admin: {bind_address: '127.0.0.1:0', pprof: true}
metrics: {bind_address: '127.0.0.1:0'}
tracing: {otlp_endpoint: '%s/v1/traces', sample_percent: 100}
rate_limit_store: {redis_url: 'redis://%s/1', password_ref: {file: '%s'}, timeout_ms: 1000}
`, sink.URL, redis.Address, stored)

		// Who is asked, and answers with secrets too.
		cookie := s.make("cookie of an answer")
		secure := startSecure(t, &tls.Config{Certificates: []tls.Certificate{authority.Pair(t, "origin.example")}, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12},
			http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.Header().Set("Set-Cookie", "answer="+cookie)
				w.Header().Set("Trailer", "X-Secret")
				_, _ = io.WriteString(w, cookie)
				w.Header().Set("X-Secret", cookie)
			}))
		sso := c.Origin(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Set-Cookie", "sso="+cookie)
			w.Header().Set("X-Session", cookie)
			if !strings.Contains(r.Header.Get("Cookie"), "good") {
				w.Header().Set("Location", "/login?state="+cookie)
				w.WriteHeader(http.StatusFound)
			}
		}))
		raw := harness.StartRawOrigin(t, func(o *harness.OriginConn) {
			switch head := o.Head(); {
			case strings.Contains(head, "/raw/status"):
				o.Send("HTTP/1.1 2x0 " + cookie + "\r\nSet-Cookie: " + cookie + "\r\n\r\n")
			case strings.Contains(head, "/raw/field"):
				o.Send("HTTP/1.1 200 OK\r\nSet-Cookie : " + cookie + "\r\n\r\n")
			case strings.Contains(head, "/raw/cut"):
				o.Send("HTTP/1.1 200 OK\r\nSet-Cookie: " + cookie + "\r\nContent-Length: 9000\r\n\r\n" + cookie)
			case strings.Contains(head, "/raw/chunk"):
				o.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz" + cookie + "\r\n")
			default:
				o.Send(cookie + "\r\n")
			}
		})
		silent := harness.StartRawOrigin(t, func(o *harness.OriginConn) {
			_, _ = o.Rest()
			o.Send(cookie + "\r\n")
		})
		gone, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = gone.Close()
		c.Serve(t, strings.NewReplacer(
			"CONTROL", secretsControl, "SECURE", secure.addr, "SSO", sso, "GONE", gone.Addr().String(), "RAW", raw.Addr, "TCP'", silent.Addr+"'",
			"PARAMETER", s.make("parameter of the configuration"),
			"CONDITION", s.condition, "WRITTEN", s.make("field that is written"),
		).Replace(secretsServices))
		c.Proxy.AwaitMetric(t, 1, "rate_limit_store_up")

		token, wrong := issuer.token(t, map[string]any{"iss": "corp", "sub": "bob", "secret": s.make("claim")}), stranger.token(t, map[string]any{"iss": "corp", "sub": "bob"})
		for name, text := range map[string]string{"token": token, "token of a stranger": wrong} {
			for i, part := range strings.Split(text, ".")[1:] {
				s.secrets.Add(fmt.Sprintf("%s, part %d", name, i+1), part)
			}
		}
		a := &attempt{t: t, c: c, s: s, client: c.Client(t, nil)}
		a.valid(token, password, apiKey)
		a.invalid(token, wrong)
		if !c.HTTP2 {
			a.broken()
		}
		s.places(t, c, a.client, sink, redis)

		// The same Secrets, all spoiled. What was served serves on, or answers 503.
		spoilt := s.make("spoilt content")
		for _, name := range []string{"htpasswd", "partners.keys", "jwks.json", "site.key", "us.key", "cookie.key", "sign.key", "ca.pem"} {
			switch name {
			case "htpasswd":
				c.Write(t, name, "bob:"+spoilt+"\n"+spoilt+"\n")
			case "partners.keys":
				c.Write(t, name, "acme:"+spoilt+"\n"+spoilt+"\n")
			case "cookie.key", "sign.key": // too short
				s.secrets.Add("short key", "c4n4ry-short")
				c.Write(t, name, "c4n4ry-short")
			case "jwks.json":
				c.Write(t, name, `{"keys": ["`+spoilt+`", {"kty": "RSA", "kid": "`+spoilt+`", "n": "`+spoilt+`", "d": "`+spoilt+`"}]}`)
			default:
				c.Write(t, name, "-----BEGIN PRIVATE KEY-----\n"+base64.StdEncoding.EncodeToString([]byte(strings.Repeat(spoilt, 3)))+"\n-----END PRIVATE KEY-----\n"+spoilt+"\n")
			}
		}
		if c.Source == matrix.File {
			c.Proxy.AwaitMetric(t, 0, "config_last_reload_successful")
		} else {
			status := ""
			defer func() {
				if t.Failed() {
					t.Log(status)
				}
			}()
			harness.Eventually(t, "the status says what is wrong", func() bool {
				status, _ = c.Shown(t)
				for _, name := range []string{"auth.jwt", "auth.basic", "auth.apiKey", "sticky.keyRef", "requestSigning", "clientAuth", "pair-site", "pair-us"} {
					if !strings.Contains(status, name) {
						return false
					}
				}
				return true
			})
		}
		a.valid(token, password, apiKey)
		s.places(t, c, a.client, sink, redis)
		if c.Source == matrix.Object {
			// This one holds secrets, to start from, and is for nobody else.
			info, err := os.Stat(lastGood)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the last good file: %v %v", info, err)
			}
			if text, err := os.ReadFile(lastGood); err != nil || len(s.secrets.In(string(text))) == 0 {
				t.Errorf("there is no secret in the last good file (%v): is this test looking at the right one?", err)
			}
		}
	})
}
