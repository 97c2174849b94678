package group

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/breaker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errTest = errors.New("connection refused")

// newGroups returns Groups of Clusters with a sweeper that runs until the test ends.
func newGroups(t testing.TB, o upstream.Options) *Groups {
	t.Helper()
	o.Sweeper, o.Log = wire.NewSweeper(), logr.Discard()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		o.Sweeper.Run(ctx)
	}()
	cs := upstream.New(o)
	t.Cleanup(func() {
		cs.Close()
		cancel()
		<-done
	})
	return New(cs)
}

// addr is the address of an endpoint that nobody connects to.
func addr(port int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port))
}

// endpoints returns endpoints of these weights on the ports 1, 2, 3, …
func endpoints(weights ...uint32) []snapshot.Endpoint {
	list := make([]snapshot.Endpoint, len(weights))
	for i, w := range weights {
		list[i] = snapshot.Endpoint{Addr: addr(i + 1), Weight: w}
	}
	return list
}

// endpoint returns the cluster's endpoint of a port.
func endpoint(t testing.TB, c *upstream.Cluster, port int) *upstream.Endpoint {
	t.Helper()
	for _, e := range c.Endpoints() {
		if int(e.Addr().Port()) == port {
			return e
		}
	}
	t.Fatalf("no endpoint on port %d", port)
	return nil
}

// counts picks n times and counts by port; counts[0] is how often there was no endpoint.
func counts(g *Group, n int) map[int]int {
	seen := map[int]int{}
	for range n {
		if e, _ := g.Pick(nil); e != nil {
			seen[int(e.Addr().Port())]++
		} else {
			seen[0]++
		}
	}
	return seen
}

func newExchange() *exchange.Exchange {
	x := new(exchange.Exchange)
	x.Request.Method, x.Request.Protocol = exchange.GET, exchange.HTTP11
	x.Request.Host, x.Request.Path = []byte("example.com"), []byte("/")
	return x
}

// recorder is an Observer that sends a line for each circuit breaker's change.
type recorder chan string

func (r recorder) EndpointHealth(string, netip.AddrPort, bool, string)           {}
func (r recorder) EndpointEjected(string, netip.AddrPort, string, time.Duration) {}
func (r recorder) EndpointReturned(string, netip.AddrPort)                       {}
func (r recorder) HealthCheck(string, netip.AddrPort, bool)                      {}

func (r recorder) CircuitBreaker(cluster string, state breaker.State) {
	r <- fmt.Sprintf("%s %v", cluster, state)
}

// next returns the next line.
func (r recorder) next(t *testing.T) string {
	t.Helper()
	select {
	case line := <-r:
		return line
	case <-time.After(10 * time.Second):
		t.Fatal("the observer was told nothing for 10 s")
		return ""
	}
}

// quiet fails the test where the observer was told something.
func (r recorder) quiet(t *testing.T) {
	t.Helper()
	select {
	case line := <-r:
		t.Errorf("the observer was told %q", line)
	default:
	}
}
