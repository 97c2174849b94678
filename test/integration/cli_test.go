package integration_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// configFile writes a configuration, and returns its path.
func configFile(t *testing.T, yaml string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	good := configFile(t, webService([]string{"127.0.0.1:1"}))
	bad := configFile(t, "services: [{name: x}]\n")
	for _, c := range []struct {
		arguments string
		env       []string
		code      int
		stdout    string // a part of it
		stderr    string
	}{
		{"--validate --config " + good, nil, 0, "web: 127.0.0.1:0, 1 route, 1 upstream\nvalid: 1 service\n", ""},
		{"-t -c " + good, nil, 0, "valid: 1 service\n", ""},
		{"-t", []string{"CONFIG_PATH=" + good}, 0, "valid: 1 service\n", ""},
		{"-t -c " + good, []string{"CONFIG_PATH=" + bad}, 0, "valid: 1 service\n", ""},
		{"-t -c " + bad, []string{"CONFIG_PATH=" + good}, 1, "", "services[0].bind_address"},
		{"-t", nil, 1, "", "config/default.yaml: there is no such file"},
		{"-t -c " + bad, nil, 1, "", "invalid: "},
		{"-c " + bad, nil, 1, "", "invalid: "}, // serving it is no better
		{"-d -c " + bad, nil, 1, "", "invalid: "},
		{"-t -c " + filepath.Dir(good), nil, 0, "valid: 1 service\n", ""},
		{"-t -c " + t.TempDir(), nil, 1, "", "the folder holds no *.yaml file"},
		{"--validate --listen :8080 --upstream 127.0.0.1:1", nil, 0, "command-line: 0.0.0.0:8080, 1 route, 1 upstream\n", ""},
		{"-t --listen nowhere --upstream 127.0.0.1:1", nil, 1, "", "command line: --listen: "},
		{"-t --listen :8080 --upstream nowhere", nil, 1, "", "command line: --upstream: "},
		{"-t --limits-max-headers many -c " + good, nil, 1, "", "command line: --limits-max-headers: must be an integer"},
		{"-t -c " + good, []string{"PINGORA_LIMITS_MAX_HEADERS=1"}, 1, "", "environment: PINGORA_LIMITS_MAX_HEADERS: must be greater than or equal to 8"},
		{"-t -c " + good, []string{"WORKER_THREADS=two"}, 1, "", "environment: WORKER_THREADS: must be an integer"},
		{"-t -c " + good, []string{"LOG_LEVEL=loud"}, 1, "", "environment: LOG_LEVEL: unknown log level \"loud\""},
		{"-t -c " + good, []string{"LOG_LEVEL=info", "RUST_LOG=loud"}, 0, "valid: 1 service\n", ""}, // the first one counts
		{"-t -c " + bad, []string{"RUST_LOG=loud"}, 1, "", "environment: RUST_LOG: unknown log level \"loud\""},
		{"-c " + good, []string{"LOG_LEVEL=loud"}, 1, "", `LOG_LEVEL: unknown log level "loud"`},
		{"-c " + good, []string{"RUST_LOG=loud"}, 1, "", `RUST_LOG: unknown log level "loud"`},
		{"--listen :8080", nil, 2, "", "--listen and --upstream go together"},
		{"--upstream 127.0.0.1:1", nil, 2, "", "--listen and --upstream go together"},
		{"--no-such-flag", nil, 2, "", "unknown flag: --no-such-flag"},
		{"no-such-command", nil, 2, "", "no-such-command"},
		{"--validate --output xml -c " + good, nil, 2, "", "--output xml: must be text or json"},
		{"--help", nil, 0, "CONFIG_PATH", ""},
		{"-h", nil, 0, "--upstream", ""},
		{"--version", nil, 0, "pingora-proxy", ""},
		{"version", nil, 0, "pingora-proxy ", ""},
		{"demo extra", nil, 2, "", "extra"},
		{"demo --listen nowhere", nil, 1, "", "demo upstream: "},
	} {
		t.Run(strings.Join(append(c.env, c.arguments), " "), func(t *testing.T) {
			t.Parallel()
			r := harness.Run(t, c.env, strings.Fields(c.arguments)...)
			if r.Code != c.code || !strings.Contains(r.Stdout, c.stdout) || !strings.Contains(r.Stderr, c.stderr) {
				t.Errorf("%+v, want %d, %q and %q", r, c.code, c.stdout, c.stderr)
			}
			if c.code != 0 && r.Stderr == "" || c.code != 0 && r.Stdout != "" {
				t.Errorf("a failure speaks on stderr: %+v", r)
			}
		})
	}
}

