package integration_test

import (
	"net"
	"net/http"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// TestTCP: whatever is spoken gets through, a dead endpoint costs nothing, and a reload leaves what is open alone.
func TestTCP(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		c.Globals = "limits: {drain_timeout_secs: 1}" // clients stay connected to the end
		one, two := startSecure(t, nil, harness.Echo("one")), startSecure(t, nil, harness.Echo("two"))
		dead, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = dead.Close()
		serve := func(upstreams string) {
			t.Helper()
			c.Serve(t, `
  - name: bytes
    protocol: TCP
    bind_address: '${host}:5432'
    health_check: {type: Disabled}
    upstreams: [`+upstreams+`]
`)
		}
		serve("'" + dead.Addr().String() + "', '" + one.addr + "'")
		for range 4 {
			client := c.Client(t, nil)
			r, err := c.Try(client, matrix.Request(t, http.MethodPost, "http://a.test:5432/?bytes=300000", "x"))
			if err != nil || r.Body != harness.Pattern(300000) || r.Header.Get("X-Origin") != "one" {
				t.Fatalf("%v", err)
			}
			client.CloseIdleConnections()
		}
		kept := c.Client(t, nil)
		get := func(client *http.Client) string {
			t.Helper()
			r, err := c.Try(client, matrix.Request(t, http.MethodGet, "http://a.test:5432/", ""))
			if err != nil {
				t.Fatal(err)
			}
			return r.Header.Get("X-Origin")
		}
		if got := get(kept); got != "one" {
			t.Fatal(got)
		}
		serve("'" + two.addr + "'")
		if got := get(kept); got != "one" {
			t.Errorf("the open connection goes to %s", got)
		}
		if got := get(c.Client(t, nil)); got != "two" {
			t.Errorf("a new connection goes to %s", got)
		}
		line := c.Proxy.AwaitAccess(t, "the line of a connection", func(l harness.Line) bool { return l["protocol"] == "TCP" })
		if line["service"] != "bytes" || line["upstream_addr"] != one.addr {
			t.Errorf("%v", line)
		}
	})
}
