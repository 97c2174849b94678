package integration_test

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// TestPassthrough: the endpoints end TLS, and are told apart by the name that the client asks for.
func TestPassthrough(t *testing.T) {
	t.Parallel()
	ours := harness.NewAuthority(t, "ours")
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		c.Globals = "limits: {drain_timeout_secs: 1}" // clients stay connected to the end
		a := startSecure(t, serverConfig(ours, t, "raw.test"), harness.Echo("a"))
		b := startSecure(t, serverConfig(ours, t, "x.wild.test"), harness.Echo("b"))
		c.Serve(t, `
  - name: exact
    protocol: TCP
    bind_address: '${host}:9443'
    hosts: [raw.test]
    tls: true
    tls_config: {mode: Passthrough}
    upstreams: ['`+a.addr+`']
  - name: wild
    protocol: TCP
    bind_address: '${host}:9443'
    hosts: ['*.wild.test']
    tls: true
    tls_config: {mode: Passthrough}
    upstreams: ['`+b.addr+`']
`)
		client := c.Client(t, &tls.Config{RootCAs: ours.Pool(), MinVersion: tls.VersionTLS12})
		for _, tt := range []struct{ host, origin string }{{"raw.test", "a"}, {"x.wild.test", "b"}, {"other.test", ""}} {
			r, err := c.Try(client, matrix.Request(t, http.MethodGet, "https://"+tt.host+":9443/", ""))
			switch {
			case tt.origin == "":
				if err == nil || !strings.Contains(err.Error(), "unrecognized name") {
					t.Errorf("%s: %+v %v", tt.host, r, err)
				}
			case err != nil || r.Header.Get("X-Origin") != tt.origin:
				t.Errorf("%s: %+v %v", tt.host, r, err)
			}
		}
	})
}
