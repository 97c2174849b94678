package integration_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

func TestAdminShowsWhatServes(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	origin := script{"/": says(ok), "/wait": func(c *harness.OriginConn, _ *harness.OriginRequest) bool { <-release; c.Send(ok); return true }}.start(t)
	gone := harness.StartOriginProcess(t, "gone")
	gone.Kill(t)
	p := harness.Start(t, fmt.Sprintf(`
services:
  - name: web
    bind_address: '127.0.0.1:0'
    hosts: [site.example]
    backends: [{address: '%s', weight: 7}, {address: '%s', role: Backup}]
    routes: [{name: r, matches: [{path: {value: /r}, methods: [GET]}], filters: [{redirect: {path: /x}}]}]
    timeouts: {request_ms: 12345}
`, origin.Addr, gone.Addr), harness.Options{})
	c := harness.Dial(t, p.Addr(t, "web"))
	expect(t, c.Do(t, request("GET", "/")), 200, "ok")
	c.Send(t, request("GET", "/wait"))

	find := func(addr string) harness.Endpoint {
		for _, e := range p.Endpoints(t, "web") {
			if e.Address == addr {
				return e
			}
		}
		t.Fatalf("no endpoint %s: %+v", addr, p.Endpoints(t, "web"))
		return harness.Endpoint{}
	}
	harness.Eventually(t, "a request is in flight", func() bool { return find(origin.Addr).InFlight == 1 })
	if e := find(origin.Addr); !e.Healthy || !e.Serving || e.Weight != 7 || e.Requests != 2 || e.IdleConnections != 0 || e.EjectedUntil != nil {
		t.Errorf("%+v", e)
	}
	harness.Eventually(t, "the dead endpoint was checked", func() bool { return find(gone.Addr).LastCheck != nil })
	if e := find(gone.Addr); e.Serving || e.FailedChecks == 0 || !strings.Contains(e.LastError, "refused") {
		t.Errorf("%+v", e)
	}
	close(release)
	expect(t, c.Response(t, "GET"), 200, "ok")
	harness.Eventually(t, "the connection is idle", func() bool { e := find(origin.Addr); return e.InFlight == 0 && e.IdleConnections == 1 })

	var overview struct {
		Ready           bool
		Version         string
		ConfigHash      string `json:"config_hash"`
		Listeners       int
		Services        int
		Routes          int
		OpenConnections int `json:"open_connections"`
		Endpoints       struct{ Healthy, Total int }
	}
	if p.AdminJSON(t, "/api/v1/overview", &overview); !overview.Ready || overview.Version == "" || overview.ConfigHash == "" || overview.Listeners != 1 ||
		overview.Services != 1 || overview.Routes != 2 || overview.OpenConnections != 1 || overview.Endpoints.Healthy != 1 || overview.Endpoints.Total != 2 {
		t.Errorf("%+v", overview)
	}
	var routes struct {
		Routes []struct {
			Service, Name string
			Hosts         []string
			Matches       []struct {
				Path     string
				PathType string `json:"path_type"`
				Methods  []string
			}
			Timeouts struct {
				RequestMS int `json:"request_ms"`
			}
		}
	}
	p.AdminJSON(t, "/api/v1/routes", &routes)
	if len(routes.Routes) != 2 || routes.Routes[1].Name != "r" || len(routes.Routes[1].Matches) != 1 || routes.Routes[1].Matches[0].Path != "/r" ||
		!cmp.Equal(routes.Routes[1].Matches[0].Methods, []string{"GET"}) || routes.Routes[0].Timeouts.RequestMS != 12345 {
		t.Errorf("%+v", routes)
	}
	var services struct {
		Services []struct {
			Name  string
			Hosts []string
		}
	}
	if p.AdminJSON(t, "/api/v1/services", &services); len(services.Services) != 1 || services.Services[0].Name != "web" || !cmp.Equal(services.Services[0].Hosts, []string{"site.example"}) {
		t.Errorf("%+v", services)
	}
	var config struct {
		Hash, Source string
		LastError    string `json:"last_error"`
	}
	if p.AdminJSON(t, "/api/v1/config", &config); config.Hash != overview.ConfigHash || config.Source != p.Path || config.LastError != "" {
		t.Errorf("%+v", config)
	}
	p.ReloadRefused(t, "services: [{name: web, bind_adress: x}]\n")
	if p.AdminJSON(t, "/api/v1/config", &config); config.Hash != overview.ConfigHash || config.LastError == "" {
		t.Errorf("%+v", config)
	}
	for _, path := range []string{"/healthz", "/livez", "/readyz"} {
		if got := p.Admin(t, path); got != "ok\n" {
			t.Errorf("%s: %q", path, got)
		}
	}
	for path, want := range map[string]int{"/livez": 200, "/readyz": 200, "/api/v1/config": 404} {
		if status, _ := fetch(t, "GET", "http://"+p.MetricsAddr(t)+path, ""); status != want {
			t.Errorf("%s on the metrics address: %d, want %d", path, status, want)
		}
	}
	if status, _ := fetch(t, "GET", "http://"+p.AdminAddr(t)+"/debug/pprof/", ""); status != 404 {
		t.Errorf("profiles that nobody asked for: %d", status)
	}
}

// fetch asks something else than a service.
func fetch(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: harness.Patience}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func TestProfilesBehindTheirFlag(t *testing.T) {
	t.Parallel()
	p := harness.Start(t, "admin: {bind_address: '127.0.0.1:0', pprof: true}\nservices: [{name: web, bind_address: '127.0.0.1:0', upstreams: ['127.0.0.1:1']}]\n", harness.Options{})
	if status, text := fetch(t, "GET", "http://"+p.AdminAddr(t)+"/debug/pprof/goroutine?debug=1", ""); status != 200 || !strings.HasPrefix(text, "goroutine profile:") {
		t.Errorf("%d %.100q", status, text)
	}
}

func TestLogLevelChangesAtRunTime(t *testing.T) {
	t.Parallel()
	origin := harness.StartRawOrigin(t, harness.Answer(ok))
	p := harness.Start(t, siteConfig(origin.Addr, "", ""), harness.Options{Env: []string{"LOG_LEVEL=info"}})
	url := "http://" + p.AdminAddr(t) + "/api/v1/loglevel"
	level := func(want string) {
		t.Helper()
		if status, text := fetch(t, "PUT", url, `{"level": "`+want+`"}`); status != 200 {
			t.Fatalf("%d %s", status, text)
		}
		var got struct{ Level string }
		if _, text := fetch(t, "GET", url, ""); json.Unmarshal([]byte(text), &got) != nil || got.Level != want {
			t.Errorf("%s: %s", want, text)
		}
	}
	reloads := func() (n int) {
		for _, l := range p.Log() {
			if l.Text("msg") == "configuration reloaded" {
				n++
			}
		}
		return n
	}
	level("error")
	p.Reload(t, siteConfig(origin.Addr, "timeouts: {request_ms: 1001}", ""))
	level("info")
	p.Reload(t, siteConfig(origin.Addr, "timeouts: {request_ms: 1002}", ""))
	harness.Eventually(t, "a reload is logged", func() bool { return reloads() > 0 })
	if n := reloads(); n != 1 {
		t.Errorf("%d of 2 reloads are logged, one of which was at level error", n)
	}
	if status, _ := fetch(t, "PUT", url, `{"level": "loud"}`); status != 422 {
		t.Errorf("an unknown level: %d", status)
	}
}
