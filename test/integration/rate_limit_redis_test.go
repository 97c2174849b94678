package integration_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/faulty"
	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

const redisPassword = "canary-of-redis" // gitleaks:allow

func startRedis(t *testing.T) *faulty.Redis {
	t.Helper()
	r := faulty.NewRedis(t, redisPassword)
	r.Start(t)
	return r
}

// TestSharedRateLimit: the limit is counted in Redis; while that is away each replica counts for itself, and says so.
func TestSharedRateLimit(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		redis := startRedis(t)
		password := filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(password, []byte(redisPassword+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		c.Globals = fmt.Sprintf("rate_limit_store: {redis_url: 'redis://%s/1', password_ref: {file: '%s'}, timeout_ms: 1000}", redis.Address, password)
		service := `
  - name: shop
    bind_address: '${host}:8080'
    upstreams: ['${origin}']
    rate_limits: [{name: per-key, key: Header, key_name: X-Key, requests: 4, period_secs: 86400, scope: Shared}]
`
		c.Serve(t, service)
		c.Proxy.AwaitMetric(t, 1, "rate_limit_store_up")
		if n := served(t, c, 6, "/", "X-Key: secret-of-a-client"); n != 4 {
			t.Errorf("%d of 6 are served, want 4", n)
		}
		if r := c.Get(t, limitedURL+"/", "X-Key: b"); r.Header.Get("Ratelimit") != `"per-key";r=3;t=21600` || r.Header.Get("Ratelimit-Policy") != `"per-key";q=4;w=86400` {
			t.Errorf("%q, %q", r.Header.Get("Ratelimit"), r.Header.Get("Ratelimit-Policy"))
		}
		// It is Redis that counts: a proxy that forgets everything does not forget this.
		c.Serve(t, strings.Replace(service, "- name: shop", "- name: shop\n    health_path: /up", 1))
		if n := served(t, c, 1, "/", "X-Key: secret-of-a-client"); n != 0 {
			t.Error("after a reload the limit is new")
		}

		redis.Kill()
		if n := served(t, c, 6, "/", "X-Key: secret-of-a-client"); n != 4 {
			t.Errorf("without Redis %d of 6 are served, want 4", n)
		}
		c.Proxy.AwaitMetric(t, 0, "rate_limit_store_up")
		if n := c.Proxy.Metric(t, "rate_limit_store_errors_total"); n != 6 {
			t.Errorf("%v requests without an answer are counted, want 6", n)
		}
		c.Proxy.AwaitLog(t, "Redis is away", func(l harness.Line) bool { return strings.Contains(l.Text("msg"), "store of shared limits is away") })
		redis.Start(t)
		c.Proxy.AwaitMetric(t, 1, "rate_limit_store_up")
		c.Proxy.AwaitLog(t, "Redis is back", func(l harness.Line) bool { return strings.Contains(l.Text("msg"), "answers again") })
		if n := served(t, c, 6, "/", "X-Key: secret-of-a-client"); n != 4 {
			t.Errorf("with a Redis that is empty %d of 6 are served, want 4", n)
		}
		for _, secret := range []string{redisPassword, "secret-of-a-client"} {
			if strings.Contains(c.Proxy.LogText()+c.Proxy.AccessLogText()+c.Proxy.MetricsText(t), secret) {
				t.Errorf("%q is in logs or metrics", secret)
			}
		}
	})
}

// TestReplicasShareALimit: two proxies serve as many requests together as one may.
func TestReplicasShareALimit(t *testing.T) {
	redis := startRedis(t)
	dir := t.TempDir()
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte(redisPassword), 0o600); err != nil {
		t.Fatal(err)
	}
	origin := harness.StartOrigin(t, harness.Echo("o"))
	config := fmt.Sprintf(`
rate_limit_store: {redis_url: 'redis://%s', password_ref: {file: '%s'}, timeout_ms: 2000}
services:
  - name: shop
    bind_address: '127.0.0.1:0'
    upstreams: ['%s']
    rate_limits: [{name: all, requests: 25, period_secs: 86400, scope: Shared}]
`, redis.Address, password, origin.Addr)
	proxies := []*harness.Proxy{harness.Start(t, config, harness.Options{}), harness.Start(t, config, harness.Options{})}
	for _, p := range proxies {
		p.AwaitMetric(t, 1, "rate_limit_store_up")
	}
	passed := 0
	for i := range 40 {
		r, err := http.Get(proxies[i%2].URL(t, "shop") + "/")
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		if r.StatusCode == http.StatusOK {
			passed++
		}
	}
	if passed != 25 {
		t.Errorf("%d of 40 are served, want 25", passed)
	}
}
