package translate_test

import (
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// TestAside: what a service says of its own endpoints is not meant for who is asked about requests, or gets copies of them.
func TestAside(t *testing.T) {
	s, problems := translate.Translate(load(t, `
services:
  - name: a
    bind_address: ':80'
    upstreams: ['10.0.0.1:80']
    upstream_tls: {server_name: a.internal}
    upstream_proxy_protocol: v2
    health_check: {type: HTTP, path: /healthz}
    load_balancing: {algorithm: LeastRequest, slow_start_secs: 30}
    circuit_breaker: {}
    auth: {forward: {backend: {address: '10.0.0.2:4180'}}}
    routes:
      - name: r
        filters:
          - mirror: {backend: {address: '10.0.0.3:80'}}
          - mirror: {backend: {address: '10.0.0.4:443', protocol: HTTPS}}
`))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	seen := 0
	for _, c := range s.Clusters {
		address := c.Endpoints[0].Addr.String()
		if address == "10.0.0.1:80" {
			if c.TLS == nil || c.ProxyProtocol != 2 || c.Health.Type != snapshot.CheckHTTP || c.Breaker == nil {
				t.Errorf("the service's own: %+v", c)
			}
			continue
		}
		seen++
		if secure := strings.HasSuffix(address, ":443"); (c.TLS != nil) != secure || c.ProxyProtocol != 0 || c.Health.Type != snapshot.CheckTCP ||
			c.Breaker != nil || c.Algorithm != snapshot.RoundRobin || c.SlowStart != 0 {
			t.Errorf("%s: %+v", address, c)
		}
	}
	if seen < 3 {
		t.Errorf("%d clusters aside", seen)
	}
}