func TestValidateReportsEveryProblem(t *testing.T) {
	t.Parallel()
	path := configFile(t, `admin:
  bind_address: 127.0.0.1
limits: {max_header: 5}
services:
  - name: a
    bind_adress: '127.0.0.1:1'
    upstreams: ['nowhere', '127.0.0.1:70000']
    health_check: {timeout_ms: 0, type: HTPP}
    load_balancing:
      algorithm: roundrobin
    tls_config: {}
  - name: a
    bind_address: '127.0.0.1:2'
    upstreams: ['127.0.0.1:1']
    retry: {attempts: '3'}
`)
	want := []struct{ at, path, message string }{
		{"2:3", "admin.bind_address", "must be an IP address and a port"},
		{"3:10", "limits.max_header", "unknown field; did you mean `max_headers`?"},
		{"6:5", "services[0].bind_adress", "unknown field; did you mean `bind_address`?"},
		{"7:17", "services[0].upstreams[0]", "must be `host:port`"},
		{"7:28", "services[0].upstreams[1]", "port must be between 1 and 65535"},
		{"8:20", "services[0].health_check.timeout_ms", "must be greater than or equal to 1"},
		{"8:35", "services[0].health_check.type", "must be one of `TCP`, `HTTP`, `GRPC`, `Disabled`; did you mean `HTTP`?"},
		{"10:7", "services[0].load_balancing.algorithm", "did you mean `RoundRobin`?"},
		{"11:5", "services[0].tls_config", "`tls` must be true when `tls_config` is set"},
		{"12:5", "services[1].name", "duplicate service name `a`; the first is at " + path + ":5:5"},
		{"15:13", "services[1].retry.attempts", "integer"},
	}
	text := harness.Run(t, nil, "--validate", "--config", path)
	if text.Code != 1 || text.Stdout != "" {
		t.Errorf("%+v", text)
	}
	lines := strings.Split(strings.TrimSpace(text.Stderr), "\n")
	if last := lines[len(lines)-1]; last != fmt.Sprintf("invalid: %d problems", len(want)) {
		t.Errorf("the last line is %q", last)
	}
	var report struct {
		Valid    bool
		Problems []struct {
			File, Path, Message string
			Line, Column        int
		}
	}
	machine := harness.Run(t, nil, "--validate", "--config", path, "--output", "json")
	if err := json.Unmarshal([]byte(machine.Stdout), &report); err != nil || machine.Code != 1 || report.Valid {
		t.Fatalf("%v %+v", err, machine)
	}
	if len(report.Problems) != len(want) || len(lines) != len(want)+1 {
		t.Fatalf("%d problems and %d lines, want %d:\n%s", len(report.Problems), len(lines), len(want), text.Stderr)
	}
	for i, w := range want {
		p := report.Problems[i]
		if p.File != path || fmt.Sprintf("%d:%d", p.Line, p.Column) != w.at || p.Path != w.path || !strings.Contains(p.Message, w.message) {
			t.Errorf("%+v, want %+v", p, w)
		}
		if line := fmt.Sprintf("%s:%d:%d: %s: %s", p.File, p.Line, p.Column, p.Path, p.Message); lines[i] != line {
			t.Errorf("the line\n%s is not the report's\n%s", lines[i], line)
		}
	}
	good := harness.Run(t, nil, "-t", "-v", "-o", "json", "-c", configFile(t, webService([]string{"127.0.0.1:1"})))
	var result struct {
		Valid    bool
		Problems []any
		Services []struct {
			Name        string
			BindAddress string `json:"bind_address"`
			Routes      int
			Upstreams   int
		}
		Settings []struct{ Key, Variable, Value, From string }
	}
	if err := json.Unmarshal([]byte(good.Stdout), &result); err != nil || good.Code != 0 {
		t.Fatalf("%v %+v", err, good)
	}
	if !result.Valid || result.Problems == nil || len(result.Problems) != 0 || len(result.Services) != 1 || result.Services[0].Name != "web" ||
		result.Services[0].Upstreams != 1 || len(result.Settings) < 10 {
		t.Errorf("%+v", result)
	}
}

