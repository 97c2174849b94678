package integration_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// Endpoints that EndpointSlices hint at for the proxy's own zone are preferred, while enough of them can serve. There are
// hints in Kubernetes alone.
func TestZones(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		if c.Source == matrix.File {
			return
		}
		start := func(zone string, port int) *httptest.Server {
			l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", c.Host, port))
			if err != nil {
				t.Fatal(err)
			}
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Origin", zone)
			}))
			_ = s.Listener.Close()
			s.Listener = l
			s.Start()
			t.Cleanup(s.Close)
			return s
		}
		ours := start("ours", 9001)
		start("theirs", 9002)
		c.Env = []string{"PINGORA_ZONE=zone-a"}
		objects := `
kind: Service
apiVersion: v1
metadata: {name: web}
spec: {ports: [{name: http, port: 80}]}
`
		for i, zone := range []string{"zone-a", "zone-b"} {
			objects += fmt.Sprintf(`---
kind: EndpointSlice
apiVersion: discovery.k8s.io/v1
metadata: {name: 'web-%d', labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: %d, protocol: TCP}]
endpoints: [{addresses: ['${host}'], conditions: {ready: true}, zone: %s, hints: {forZones: [{name: %s}]}}]
`, i, 9001+i, zone, zone)
		}
		c.Kubernetes(t, objects)
		service := func(aware bool) string {
			return fmt.Sprintf(`
  - name: shop
    bind_address: '${host}:8080'
    backends: [{service: {name: web, port: 80}}]
    health_check: {frequency_secs: 1, unhealthy_threshold: 1}
    load_balancing: {algorithm: RoundRobin, zone_aware: %t}
`, aware)
		}
		seen := func() map[string]bool {
			got := map[string]bool{}
			for range 10 {
				got[origin(t, c, "/")] = true
			}
			return got
		}
		c.Serve(t, service(true))
		if got := seen(); len(got) != 1 || !got["ours"] {
			t.Errorf("requests went to %v, want our zone alone", got)
		}
		c.Serve(t, service(false))
		if got := seen(); len(got) != 2 {
			t.Errorf("without preference requests went to %v", got)
		}
		c.Serve(t, service(true))
		ours.Close()
		harness.Eventually(t, "the other zone alone", func() bool {
			got := seen()
			return len(got) == 1 && got["theirs"]
		})
	})
}
