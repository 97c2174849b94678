package integration_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// named starts n origins that say who they are, and returns their addresses.
func named(t *testing.T, c *matrix.Cell, n int) []string {
	t.Helper()
	var addresses []string
	for i := range n {
		addresses = append(addresses, c.Origin(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Origin", fmt.Sprint(i))
		})))
	}
	return addresses
}

// origin asks, and returns who answered.
func origin(t *testing.T, c *matrix.Cell, path string, fields ...string) string {
	t.Helper()
	r := c.Get(t, "http://shop.example:8080"+path, fields...)
	if r.Status != http.StatusOK {
		t.Fatalf("%d %s", r.Status, r.Body)
	}
	return r.Header.Get("X-Origin")
}

func TestConsistentHash(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		at := named(t, c, 5)
		ask := func(path string, fields ...string) string {
			t.Helper()
			awaitInFlight(t, c, 0) // one that is over for its client may count at its endpoint for a moment, and fill it
			return origin(t, c, path, fields...)
		}
		service := func(upstreams ...string) string {
			text := `
  - name: shop
    bind_address: '${host}:8080'
    health_check: {type: Disabled}
    load_balancing: {algorithm: ConsistentHash, hash_on: {type: Header, name: X-Tenant}}
    routes:
      - {name: cookie, matches: [{path: {value: /cookie}}], load_balancing: {algorithm: ConsistentHash, hash_on: {type: Cookie, name: id}}}
      - {name: path, matches: [{path: {value: /path}}], load_balancing: {algorithm: ConsistentHash, hash_on: {type: Path}}}
      - {name: client, matches: [{path: {value: /client}}], load_balancing: {algorithm: ConsistentHash}}
    upstreams: [`
			for i, u := range upstreams {
				if i > 0 {
					text += ", "
				}
				text += "'" + u + "'"
			}
			return text + "]\n"
		}
		c.Serve(t, service(at...))
		const keys = 60
		home := make([]string, keys)
		seen := map[string]int{}
		for i := range keys {
			tenant := fmt.Sprintf("X-Tenant: tenant-%d", i)
			home[i] = ask("/", tenant)
			seen[home[i]]++
			if again := ask("/elsewhere?x="+fmt.Sprint(i), tenant); again != home[i] {
				t.Errorf("tenant %d went to %s and %s", i, home[i], again)
			}
		}
		if len(seen) != 5 {
			t.Errorf("%d tenants went to %v", keys, seen)
		}
		for _, kind := range []func(i int) string{
			func(i int) string { return ask("/cookie", fmt.Sprintf("Cookie: a=b; id=%d", i)) },
			func(i int) string { return ask(fmt.Sprintf("/path/x/../%d?q=%p", i, &i)) },
		} {
			different := map[string]bool{}
			for i := range 20 {
				first := kind(i)
				different[first] = true
				if again := kind(i); again != first {
					t.Errorf("key %d went to %s and %s", i, first, again)
				}
			}
			if len(different) < 3 {
				t.Errorf("20 keys went to %d origins", len(different))
			}
		}
		client := map[string]bool{}
		without := map[string]bool{}
		for range 10 {
			client[ask("/client")] = true
			without[ask("/")] = true
		}
		if len(client) != 1 || len(without) != 5 {
			t.Errorf("one client went to %v, requests without a key to %v", client, without)
		}

		// An endpoint leaves: its keys move, and no others.
		c.Serve(t, service(at[:4]...))
		for i := range keys {
			now := ask("/", fmt.Sprintf("X-Tenant: tenant-%d", i))
			if moved := now != home[i]; moved != (home[i] == "4") {
				t.Errorf("origin 4 left, and tenant %d of %s went to %s", i, home[i], now)
			}
		}
	})
}

// However many requests of one key run, no endpoint has more than a quarter above its share of them.
func TestConsistentHashIsBounded(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		const total = 20
		entered, open := make(chan string, total), make(chan struct{})
		var at []string
		for i := range 4 {
			at = append(at, holding(t, c, fmt.Sprint(i), entered, open))
		}
		c.Serve(t, fmt.Sprintf(`
  - name: shop
    bind_address: '${host}:8080'
    upstreams: ['%s', '%s', '%s', '%s']
    health_check: {type: Disabled}
    load_balancing: {algorithm: ConsistentHash}
`, at[0], at[1], at[2], at[3]))
		client := c.Client(t, nil)
		done := make(chan error, total)
		running := map[string]int{}
		for range total {
			go func() {
				_, err := c.Try(client, matrix.Request(t, "GET", "http://shop.example:8080/hold", ""))
				done <- err
			}()
			running[next(t, entered)]++
		}
		close(open)
		for range total {
			if err := next(t, done); err != nil {
				t.Error(err)
			}
		}
		for name, n := range running {
			if n > 7 { // 1.25 × 20 / 4, rounded up
				t.Errorf("%d of %d ran at origin %s: %v", n, total, name, running)
			}
		}
	})
}
