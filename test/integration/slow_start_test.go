package integration_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// An endpoint that comes later begins with a small part of its share; those of the start have all of theirs.
func TestSlowStart(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		at := named(t, c, 3)
		service := func(slow string, upstreams ...string) string {
			return fmt.Sprintf(`
  - name: shop
    bind_address: '${host}:8080'
    health_check: {type: Disabled}
    upstreams: ['%s']
    load_balancing: {%s}
`, strings.Join(upstreams, "', '"), slow)
		}
		count := func(n int) map[string]int {
			got := map[string]int{}
			for range n {
				got[origin(t, c, "/")]++
			}
			return got
		}
		c.Serve(t, service("slow_start_secs: 3600", at[:2]...))
		if got := count(40); got["0"] != 20 || got["1"] != 20 {
			t.Errorf("at the start: %v", got)
		}
		c.Serve(t, service("slow_start_secs: 3600", at...))
		if got := count(300); got["2"] > 60 || got["0"] < 100 || got["1"] < 100 {
			t.Errorf("after a third one came: %v", got)
		}
		c.Serve(t, service("algorithm: RoundRobin", at...))
		if got := count(60); got["2"] != 20 {
			t.Errorf("without a slow start: %v", got)
		}
	})
}
