package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixed is a State that tests set.
type fixed struct{ ready atomic.Bool }

func (f *fixed) Ready() bool { return f.ready.Load() }

func (f *fixed) Overview() Overview {
	return Overview{Version: "1.2.3", StartedAt: time.Unix(1_700_000_000, 0).UTC(), ConfigHash: "9f3c", Endpoints: EndpointCount{1, 2}}
}

func (f *fixed) Listeners() []Listener {
	return []Listener{{Address: "0.0.0.0:6189", Services: []string{}}, {Address: "0.0.0.0:6188", Bound: "[::]:6188", Services: []string{"a"}}}
}

func (f *fixed) Services() []Service {
	return []Service{{Name: "b", Hosts: []string{}}, {Namespace: "n", Name: "a"}, {Name: "a", Listener: "y"}, {Name: "a", Listener: "x"}}
}

func (f *fixed) Routes() []Route { return nil }

func (f *fixed) Endpoints() []Endpoint {
	until := time.Unix(1_700_000_060, 0).UTC()
	return []Endpoint{
		{Address: "10.0.0.2:80", Service: "b", Cluster: "c"},
		{
			Address: "10.0.0.1:80", Service: "b", Cluster: "c", Weight: 1, Healthy: true, EjectedUntil: &until, LastError: "refused",
			InFlight: 3, IdleConnections: 4, Requests: 5, ConsecutiveFailures: 6,
		},
		{Address: "10.0.0.3:80", Service: "a", Cluster: "c"},
	}
}

func (f *fixed) Config() Config {
	return Config{Hash: "9f3c", Source: "config/default.yaml", LoadedAt: time.Unix(1_700_000_000, 0).UTC(), LastError: "bad"}
}

func (f *fixed) Status() Status {
	return Status{Overview: f.Overview(), Config: f.Config(), Listeners: f.Listeners(), Services: f.Services(), Routes: []RouteRow{}}
}

func (f *fixed) Outline() Outline { return Outline{Hash: "9f3c", Salt: []byte("salt")} }

func (f *fixed) Explain(q Question) (*Explanation, error) {
	if q.URL == "" {
		return nil, errors.New("no URL")
	}
	return &Explanation{Method: q.Method, URL: q.URL, Listener: q.Listener, Notes: q.Headers}, nil
}

// A process log that a test reads.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

type rig struct {
	options Options
	state   *fixed
	pprof   atomic.Bool
	page    atomic.Bool
	log     *output
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{state: &fixed{}, log: &output{}}
	r.state.ready.Store(true)
	level := telemetry.NewLevel()
	log, err := telemetry.NewLogger(telemetry.LogOptions{Level: level, Writer: r.log})
	if err != nil {
		t.Fatal(err)
	}
	r.options = Options{Log: log, State: r.state, Level: level, Metrics: telemetry.NewMetrics("test"), Pprof: r.pprof.Load, Dashboard: r.page.Load}
	return r
}

// serve brings a server up on a free port.
func serve(t *testing.T, s *Server) string {
	t.Helper()
	t.Cleanup(func() { s.Shutdown(context.Background()) }) // t.Context() is over then, and would cut off
	if err := s.Apply("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	return s.Addr()
}

// ask sends one request on a connection of its own. header is a list of names and values; Host among them.
func ask(t *testing.T, address, method, path, body string, header ...string) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), method, "http://"+address+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		} else {
			r.Header.Set(header[i], header[i+1])
		}
	}
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(text)
}