// globals have a value that is not the default, for each source.
var globals = map[string][3]string{ // file, environment, flag
	"admin.bind_address":            {"127.0.0.1:11", "127.0.0.1:12", "127.0.0.1:13"},
	"admin.pprof":                   {"true", "false", "true"},
	"access_log.format":             {"Console", "JSON", "Console"},
	"access_log.path":               {"/f", "/e", "/a"},
	"access_log.sample_percent":     {"1", "2", "3"},
	"metrics.bind_address":          {"127.0.0.1:21", "127.0.0.1:22", "127.0.0.1:23"},
	"limits.max_connections":        {"11", "12", "13"},
	"limits.max_request_line_bytes": {"1001", "1002", "1003"},
	"limits.max_header_bytes":       {"2001", "2002", "2003"},
	"limits.max_headers":            {"21", "22", "23"},
	"limits.header_timeout_ms":      {"31", "32", "33"},
	"limits.min_body_bytes_per_sec": {"41", "42", "43"},
	"limits.worker_threads":         {"1", "2", "3"},
	"limits.drain_timeout_secs":     {"51", "52", "53"},
	"limits.via":                    {"true", "false", "true"},
	"limits.max_requests":           {"61", "62", "63"},
	"admin.dashboard":               {"false", "true", "false"},
	"tracing.otlp_endpoint":         {"http://127.0.0.1:4317", "http://127.0.0.1:4318", "http://127.0.0.1:4319"},
	"tracing.protocol":              {"GRPC", "HTTP", "GRPC"},
	"tracing.sample_percent":        {"71", "72", "73"},
	"tracing.propagation":           {"W3C", "B3", "W3C,B3"},
	"tracing.ca_ref.file":           {"testdata/a.pem", "testdata/b.pem", "testdata/c.pem"},

	"rate_limit_store.redis_url":         {"redis://127.0.0.1:1", "redis://127.0.0.1:2", "redis://127.0.0.1:3"},
	"rate_limit_store.password_ref.file": {"testdata/d.txt", "testdata/e.txt", "testdata/f.txt"},
	"rate_limit_store.ca_ref.file":       {"testdata/a.pem", "testdata/b.pem", "testdata/c.pem"},
	"rate_limit_store.timeout_ms":        {"81", "82", "83"},
}

// inYAML spells a global as the file does.
func inYAML(name, value string) (string, string) {
	if reference, ok := strings.CutSuffix(name, ".file"); ok {
		return reference, "{file: " + value + "}"
	}
	if name == "propagation" {
		value = "[" + value + "]"
	}
	return name, value
}

// withFiles makes the files that globals name, and returns the globals with their names.
func withFiles(t *testing.T) map[string][3]string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"a.pem": harness.NewAuthority(t, "a").PEM, "b.pem": harness.NewAuthority(t, "b").PEM, "c.pem": harness.NewAuthority(t, "c").PEM,
		"d.txt": "d", "e.txt": "e", "f.txt": "f",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := map[string][3]string{}
	for key, values := range globals {
		for i := range values {
			values[i] = strings.ReplaceAll(values[i], "testdata", dir)
		}
		out[key] = values
	}
	return out
}

// settings runs --validate -v and returns each global with its origin.
func settings(t *testing.T, env []string, arguments ...string) map[string][2]string {
	t.Helper()
	r := harness.Run(t, env, append([]string{"--validate", "-v"}, arguments...)...)
	if r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	found := map[string][2]string{}
	for line := range strings.Lines(r.Stdout) {
		if key, rest, ok := strings.Cut(strings.TrimSpace(line), " = "); ok {
			value, from, _ := strings.Cut(rest, "\t")
			found[key] = [2]string{value, from}
		}
	}
	return found
}

