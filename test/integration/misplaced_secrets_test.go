package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/canary"
	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// TestMisplacedSecrets: people put secrets where no secret belongs, and make mistakes beside them. No command says what the
// secret was.
func TestMisplacedSecrets(t *testing.T) {
	t.Parallel()
	const secret, control = "c4n4ry+secret/value", "the-control"
	var canaries, controls canary.Flock
	canaries.Add("the secret", secret)
	controls.Add("the control", control)

	begin := "services:\n  - name: " + control + "\n    bind_address: '127.0.0.1:0'\n    upstreams: ['127.0.0.1:9']\n"
	service := func(lines string) string { return begin + "    " + lines + "\n" }
	global := func(lines string) string { return lines + "\n" + begin }
	pem := func(indent string) string {
		return strings.Join([]string{"|", "-----BEGIN PRIVATE KEY-----", secret, "-----END PRIVATE KEY-----"}, "\n"+indent)
	}
	files := map[string]string{
		"password in the URL of Redis":        global("rate_limit_store: {redis_url: 'redis://u:SECRET@redis:1/0'}"),
		"user in the URL of Redis":            global("rate_limit_store: {redis_url: 'redis://SECRET@redis:1/0'}"),
		"bad URL of Redis":                    global("rate_limit_store: {redis_url: 'redis://u:SECRET@redis:x/0'}"),
		"no URL of Redis":                     global("rate_limit_store: {redis_url: 'SECRET'}"),
		"parameter of Redis":                  global("rate_limit_store: {redis_url: 'redis://redis:1/0?password=SECRET'}"),
		"unknown field of the store":          global("rate_limit_store: {redis_url: 'redis://redis:1/0', password: 'SECRET'}"),
		"unknown field, a space is missing":   global("rate_limit_store: {password:SECRET}"),
		"a text in place of a reference":      global("rate_limit_store: {redis_url: 'redis://redis:1/0', password_ref: 'SECRET'}"),
		"a secret in place of its file":       global("rate_limit_store: {redis_url: 'redis://redis:1/0', password_ref: {file: 'SECRET'}}"),
		"a text in place of a number":         global("rate_limit_store: {redis_url: 'redis://redis:1/0', timeout_ms: SECRET}"),
		"a number that is none":               global("limits: {max_headers: 'SECRET'}"),
		"user of the collector":               global("tracing: {otlp_endpoint: 'http://u:SECRET@otel:1'}"),
		"parameter of the collector":          global("tracing: {otlp_endpoint: 'http://otel:1/v1/traces?key=SECRET'}"),
		"bad URL of the collector":            global("tracing: {otlp_endpoint: 'ftp://otel:1/?key=SECRET'}"),
		"user in the URL of keys":             service("auth: {jwt: [{name: a, issuer: b, jwks_url: 'https://u:SECRET@id/x'}]}"),
		"parameter of the URL of keys":        service("auth: {jwt: [{name: a, issuer: b, jwks_url: 'https://id/x?t=SECRET'}]}"),
		"bad URL of keys":                     service("auth: {jwt: [{name: a, issuer: b, jwks_url: 'ftp://id/x?t=SECRET'}]}"),
		"no keys":                             service("auth: {jwt: [{name: a, issuer: b, jwks: 'SECRET'}]}"),
		"keys of another form":                service(`auth: {jwt: [{name: a, issuer: b, jwks: '{"keys": "SECRET"}'}]}`),
		"a symmetric key":                     service(`auth: {jwt: [{name: a, issuer: b, jwks: '{"keys": [{"kty": "oct", "kid": "SECRET", "k": "SECRET"}]}'}]}`),
		"a list of users in place of a file":  service("auth: {basic: {users: ['bob:SECRET']}}"),
		"a user in place of a file":           service("auth: {basic: {users_ref: {file: 'bob:SECRET'}}}"),
		"a text in place of basic":            service("auth: {basic: SECRET}"),
		"an unknown mode":                     service("auth: {mode: 'SECRET'}"),
		"a key in place of its file":          service("load_balancing: {sticky: {cookie_name: a, key_ref: {file: 'SECRET'}}}"),
		"a key in place of its reference":     service("request_signing: {algorithm: HMACSHA256, key_id: a, key_ref: 'SECRET'}"),
		"an unknown key":                      service("request_signing: {algorithm: HMACSHA256, key_id: a, key: 'SECRET'}"),
		"a PEM in place of its file":          service("tls: true\n    tls_config:\n      certificates:\n        - cert_file: a\n          key_file: " + pem("            ")),
		"a PEM in place of both files":        service("tls: true\n    tls_config:\n      certificates:\n        - cert_file: " + pem("            ") + "\n          key_file: " + pem("            ")),
		"a control character in a field":      service(`routes: [{name: a, filters: [{request_headers: {set: {Authorization: "Bearer SECRET\u0001"}}}]}]`),
		"a field as a name":                   service("routes: [{name: a, filters: [{request_headers: {set: {'Authorization: Bearer SECRET': x}}}]}]"),
		"a field, a space is missing":         service("routes: [{name: a, filters: [{request_headers: {add: {Authorization:SECRET}}}]}]"),
		"a list in place of fields":           service("routes: [{name: a, filters: [{request_headers: {set: ['Authorization: SECRET']}}]}]"),
		"a field to remove":                   service("routes: [{name: a, filters: [{request_headers: {remove: ['Authorization: SECRET']}}]}]"),
		"a bad expression for a field":        service("routes: [{name: a, matches: [{headers: [{name: X, type: Regex, value: '(SECRET'}]}]}]"),
		"a bad expression for a query":        service("routes: [{name: a, matches: [{query: [{name: key, type: Regex, value: '^SECRET**'}]}]}]"),
		"an unknown kind of match":            service("routes: [{name: a, matches: [{query: [{name: key, type: Exactly, value: 'SECRET'}]}]}]"),
		"conditions":                          service("routes: [{name: a, matches: [{query: [{name: key, value: 'SECRET'}], headers: [{name: X-Key, value: 'SECRET'}]}]}]"),
		"a field that endpoints get":          service("routes: [{name: a, filters: [{request_headers: {set: {Authorization: 'Bearer SECRET'}}}]}]"),
		"a parameter of a health check":       service("health_check: {type: HTTP, path: '/up?token=SECRET'}"),
		"no path of a health check":           service("health_check: {type: HTTP, path: 'up?token=SECRET'}"),
		"a parameter of forward auth":         service("auth: {forward: {backend: {address: 'sso:1'}, path: '/x?key=SECRET'}}"),
		"a bad parameter of forward auth":     service("auth: {forward: {backend: {address: 'sso:1'}, path: '/x?key=SECRET b'}}"),
		"a password in a backend":             service("auth: {forward: {backend: {address: 'http://u:SECRET@sso:1'}, path: /x}}"),
		"a password in an upstream":           strings.Replace(begin, "127.0.0.1:9", "http://u:SECRET@sso:1", 1),
		"a line that belongs to nothing":      service("SECRET"),
		"a bracket is missing":                service("auth: {basic: {users_ref: {file: x}}\n    password: 'SECRET'"),
		"a quote is missing":                  global("rate_limit_store: {redis_url: 'redis://redis:1/0', password: 'SECRET"),
		"an alias of nothing":                 global("rate_limit_store: {password: &a 'SECRET', user: *b}"),
		"a reserved character":                global("rate_limit_store: {password: @SECRET}"),
		"a tabulator":                         global("password: SECRET\n\tx: y"),
		"two mappings in a line":              "a: b: SECRET\n",
		"a key in place of the configuration": "-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\n",
		"a word in place of a configuration":  "SECRET\n",
		"an object of another kind":           "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\nstringData: {password: 'SECRET'}\n",
	}
	running := harness.Start(t, begin, harness.Options{})
	admin := "http://" + running.AdminAddr(t)
	for name, text := range files {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), control+".yaml")
			if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "SECRET", secret)), 0o600); err != nil {
				t.Fatal(err)
			}
			refused := false
			for _, arguments := range []string{
				"--validate -v --config", "--validate --output json --config", "explain http://a.example/ --listener 127.0.0.1:0 --config", "diff --admin " + admin + " --config",
			} {
				r := harness.Run(t, nil, append(strings.Fields(arguments), path)...)
				said := r.Stdout + r.Stderr
				if found := canaries.In(said); len(found) > 0 {
					t.Errorf("%s: %q\n%s", arguments, found, said)
				}
				if len(controls.In(said)) == 0 {
					t.Errorf("%s says nothing of what it read: %q", arguments, said)
				}
				refused = refused || r.Code != 0 && strings.HasPrefix(arguments, "--validate")
			}
			if !refused {
				return // what may be there is in what convert writes, too
			}
			r := harness.Run(t, nil, "convert", path)
			if found := canaries.In(r.Stderr); len(found) > 0 {
				t.Errorf("convert: %q\n%s", found, r.Stderr)
			}
			// It does not start either, and says why.
			if r = harness.Run(t, []string{"LOG_LEVEL=trace"}, "--config", path); r.Code == 0 || len(canaries.In(r.Stdout+r.Stderr)) > 0 || len(controls.In(r.Stderr)) == 0 {
				t.Errorf("serving: %+v", r)
			}
		})
	}
	good := configFile(t, begin)
	for _, variable := range []string{
		"PINGORA_RATE_LIMIT_STORE_REDIS_URL=redis://u:SECRET@redis:1", "PINGORA_RATE_LIMIT_STORE_REDIS_URL=redis://SECRET@redis:1",
		"PINGORA_RATE_LIMIT_STORE_PASSWORD_REF=SECRET", "PINGORA_TRACING_OTLP_ENDPOINT=http://u:SECRET@otel:1",
		"PINGORA_TRACING_OTLP_ENDPOINT=http://otel:1?key=SECRET", "PINGORA_LIMITS_MAX_HEADERS=SECRET", "PINGORA_ADMIN_PPROF=SECRET",
		"OTEL_EXPORTER_OTLP_HEADERS=authorization=SECRET",
	} {
		name, value, _ := strings.Cut(variable, "=")
		r := harness.Run(t, []string{name + "=" + strings.ReplaceAll(value, "SECRET", secret)}, "--validate", "-v", "--config", good)
		if found := canaries.In(r.Stdout + r.Stderr); len(found) > 0 {
			t.Errorf("%s: %q\n%s", variable, found, r.Stdout+r.Stderr)
		}
		if said := fmt.Sprint(r.Stdout, r.Stderr); r.Code == 0 && len(controls.In(said)) == 0 || r.Code != 0 && !strings.Contains(said, name) {
			t.Errorf("%s: %+v", variable, r)
		}
	}
}
