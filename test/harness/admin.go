package harness

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// adminAddr is where the admin API listens, as the log says; empty if it does not (yet).
func (p *Proxy) adminAddr() string { return p.listening("admin.bind_address") }

func (p *Proxy) listening(setting string) string {
	address := ""
	for _, line := range p.stderr.lines() {
		if line.Text("msg") == "listening" && line.Text("setting") == setting {
			address = line.Text("address")
		}
	}
	return address
}

// AdminAddr is the address of the admin API.
func (p *Proxy) AdminAddr(t testing.TB) string {
	t.Helper()
	address := p.adminAddr()
	if address == "" {
		t.Fatal("there is no admin API")
	}
	return address
}

// MetricsAddr is the address of the metrics server.
func (p *Proxy) MetricsAddr(t testing.TB) string {
	t.Helper()
	address := ""
	Eventually(t, "the log says where the metrics server listens", func() bool { // it may say so when the proxy is ready already
		address = p.listening("metrics.bind_address")
		return address != ""
	})
	return address
}

// get asks once, on a connection of its own.
func get(url string) (status int, body string, err error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: Patience}
	response, err := client.Get(url) //nolint:noctx // the client has a time-out
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// Admin asks the admin API for a path; the answer must be 200.
func (p *Proxy) Admin(t testing.TB, path string) string {
	t.Helper()
	status, body, err := get("http://" + p.AdminAddr(t) + path)
	if err != nil || status != http.StatusOK {
		t.Fatalf("GET %s: %d %v %s", path, status, err, body)
	}
	return body
}

// AdminJSON asks the admin API for a path and decodes the answer into v.
func (p *Proxy) AdminJSON(t testing.TB, path string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(p.Admin(t, path)), v); err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
}

// Addr is the address that a service is bound to.
func (p *Proxy) Addr(t testing.TB, service string) string {
	t.Helper()
	var answer struct {
		Listeners []struct {
			Bound    string
			Services []string
		}
	}
	p.AdminJSON(t, "/api/v1/listeners", &answer)
	for _, l := range answer.Listeners {
		for _, name := range l.Services {
			if name == service {
				return l.Bound
			}
		}
	}
	t.Fatalf("no listener has the service %q: %+v", service, answer)
	return ""
}

// URL is http:// and the address of a service.
func (p *Proxy) URL(t testing.TB, service string) string {
	t.Helper()
	return "http://" + p.Addr(t, service)
}

// An Endpoint is what the admin API tells of one.
type Endpoint struct {
	Address             string     `json:"address"`
	Cluster             string     `json:"cluster"`
	Service             string     `json:"service"`
	Weight              uint32     `json:"weight"`
	Healthy             bool       `json:"healthy"`
	Serving             bool       `json:"serving"`
	EjectedUntil        *time.Time `json:"ejected_until"`
	LastError           string     `json:"last_error"`
	LastCheck           *time.Time `json:"last_check"`
	FailedChecks        int        `json:"failed_checks"`
	ConsecutiveFailures int        `json:"consecutive_failures"`
	InFlight            int64      `json:"in_flight"`
	IdleConnections     int        `json:"idle_connections"`
	Requests            uint64     `json:"requests"`
}

// Endpoints are those of a service, whatever its namespace, ordered by cluster and address.
func (p *Proxy) Endpoints(t testing.TB, service string) []Endpoint {
	t.Helper()
	var answer struct{ Endpoints []Endpoint }
	p.AdminJSON(t, "/api/v1/endpoints", &answer)
	var found []Endpoint
	for _, e := range answer.Endpoints {
		if e.Service == service || strings.HasSuffix(e.Service, "/"+service) {
			found = append(found, e)
		}
	}
	return found
}

// ConfigHash is that of the configuration that serves.
func (p *Proxy) ConfigHash(t testing.TB) string {
	t.Helper()
	var answer struct {
		ConfigHash string `json:"config_hash"`
	}
	p.AdminJSON(t, "/api/v1/overview", &answer)
	return answer.ConfigHash
}

