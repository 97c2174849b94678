package integration_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// The status page as a program sees it; what a browser makes of it is tried in test/page.
func TestStatusPage(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t, harness.Echo("a"))
	config := shopConfig(origin.Addr, "/login")
	p := harness.Start(t, config, harness.Options{})
	c := harness.Dial(t, p.Addr(t, "shop"))
	c.Do(t, "GET /api/x HTTP/1.1\r\nHost: shop.example.com\r\n\r\n")

	response, err := http.Get("http://" + p.AdminAddr(t) + "/") //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if policy := response.Header.Get("Content-Security-Policy"); response.StatusCode != http.StatusOK || !strings.HasPrefix(policy, "default-src 'none'; ") {
		t.Errorf("%d %v", response.StatusCode, response.Header)
	}
	var status struct {
		Overview struct{ Version string }
		Config   struct{ Hash, Source string }
		Routes   []struct {
			Route, Host string
			Filters     []string
			Latency     *struct {
				Count uint64
				P99MS float64 `json:"p99_ms"`
			}
		}
		Endpoints []struct {
			Address string
			Serving bool
			Latency *struct{ Count uint64 }
		}
	}
	harness.Eventually(t, "the request is counted", func() bool {
		p.AdminJSON(t, "/api/v1/status", &status)
		return status.Routes[1].Latency != nil
	})
	if len(status.Routes) != 3 || status.Routes[0].Route != "shop/login" || status.Routes[1].Route != "shop/api" || status.Routes[2].Route != "shop/plain" {
		t.Errorf("%+v", status.Routes)
	}
	if r := status.Routes[1]; r.Host != "shop.example.com" || len(r.Filters) != 2 || r.Latency.Count != 1 || r.Latency.P99MS <= 0 {
		t.Errorf("%+v", r)
	}
	if len(status.Endpoints) != 1 || status.Endpoints[0].Address != origin.Addr || !status.Endpoints[0].Serving || status.Endpoints[0].Latency.Count != 1 {
		t.Errorf("%+v", status.Endpoints)
	}
	if status.Config.Hash != p.ConfigHash(t) || status.Config.Source != p.Path || status.Overview.Version == "" {
		t.Errorf("%+v", status)
	}
	for _, path := range []string{"/", "/api/v1/status", "/api/v1/snapshot", "/api/v1/config", "/api/v1/routes"} {
		if strings.Contains(p.Admin(t, path), "letmein") {
			t.Errorf("%s tells a secret", path)
		}
	}
	p.Reload(t, config+"admin: {bind_address: '"+p.AdminAddr(t)+"', dashboard: false}\n")
	harness.Eventually(t, "the page is off", func() bool {
		response, err := http.Get("http://" + p.AdminAddr(t) + "/") //nolint:noctx // a test
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusNotFound
	})
	p.Admin(t, "/api/v1/status")
}