func TestAdminEndpoints(t *testing.T) {
	address := serve(t, NewAdmin(newRig(t).options))
	for path, want := range map[string]string{
		"/healthz": "ok\n",
		"/livez":   "ok\n",
		"/readyz":  "ok\n",
		"/api/v1/overview": `{"version":"1.2.3","started_at":"2023-11-14T22:13:20Z","uptime_seconds":0,"ready":false,` +
			`"config_hash":"9f3c","listeners":0,"services":0,"routes":0,"endpoints":{"healthy":1,"total":2},` +
			`"open_connections":0,"active_requests":0,"open_tunnels":0}`,
		"/api/v1/listeners": `{"listeners":[{"address":"0.0.0.0:6188","bound":"[::]:6188","services":["a"]},` +
			`{"address":"0.0.0.0:6189","services":[]}]}`,
		"/api/v1/services": `{"services":[` +
			`{"name":"a","listener":"x","hosts":null,"routes":0,"endpoints":{"healthy":0,"total":0}},` +
			`{"name":"a","listener":"y","hosts":null,"routes":0,"endpoints":{"healthy":0,"total":0}},` +
			`{"name":"b","listener":"","hosts":[],"routes":0,"endpoints":{"healthy":0,"total":0}},` +
			`{"namespace":"n","name":"a","listener":"","hosts":null,"routes":0,"endpoints":{"healthy":0,"total":0}}]}`,
		"/api/v1/routes": `{"routes":[]}`,
		"/api/v1/endpoints": `{"endpoints":[` +
			`{"address":"10.0.0.3:80","cluster":"c","service":"a","weight":0,"healthy":false,"serving":false,"failed_checks":0,` +
			`"consecutive_failures":0,"in_flight":0,"idle_connections":0,"requests":0},` +
			`{"address":"10.0.0.1:80","cluster":"c","service":"b","weight":1,"healthy":true,"serving":false,` +
			`"ejected_until":"2023-11-14T22:14:20Z","last_error":"refused","failed_checks":0,"consecutive_failures":6,` +
			`"in_flight":3,"idle_connections":4,"requests":5},` +
			`{"address":"10.0.0.2:80","cluster":"c","service":"b","weight":0,"healthy":false,"serving":false,"failed_checks":0,` +
			`"consecutive_failures":0,"in_flight":0,"idle_connections":0,"requests":0}]}`,
		"/api/v1/config":   `{"hash":"9f3c","source":"config/default.yaml","loaded_at":"2023-11-14T22:13:20Z","last_error":"bad","snapshot":null}`,
		"/api/v1/loglevel": `{"level":"info"}`,
		"/api/v1/snapshot": `{"hash":"9f3c","salt":"c2FsdA==","settings":null,"parts":null}`,
		"/api/v1/explain?url=http://a/&header=A:+1&header=B:+2&listener=:80": `{"method":"GET","url":"http://a/","listener":":80",` +
			`"outcome":"","candidates":null,"notes":["A: 1","B: 2"]}`,
	} {
		t.Run(path, func(t *testing.T) {
			status, header, body := ask(t, address, "GET", path, "")
			if strings.HasPrefix(path, "/api/") {
				if header.Get("Content-Type") != "application/json" {
					t.Error(header)
				}
				var compact bytes.Buffer
				if err := json.Compact(&compact, []byte(body)); err != nil {
					t.Fatalf("%v: %s", err, body)
				}
				body = compact.String()
			}
			if diff := cmp.Diff(want, body); status != 200 || diff != "" {
				t.Error(status, diff)
			}
			if header.Get("Cache-Control") != "no-store" || header.Get("X-Content-Type-Options") != "nosniff" {
				t.Error(header)
			}
			if status, _, body := ask(t, address, "HEAD", path, ""); status != 200 || body != "" {
				t.Errorf("HEAD: %d %q", status, body)
			}
			for _, method := range []string{"POST", "PATCH", "DELETE", "OPTIONS", "PUT"} {
				allow := "GET, HEAD"
				if path == "/api/v1/loglevel" {
					if method == "PUT" {
						continue
					}
					allow = "GET, HEAD, PUT"
				}
				status, header, body := ask(t, address, method, path, "{}", "Content-Type", "application/json")
				if status != 405 || header.Get("Allow") != allow || header.Get("Content-Type") != "application/problem+json" {
					t.Errorf("%s: %d %v %s", method, status, header, body)
				}
			}
		})
	}
}

func TestMetricsEndpoints(t *testing.T) {
	r := newRig(t)
	r.pprof.Store(true)
	address := serve(t, NewMetrics(r.options))
	for path, want := range map[string]string{"/metrics": "pingora_proxy_open_connections 0\n", "/livez": "ok\n", "/readyz": "ok\n"} {
		status, _, body := ask(t, address, "GET", path, "", "Host", "prometheus.example")
		if status != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, status, body)
		}
		if status, _, _ := ask(t, address, "POST", path, ""); status != 405 {
			t.Errorf("POST %s: %d", path, status)
		}
	}
	for _, path := range []string{"/", "/api/v1/config", "/api/v1/loglevel", "/debug/pprof/", "/metrics/"} {
		if status, header, body := ask(t, address, "GET", path, ""); status != 404 || header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}

func TestNotReady(t *testing.T) {
	r := newRig(t)
	r.state.ready.Store(false)
	for _, address := range []string{serve(t, NewAdmin(r.options)), serve(t, NewMetrics(r.options))} {
		if status, header, body := ask(t, address, "GET", "/readyz", ""); status != 503 || header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%d %s", status, body)
		}
		if status, _, _ := ask(t, address, "GET", "/livez", ""); status != 200 {
			t.Errorf("not alive: %d", status)
		}
	}
}