func TestFlagBeatsEnvironmentBeatsFileBeatsDefault(t *testing.T) {
	t.Parallel()
	globals := withFiles(t)
	var yaml strings.Builder
	section := ""
	var env, flags []string
	defaults := settings(t, nil, "-c", configFile(t, webService([]string{"127.0.0.1:1"})))
	keys := make([]string, 0, len(globals))
	for key := range defaults {
		if _, ok := globals[key]; !ok {
			t.Errorf("the test does not know %s", key)
		}
	}
	for _, top := range []string{"admin", "access_log", "metrics", "tracing", "rate_limit_store", "limits"} {
		for key := range globals {
			if strings.HasPrefix(key, top+".") {
				keys = append(keys, key)
			}
		}
	}
	for _, key := range keys {
		top, name, _ := strings.Cut(key, ".")
		if top != section {
			fmt.Fprintf(&yaml, "%s:\n", top)
			section = top
		}
		value := globals[key]
		name, first := inYAML(name, value[0])
		fmt.Fprintf(&yaml, "  %s: %s\n", name, first)
		env = append(env, "PINGORA_"+strings.ToUpper(strings.ReplaceAll(key, ".", "_"))+"="+value[1])
		flags = append(flags, "--"+strings.NewReplacer(".", "-", "_", "-").Replace(key)+"="+value[2])
	}
	path := configFile(t, yaml.String()+webService([]string{"127.0.0.1:1"}))
	for i, found := range []map[string][2]string{
		settings(t, nil, "-c", path), settings(t, env, "-c", path), settings(t, env, append(flags, "-c", path)...),
	} {
		for key, values := range globals {
			from := []string{"file (" + path + ":", "environment (PINGORA_", "flag (--"}[i]
			if got := found[key]; got[0] != values[i] || !strings.HasPrefix(got[1], from) {
				t.Errorf("%s: %q, want %q from %s…", key, got, values[i], from)
			}
		}
	}
	for key, got := range defaults {
		if got[1] != "default" || got[0] == "" || got[0] == globals[key][2] && got[0] != "true" {
			t.Errorf("%s: %q", key, got)
		}
	}
	// The name that users of the Rust program know, and the general one, which beats it.
	if got := settings(t, []string{"WORKER_THREADS=3"}, "-c", path)["limits.worker_threads"]; got != [2]string{"3", "environment (WORKER_THREADS)"} {
		t.Errorf("%q", got)
	}
	both := settings(t, []string{"WORKER_THREADS=3", "PINGORA_LIMITS_WORKER_THREADS=4"}, "-c", path)
	if got := both["limits.worker_threads"]; got[0] != "4" {
		t.Errorf("%q", got)
	}
}

func TestWorkerThreads(t *testing.T) {
	t.Parallel()
	yaml := webService([]string{"127.0.0.1:1"}, unchecked)
	for n := 1; n <= 2; n++ {
		p := harness.Start(t, yaml, harness.Options{Env: []string{fmt.Sprintf("WORKER_THREADS=%d", n)}})
		p.AwaitMetric(t, float64(n), "go_sched_gomaxprocs_threads")
	}
}

func TestListenAndUpstreamNeedNoFile(t *testing.T) {
	t.Parallel()
	at, _ := echoes(t, "a", "b")
	p := harness.Start(t, "", harness.Options{Args: []string{
		"--listen", "127.0.0.1:0", "--upstream", at[0], "--upstream", at[1], "--limits-via=true",
	}})
	address := p.Addr(t, "command-line")
	if got := burst(t, address, 4, 20); got["a"] != 10 || got["b"] != 10 {
		t.Errorf("%v", got)
	}
	if r := harness.Dial(t, address).Do(t, requestOf("GET", "/")); r.Header.Get("Via") == "" {
		t.Error("the flag for a global is not heard")
	}
	p.Signal(t, syscall.SIGHUP)
	p.AwaitMetric(t, 2, "config_reloads_total", "result", "success")
	if got := p.Addr(t, "command-line"); got != address {
		t.Errorf("%s, before %s", got, address)
	}
}

