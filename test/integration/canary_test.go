package integration_test

import (
	"fmt"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// Requests that carry what a backend asks for go there, whatever its weight; others by the weights.
func TestCanary(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		at := named(t, c, 3)
		service := func(canary string) string {
			return fmt.Sprintf(`
  - name: shop
    bind_address: '${host}:8080'
    health_check: {type: Disabled}
    retry: {attempts: 2}
    backends:
      - {address: '%s', weight: 3}
      - {address: '%s', weight: 1, override: {cookie: canary, value: 'yes'}}
      - {address: '%s', weight: 0, override: {header: X-Canary, value: always}}
`, at[0], at[1], canary)
		}
		c.Serve(t, service(at[2]))
		for range 8 {
			if at := origin(t, c, "/", "X-Canary: always"); at != "2" {
				t.Errorf("the header leads to %s", at)
			}
			if at := origin(t, c, "/", "Cookie: a=b; canary=yes"); at != "1" {
				t.Errorf("the cookie leads to %s", at)
			}
		}
		got := map[string]int{}
		for range 40 {
			got[origin(t, c, "/", "X-Canary: never", "Cookie: canary=no")]++
		}
		if got["0"] != 30 || got["1"] != 10 {
			t.Errorf("by weight: %v, want 30 and 10", got)
		}
		// Nobody listens there: the request goes where the others go.
		c.Serve(t, service("127.0.0.1:1"))
		if at := origin(t, c, "/", "X-Canary: always"); at == "2" {
			t.Error("the canary that is gone has answered")
		}
	})
}