func TestLogLevel(t *testing.T) {
	r := newRig(t)
	address := serve(t, NewAdmin(r.options))
	const path, jsonType = "/api/v1/loglevel", "application/json"
	for _, c := range []struct {
		name, body string
		header     []string
		want       int
	}{
		{"a form's type", `{"level":"debug"}`, []string{"Content-Type", "text/plain"}, 415},
		{"no type", `{"level":"debug"}`, nil, 415},
		{"another origin", `{"level":"debug"}`, []string{"Content-Type", jsonType, "Origin", "http://evil.example"}, 403},
		{"a sandboxed page", `{"level":"debug"}`, []string{"Content-Type", jsonType, "Origin", "null"}, 403},
		{"a browser's word", `{"level":"debug"}`, []string{"Content-Type", jsonType, "Sec-Fetch-Site", "cross-site"}, 403},
		{"a rebound name", `{"level":"debug"}`, []string{"Content-Type", jsonType, "Host", "evil.example", "Origin", "http://evil.example"}, 403},
		{"unknown level", `{"level":"loud"}`, []string{"Content-Type", jsonType}, 422},
		{"no level", `{}`, []string{"Content-Type", jsonType}, 422},
		{"unknown field", `{"level":"debug","x":1}`, []string{"Content-Type", jsonType}, 400},
		{"two values", `{"level":"debug"}{}`, []string{"Content-Type", jsonType}, 400},
		{"not JSON", `level=debug`, []string{"Content-Type", jsonType}, 400},
		{"too long", `{"level":"` + strings.Repeat("x", 2000) + `"}`, []string{"Content-Type", jsonType}, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, header, body := ask(t, address, "PUT", path, c.body, c.header...)
			if status != c.want || header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%d %s", status, body)
			}
			if r.options.Level.Get() != "info" {
				t.Error("the level has changed")
			}
		})
	}
	status, _, body := ask(t, address, "PUT", path, `{"level":"DEBUG"}`, "Content-Type", jsonType+"; charset=utf-8", "Origin", "http://"+address)
	if status != 200 || !strings.Contains(body, `"level": "debug"`) || r.options.Level.Get() != "debug" {
		t.Errorf("%d %s", status, body)
	}
	if !strings.Contains(r.log.String(), `"from":"info","to":"debug"`) {
		t.Error("the change is not logged:", r.log)
	}
}

func TestHost(t *testing.T) {
	address := serve(t, NewAdmin(newRig(t).options))
	for host, want := range map[string]int{
		"127.0.0.1:9901": 200, "127.0.0.1": 200, "[::1]:9901": 200, "[::1]": 200, "192.0.2.1": 200, "localhost:9901": 200,
		"LocalHost.": 200, "evil.example": 403, "evil.example:9901": 403, "127.0.0.1.evil.example": 403, "localhost.evil.example": 403,
	} {
		if status, _, body := ask(t, address, "GET", "/api/v1/config", "", "Host", host); status != want {
			t.Errorf("%s: %d %s", host, status, body)
		}
	}
	if !knownHost("Proxy.internal:9901", "proxy.internal") || knownHost("proxy.internal", "127.0.0.1") || !knownHost("", "127.0.0.1") {
		t.Error("the bound name does not decide")
	}
}

func TestPprofIsOffByDefault(t *testing.T) {
	r := newRig(t)
	address := serve(t, NewAdmin(r.options))
	paths := map[string]int{"/debug/pprof": 301, "/debug/pprof/": 200, "/debug/pprof/cmdline": 200, "/debug/pprof/goroutine": 200, "/debug/pprof/none": 404}
	for path := range paths {
		if status, _, _ := ask(t, address, "GET", path, ""); status != 404 {
			t.Errorf("%s: %d", path, status)
		}
	}
	r.pprof.Store(true) // a reload
	for path, want := range paths {
		if status, _, body := ask(t, address, "GET", path, ""); status != want {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if status, _, _ := ask(t, address, "POST", "/debug/pprof/symbol", ""); status != 405 {
		t.Errorf("POST: %d", status)
	}
	if status, _, _ := ask(t, address, "GET", "/debug/pprof/", "", "Host", "evil.example"); status != 403 {
		t.Errorf("another host: %d", status)
	}
}