func TestLogLevels(t *testing.T) {
	t.Parallel()
	yaml := webService([]string{"127.0.0.1:1"}, unchecked)
	for _, c := range []struct {
		env  []string
		info bool
	}{
		{nil, true},
		{[]string{"LOG_LEVEL=debug"}, true},
		{[]string{"RUST_LOG=info,pingora=error"}, true},
		{[]string{"RUST_LOG=pingora=error"}, true},
		{[]string{"LOG_LEVEL=info", "RUST_LOG=error"}, true},
		{[]string{"LOG_LEVEL=error"}, false},
		{[]string{"RUST_LOG=warn"}, false},
		{[]string{"RUST_LOG=error,pingora=debug"}, false},
		{[]string{"LOG_LEVEL=WARN", "RUST_LOG=info"}, false},
	} {
		t.Run(strings.Join(c.env, " "), func(t *testing.T) {
			t.Parallel()
			// The log, by which the harness learns when the proxy is ready, may say nothing here.
			access := filepath.Join(t.TempDir(), "access.log")
			p := harness.Start(t, "access_log: {path: '"+access+"'}\n"+yaml, harness.Options{Env: c.env, NoWait: true})
			harness.Eventually(t, "the configuration is in effect", func() bool {
				_, err := os.Stat(access)
				return err == nil
			})
			if code := p.Stop(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
			infos := 0
			for _, line := range p.Log() {
				if line.Text("level") == "info" {
					infos++
				}
			}
			if (infos > 0) != c.info {
				t.Errorf("%d lines of level info: %s", infos, p.LogText())
			}
		})
	}
}

func TestStacksFollowRustBacktrace(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{"": true, "1": true, "full": true, "0": false} {
		t.Run(value, func(t *testing.T) {
			t.Parallel()
			var env []string
			if value != "" {
				env = []string{"RUST_BACKTRACE=" + value}
			}
			p := harness.Start(t, webService([]string{"127.0.0.1:1"}, unchecked), harness.Options{Env: env})
			p.ReloadRefused(t, "services: [{}]\n")
			line := p.AwaitLog(t, "an error", func(l harness.Line) bool { return l.Text("level") == "error" })
			if got := line.Text("stack") != ""; got != want {
				t.Errorf("a stack: %v, want %v: %v", got, want, line)
			}
		})
	}
}

func TestDemoAnswersAndStops(t *testing.T) {
	t.Parallel()
	address := fmt.Sprint(ownLoopback(), ":0")
	p := harness.Start(t, "", harness.Options{Args: []string{"demo", "--listen", address, "--listen", address}, NoWait: true})
	var upstreams []string
	harness.Eventually(t, "both are ready", func() bool {
		upstreams = nil
		for line := range strings.Lines(p.LogText()) {
			if at, ok := strings.CutPrefix(strings.TrimSpace(line), "demo upstream ready on http://"); ok {
				upstreams = append(upstreams, at)
			}
		}
		return len(upstreams) == 2
	})
	front := harness.Start(t, webService(upstreams, unchecked), harness.Options{})
	seen := map[string]bool{}
	for range 4 {
		r := harness.Dial(t, front.Addr(t, "web")).Do(t, requestOf("GET", "/hello?x=1"))
		first, rest, _ := strings.Cut(r.Text, "\n")
		seen[first] = true
		if r.StatusCode != http.StatusOK || !strings.Contains(rest, "GET /hello?x=1 HTTP/1.1\n") || !strings.Contains(rest, "X-Forwarded-For: 127.0.0.1\n") {
			t.Errorf("%d %s", r.StatusCode, r.Text)
		}
	}
	want := map[string]bool{}
	for _, at := range upstreams {
		want["hello from the demo upstream "+at] = true
	}
	if !reflect.DeepEqual(seen, want) {
		t.Errorf("%v, want %v", seen, want)
	}
	if code := p.Stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