// WriteConfig replaces the configuration file in one step, as an editor does, and does not wait for anything.
func (p *Proxy) WriteConfig(t testing.TB, yaml string) {
	t.Helper()
	// In the same folder, because a rename works on one file system; it is no *.yaml while it is written.
	f, err := os.CreateTemp(filepath.Dir(p.Path), ".next-*")
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(yaml)
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(f.Name(), p.Path)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Reload replaces the configuration file and waits until another configuration serves than before.
func (p *Proxy) Reload(t testing.TB, yaml string) {
	t.Helper()
	before := p.ConfigHash(t)
	p.WriteConfig(t, yaml)
	Eventually(t, "the new configuration serves", func() bool { return p.ConfigHash(t) != before })
}

// ReloadRefused replaces the configuration file with one that the proxy must refuse, and waits until it has done so.
func (p *Proxy) ReloadRefused(t testing.TB, yaml string) {
	t.Helper()
	before, refused := p.ConfigHash(t), p.Metric(t, "config_reloads_total", "result", "error")
	p.WriteConfig(t, yaml)
	Eventually(t, "the new configuration is refused", func() bool {
		return p.Metric(t, "config_reloads_total", "result", "error") > refused
	})
	if after := p.ConfigHash(t); after != before {
		t.Fatalf("a configuration that was refused serves: %s, before %s", after, before)
	}
}

// A Series is one value of a metric.
type Series struct {
	Labels map[string]string
	Value  float64 // of a histogram: the number of observations
}

// Metrics are all series by the metric's name, well-formed as Prometheus reads them.
func (p *Proxy) Metrics(t testing.TB) map[string][]Series {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(p.MetricsText(t)))
	if err != nil {
		t.Fatalf("the metrics are not well-formed: %v", err)
	}
	all := make(map[string][]Series, len(families))
	for name, family := range families {
		for _, m := range family.GetMetric() {
			s := Series{
				Labels: make(map[string]string, len(m.GetLabel())),
				Value: m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue() +
					float64(m.GetHistogram().GetSampleCount()) + float64(m.GetSummary().GetSampleCount()),
			}
			for _, l := range m.GetLabel() {
				s.Labels[l.GetName()] = l.GetValue()
			}
			all[name] = append(all[name], s)
		}
	}
	return all
}

// MetricsText is what a scrape gets.
func (p *Proxy) MetricsText(t testing.TB) string {
	t.Helper()
	status, body, err := get("http://" + p.MetricsAddr(t) + "/metrics")
	if err != nil || status != http.StatusOK {
		t.Fatalf("GET /metrics: %d %v %s", status, err, body)
	}
	return body
}

// Metric is the sum of all series of a metric that have the labels, which are names and values in turn. The program's
// prefix may be left out of the name. Of a histogram it is the number of observations. No series is 0.
func (p *Proxy) Metric(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	all := p.Metrics(t)
	series, ok := all[name]
	if !ok {
		series = all["pingora_proxy_"+name]
	}
	sum := 0.0
	for _, s := range series {
		if s.has(labels) {
			sum += s.Value
		}
	}
	return sum
}

// AwaitMetric waits until Metric is want: counters are written after the client has its answer.
func (p *Proxy) AwaitMetric(t testing.TB, want float64, name string, labels ...string) {
	t.Helper()
	got := 0.0
	if !within(Patience, func() bool {
		got = p.Metric(t, name, labels...)
		return got == want
	}) {
		t.Fatalf("%s%v: %v, want %v", name, labels, got, want)
	}
}

func (s Series) has(labels []string) bool {
	if len(labels)%2 != 0 {
		panic(fmt.Sprintf("a label without a value: %q", labels))
	}
	for i := 0; i < len(labels); i += 2 {
		if value, ok := s.Labels[labels[i]]; !ok || value != labels[i+1] {
			return false
		}
	}
	return true
}

// Log is the process log so far.
func (p *Proxy) Log() []Line { return p.stderr.lines() }

// LogText is everything that the process has written to its standard error.
func (p *Proxy) LogText() string { return p.stderr.String() }

// AwaitLog waits for the first line of the process log that matches.
func (p *Proxy) AwaitLog(t testing.TB, what string, matches func(Line) bool) Line {
	t.Helper()
	return await(t, "process log: "+what, p.Log, matches)
}

// AccessLog is the access log so far, where it goes to the standard output.
func (p *Proxy) AccessLog() []Line { return p.stdout.lines() }

// AccessLogText is everything that the process has written to its standard output.
func (p *Proxy) AccessLogText() string { return p.stdout.String() }

// AwaitAccess waits for the first line of the access log that matches.
func (p *Proxy) AwaitAccess(t testing.TB, what string, matches func(Line) bool) Line {
	t.Helper()
	return await(t, "access log: "+what, p.AccessLog, matches)
}

// AccessOf waits for the first line of the access log with this path.
func (p *Proxy) AccessOf(t testing.TB, path string) Line {
	t.Helper()
	return p.AwaitAccess(t, "a request for "+path, func(l Line) bool { return l.Text("path") == path })
}

func await(t testing.TB, what string, read func() []Line, matches func(Line) bool) Line {
	t.Helper()
	var found Line
	Eventually(t, what, func() bool {
		for _, line := range read() {
			if matches(line) {
				found = line
				return true
			}
		}
		return false
	})
	return found
}
