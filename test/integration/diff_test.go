package integration_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

func TestDiff(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t, harness.Echo("a"))
	config := shopConfig(origin.Addr, "/login")
	p := harness.Start(t, config, harness.Options{Env: []string{"PINGORA_LIMITS_MAX_HEADERS=77"}})
	admin := "http://" + p.AdminAddr(t)
	change := func(old, now string) string {
		t.Helper()
		if !strings.Contains(config, old) {
			t.Fatalf("the configuration has no %q", old)
		}
		return strings.Replace(config, old, now, 1)
	}
	for _, c := range []struct {
		name, config string
		code         int
		want         []string // all lines that begin with +, - or ~, without what follows a colon
	}{
		{"nothing", config, 0, nil},
		{"comments and order", "# a comment\n" + change("hosts: [shop.example.com]\n    upstreams", "hosts: ['shop.example.com'] # the same\n    upstreams"), 0, nil},
		{"a default that is spelt out", change("    routes:", "    timeouts: {request_ms: 30000}\n    routes:"), 0, nil},
		{"what the environment overrides", config + "limits: {max_headers: 88}\n", 0, nil},
		{"a path", change("value: /login", "value: /signin"), 1, []string{"~ listeners[127.0.0.1:0].routes[shop/login].matches[0].path: /login -> /signin"}},
		{"a header's value", change("value: letmein", "value: letmeout"), 1, []string{"~ listeners[127.0.0.1:0].routes[shop/login].matches[0].headers[0].value: (secret "}},
		{"a credential of a filter", change("'Bearer letmein'", "'Bearer letmeout'"), 1, []string{"~ listeners[127.0.0.1:0].routes[shop/api].filters[1 headers].set[0].value: (secret "}},
		{"a filter", change("{rewrite: {replace_prefix: /}}", "{rewrite: {replace_prefix: /v2}}"), 1, []string{"~ listeners[127.0.0.1:0].routes[shop/api].filters[0 rewrite].replace_prefix: / -> /v2"}},
		{"an endpoint", change(origin.Addr, "127.0.0.1:9"), 1, []string{"- clusters[shop|Primary|addresses|HTTP].endpoints[" + origin.Addr + "]", "+ clusters[shop|Primary|addresses|HTTP].endpoints[127.0.0.1:9]"}},
		{"a listener", change("127.0.0.1:0", "127.0.0.2:0"), 1, []string{"- listeners[127.0.0.1:0]", "+ listeners[127.0.0.2:0]"}},
		{"a route less", config[:strings.Index(config, "      - name: plain")], 1, []string{"- listeners[127.0.0.1:0].routes[shop/plain]"}},
		{"a global", config + "limits: {drain_timeout_secs: 5}\n", 1, []string{"~ limits.drain_timeout: 30s -> 5s"}},
		{"a global of the admin API", config + "admin: {pprof: true}\n", 1, []string{"~ admin.pprof: false -> true"}},
		{"the access log", config + "access_log: {sample_percent: 5}\n", 1, []string{"~ access_log.sample_percent: 100 -> 5"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := harness.Run(t, nil, "diff", "--config", configFile(t, c.config), "--admin", admin)
			if r.Code != c.code || r.Stderr != "" || (r.Code == 0) != (r.Stdout == "") {
				t.Errorf("%+v, want %d", r, c.code)
			}
			for _, line := range c.want {
				if !strings.Contains("\n"+r.Stdout, "\n"+line) {
					t.Errorf("%s\nwant %q", r.Stdout, line)
				}
			}
			if strings.Contains(r.Stdout, "letme") {
				t.Errorf("a secret is printed: %s", r.Stdout)
			}
		})
	}
	for name, arguments := range map[string][]string{
		"services[0].bind_address":   {"-c", configFile(t, "services: [{name: x}]\n"), "--admin", admin},
		"no such file":               {"-c", "/nowhere.yaml", "--admin", admin},
		"connection refused":         {"-c", p.Path, "--admin", "http://127.0.0.1:1"},
		"there is no /api/v1/":       {"-c", p.Path, "--admin", "http://" + p.MetricsAddr(t)},
		"pingora-proxy diff --help'": {"extra"},
	} {
		if r := harness.Run(t, nil, append([]string{"diff"}, arguments...)...); r.Code != 2 || !strings.Contains(r.Stderr, name) {
			t.Errorf("%q: %+v, want 2 and %q", arguments, r, name)
		}
	}
	r := harness.Run(t, nil, "diff", "-o", "json", "-c", configFile(t, change("value: /login", "value: /signin")), "--admin", admin)
	var answer struct {
		Running, New string
		Changes      []struct{ Op, Path, Old, New string }
	}
	if err := json.Unmarshal([]byte(r.Stdout), &answer); err != nil || r.Code != 1 || len(answer.Changes) != 1 || answer.Running != p.ConfigHash(t) || answer.New == answer.Running {
		t.Errorf("%v %+v %+v", err, answer, r)
	}
	// After the reload there is nothing left to change.
	p.Reload(t, change("value: /login", "value: /signin"))
	if r := harness.Run(t, nil, "diff", "-c", p.Path, "--admin", admin); r.Code != 0 {
		t.Errorf("%+v", r)
	}
}

// A certificate that each process makes for itself is no difference; one that somebody has changed is.
func TestDiffOfCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := "services: [{name: web, bind_address: '127.0.0.1:0', tls: true, upstreams: ['127.0.0.1:1'], load_balancing: {sticky: {cookie_name: A}}}]\n"
	p := harness.Start(t, config, harness.Options{Env: []string{"STATE_DIRECTORY=" + dir}})
	if r := harness.Run(t, nil, "diff", "-c", p.Path, "--admin", "http://"+p.AdminAddr(t)); r.Code != 0 {
		t.Errorf("%+v", r)
	}
	kept, err := os.ReadFile(filepath.Join(dir, "self-signed", "web.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pem := filepath.Join(t.TempDir(), "web.pem")
	if err := os.WriteFile(pem, kept, 0o600); err != nil {
		t.Fatal(err)
	}
	named := strings.Replace(config, "tls: true", "tls: true, tls_config: {certificates: [{cert_file: "+pem+", key_file: "+pem+"}]}", 1)
	r := harness.Run(t, nil, "diff", "-c", configFile(t, named), "--admin", "http://"+p.AdminAddr(t))
	if r.Code != 1 || !strings.Contains(r.Stdout, ".tls.certificates[0].name: self-signed -> "+pem) || strings.Contains(r.Stdout, "BEGIN") {
		t.Errorf("%+v", r)
	}
}
