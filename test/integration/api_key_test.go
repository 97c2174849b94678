package integration_test

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

func TestAPIKey(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		line := func(name, key string) string { return fmt.Sprintf("%s:sha256:%x\n", name, sha256.Sum256([]byte(key))) }
		c.Write(t, "partners.keys", line("acme", "canary-1")+line("acme", "canary-2"))
		c.Serve(t, `
  - name: shop
    bind_address: '${host}:8080'
    upstreams: ['${origin}']
    routes:
      - name: partners
        matches: [{path: {value: /partners}}]
        auth: {api_key: {keys_ref: {file: '${dir}/partners.keys'}, user_header: X-Client}}
      - name: forwarded
        matches: [{path: {value: /forwarded}}]
        auth: {api_key: {keys_ref: {file: '${dir}/partners.keys'}, header: Authorization, forward_key: true}}
`)
		const at = "http://shop.example:8080"
		for _, key := range []string{"canary-1", "canary-2"} {
			r := c.Get(t, at+"/partners", "x-api-key: "+key, "X-Client: root")
			if r.Status != 200 {
				t.Fatalf("%d %s", r.Status, r.Body)
			}
			e := harness.ParseEchoed(t, r.Body)
			if strings.Join(e.Header.Values("X-Client"), " ") != "acme" || e.Header.Get("X-Api-Key") != "" {
				t.Errorf("the origin has seen %v", e.Header)
			}
		}
		r := c.Get(t, at+"/forwarded", "Authorization: Bearer canary-1")
		if r.Status != 200 || harness.ParseEchoed(t, r.Body).Header.Get("Authorization") != "Bearer canary-1" {
			t.Errorf("forwarded: %d %s", r.Status, r.Body)
		}
		for name, test := range map[string]struct{ path, field, want string }{
			"none":   {"/partners", "A: b", "401 unauthorized"},
			"wrong":  {"/partners", "X-API-Key: canary-3", "401 credentials_invalid"},
			"alias":  {"/partners", "X_API_Key: canary-1", "401 unauthorized"},
			"query":  {"/partners?X-API-Key=canary-1", "A: b", "401 unauthorized"},
			"others": {"/", "A: b", "200 "},
		} {
			r := c.Get(t, at+test.path, test.field)
			if got := fmt.Sprint(r.Status, " ", reasonOf(r)); got != test.want || r.Status == 401 && r.Header.Get("WWW-Authenticate") != `ApiKey realm="restricted", header="X-API-Key"` {
				t.Errorf("%s: %s, %q; want %s", name, got, r.Header.Get("WWW-Authenticate"), test.want)
			}
		}
		c.Write(t, "partners.keys", line("acme", "canary-2"))
		harness.Eventually(t, "the shorter list", func() bool { return c.Get(t, at+"/partners", "X-API-Key: canary-1").Status == 401 })
		if r := c.Get(t, at+"/partners", "X-API-Key: canary-2"); r.Status != 200 {
			t.Errorf("the key that is left: %d", r.Status)
		}
		if strings.Contains(c.Proxy.LogText(), "canary") {
			t.Error("a key is in the log")
		}
	})
}
