package integration_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/pingora-proxy/pingora-proxy/test/benchmarks/peers"
	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

const monitoring = "../../config/monitoring/"

// expressions are the queries of the dashboard and of the alert rules.
func expressions(t *testing.T) []string {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Targets []struct{ Expr string }
		}
		Templating struct {
			List []struct{ Query any }
		}
	}
	text, err := os.ReadFile(monitoring + "dashboard.json")
	if err == nil {
		err = json.Unmarshal(text, &dashboard)
	}
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range dashboard.Panels {
		for _, q := range p.Targets {
			out = append(out, q.Expr)
		}
	}
	for _, v := range dashboard.Templating.List {
		if q, ok := v.Query.(map[string]any); ok {
			out = append(out, q["query"].(string))
		}
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if text, err = os.ReadFile(monitoring + "alerts.yaml"); err == nil {
		err = yaml.Unmarshal(text, &rules)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			out = append(out, r.Expr)
		}
	}
	if len(out) < 40 {
		t.Fatalf("only %d queries were found", len(out))
	}
	return out
}

// TestMonitoringAsksForWhatThereIs: every metric that the dashboard and the alerts name is one that the program exposes, and
// so is every label that they select or group by.
func TestMonitoringAsksForWhatThereIs(t *testing.T) {
	t.Parallel()
	origin := harness.StartRawOrigin(t, harness.Answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
	dir := t.TempDir()
	chain, key := harness.NewAuthority(t, "monitoring").Issue(t, nil, "secure.example")
	for name, content := range map[string]string{"a.crt": chain, "a.key": key} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := harness.Start(t, strings.NewReplacer("${dir}", dir, "${origin}", origin.Addr).Replace(`
services:
  - name: web
    bind_address: '127.0.0.1:0'
    upstreams: ['${origin}']
    circuit_breaker: {error_percent: 50}
    health_check: {passive: {}}
    retry: {attempts: 2}
    rate_limits: [{name: all, requests: 1, period_secs: 3600}]
  - name: down
    bind_address: '127.0.0.2:0'
    upstreams: ['127.0.0.1:1']
    health_check: {type: Disabled, passive: {consecutive_errors: 1, max_ejection_percent: 100}}
  - name: secure
    bind_address: '127.0.0.3:0'
    hosts: [secure.example]
    tls: true
    tls_config: {certificates: [{cert_file: '${dir}/a.crt', key_file: '${dir}/a.key'}]}
    upstreams: ['${origin}']
`), harness.Options{})
	for _, service := range []string{"web", "web", "down", "down", "secure"} {
		if c, err := http.Get(p.URL(t, service)); err == nil { //nolint:noctx // it is local
			_ = c.Body.Close()
		}
	}
	p.AwaitMetric(t, 1, "pingora_proxy_rejected_connections_total", "reason", "tls_handshake")
	p.AwaitMetric(t, 1, "pingora_proxy_upstream_ejections_total", "reason", "consecutive_errors")
	labels := map[string][]string{} // of each metric
	for name, list := range p.Metrics(t) {
		for _, series := range list {
			for label := range series.Labels {
				labels[name] = append(labels[name], label)
			}
		}
		labels[name] = append(labels[name], "instance", "job") // Prometheus adds them
	}
	word := regexp.MustCompile(`\b(?:pingora_proxy|process)_[a-z_]+`)
	selector := regexp.MustCompile(`^\{([^}]*)\}`)
	label := regexp.MustCompile(`([a-z_]+)(?:=~|!=|=)`)
	for _, e := range expressions(t) {
		for _, at := range word.FindAllStringIndex(e, -1) {
			name := strings.TrimSuffix(e[at[0]:at[1]], "_bucket")
			known, ok := labels[name]
			if !ok {
				t.Errorf("%s does not exist: %s", name, e)
				continue
			}
			if s := selector.FindStringSubmatch(e[at[1]:]); s != nil {
				for _, l := range label.FindAllStringSubmatch(s[1], -1) {
					if !slices.Contains(known, l[1]) {
						t.Errorf("%s has no label %s: %s", name, l[1], e)
					}
				}
			}
		}
		for _, by := range regexp.MustCompile(`by \(([^)]*)\)`).FindAllStringSubmatch(e, -1) {
			for l := range strings.SplitSeq(by[1], ",") {
				l = strings.TrimSpace(l)
				if l == "le" {
					continue
				}
				if !slices.ContainsFunc(word.FindAllString(e, -1), func(n string) bool { return slices.Contains(labels[strings.TrimSuffix(n, "_bucket")], l) }) {
					t.Errorf("no metric has the label %s: %s", l, e)
				}
			}
		}
	}
}

// TestAlertRules has Prometheus' own tool read the rules, and try them on made-up series.
func TestAlertRules(t *testing.T) {
	t.Parallel()
	promtool, err := peers.Find(t.Context(), "promtool")
	if err != nil {
		t.Fatal(err)
	}
	for _, arguments := range [][]string{{"check", "rules", monitoring + "alerts.yaml"}, {"test", "rules", monitoring + "alerts_test.yaml"}} {
		if out, err := promtool.Command(t.Context(), arguments...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", arguments, err, out)
		}
	}
}
