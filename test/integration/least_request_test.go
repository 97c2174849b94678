package integration_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/matrix"
)

// holding is an origin that holds up the requests for /hold until the test lets them go.
func holding(t *testing.T, c *matrix.Cell, name string, entered chan<- string, open <-chan struct{}) string {
	t.Helper()
	return c.Origin(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Origin", name)
		if r.URL.Path == "/hold" {
			select {
			case entered <- name:
				select {
				case <-open:
				case <-r.Context().Done():
				}
			case <-r.Context().Done():
			}
		}
	}))
}

// hold sends a request that an origin holds up, and returns who does. done gets its status.
func hold(t *testing.T, c *matrix.Cell, entered <-chan string, done chan<- int) string {
	t.Helper()
	client := c.Client(t, nil)
	r := matrix.Request(t, "GET", "http://shop.example:8080/hold", "")
	go func() {
		response, err := c.Try(client, r)
		if err != nil {
			t.Error(err)
			done <- 0
			return
		}
		done <- response.Status
	}()
	return next(t, entered)
}

// next is the next value, for which no test waits for ever.
func next[T any](t *testing.T, values <-chan T) T {
	t.Helper()
	select {
	case v := <-values:
		return v
	case <-time.After(harness.Patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// awaitInFlight waits until so many requests run at the endpoints: one is over there a moment after its client has the answer.
func awaitInFlight(t *testing.T, c *matrix.Cell, want int64) {
	t.Helper()
	harness.Eventually(t, "the requests before are over", func() bool {
		var n int64
		for _, e := range c.Proxy.Endpoints(t, "shop") {
			n += e.InFlight
		}
		return n == want
	})
}

// Of two endpoints the less busy one gets every request, measured by weight.
func TestLeastRequest(t *testing.T) {
	t.Parallel()
	matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
		entered, open, done := make(chan string), make(chan struct{}), make(chan int, 8)
		light, heavy := holding(t, c, "light", entered, open), holding(t, c, "heavy", entered, open)
		service := func(weight int) string {
			return fmt.Sprintf(`
  - name: shop
    bind_address: '${host}:8080'
    health_check: {type: Disabled}
    load_balancing: {algorithm: LeastRequest}
    backends: [{address: '%s', weight: 1}, {address: '%s', weight: %d}]
`, light, heavy, weight)
		}
		c.Serve(t, service(1))
		busy := hold(t, c, entered, done)
		for range 20 {
			awaitInFlight(t, c, 1)
			if at := origin(t, c, "/"); at == busy {
				t.Fatalf("%s is busy, and gets a request", at)
			}
		}
		awaitInFlight(t, c, 1)
		if other := hold(t, c, entered, done); other == busy {
			t.Fatalf("%s is busy, and gets another one", busy)
		}
		// One runs at each; for the weight of heavy that is less, until four do. The counts survive the change.
		c.Serve(t, service(4))
		for range 3 {
			if at := hold(t, c, entered, done); at != "heavy" {
				t.Fatal("the heavy one has room, and the light one gets a request")
			}
		}
		close(open)
		for range 5 {
			if status := next(t, done); status != http.StatusOK {
				t.Errorf("a request that was held up: %d", status)
			}
		}
	})
}
