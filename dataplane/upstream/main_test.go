package upstream

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/breaker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is an Observer that sends a line for each call.
type recorder chan string

func (r recorder) EndpointHealth(cluster string, addr netip.AddrPort, healthy bool, reason string) {
	r <- fmt.Sprintf("%s %d healthy=%t %s", cluster, addr.Port(), healthy, reason)
}

func (r recorder) EndpointEjected(cluster string, addr netip.AddrPort, reason string, d time.Duration) {
	r <- fmt.Sprintf("%s %d ejected %s %v", cluster, addr.Port(), reason, d)
}

func (r recorder) EndpointReturned(cluster string, addr netip.AddrPort) {
	r <- fmt.Sprintf("%s %d returned", cluster, addr.Port())
}
func (r recorder) HealthCheck(string, netip.AddrPort, bool) {}

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

// newClusters returns Clusters with a sweeper that runs until the test ends.
func newClusters(t testing.TB, o Options) *Clusters {
	t.Helper()
	o.Sweeper = wire.NewSweeper()
	o.Log = logr.Discard()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		o.Sweeper.Run(ctx)
	}()
	cs := New(o)
	t.Cleanup(func() {
		cs.Close()
		cancel()
		<-done
	})
	return cs
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

// newTestCluster returns a lone cluster with these endpoints.
func newTestCluster(t testing.TB, a snapshot.Algorithm, weights ...uint32) *Cluster {
	t.Helper()
	cs := newClusters(t, Options{})
	cs.Apply([]*snapshot.Cluster{{ID: "c", Algorithm: a, Endpoints: endpoints(weights...)}})
	return cs.Get("c")
}

// counts picks n times and counts by port; counts[0] is how often there was no endpoint.
func counts(c interface {
	Pick(*Choice) (*Endpoint, exchange.Reason)
}, n int,
) map[int]int {
	seen := map[int]int{}
	for range n {
		if e, _ := c.Pick(nil); e != nil {
			seen[int(e.addr.Port())]++
		} else {
			seen[0]++
		}
	}
	return seen
}

// endpoint returns the cluster's endpoint of a port.
func endpoint(t testing.TB, c *Cluster, port int) *Endpoint {
	t.Helper()
	for _, e := range c.Endpoints() {
		if int(e.addr.Port()) == port {
			return e
		}
	}
	t.Fatalf("no endpoint on port %d", port)
	return nil
}

// An origin is a server that says which connection a request came on.
type origin struct {
	addr  netip.AddrPort
	conns chan net.Conn // each that was opened
}

type connKey struct{}

// newOrigin starts an HTTP server; handler nil answers with the number of the connection, from 1 on.
func newOrigin(t testing.TB, handler http.HandlerFunc) *origin {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &origin{addr: l.Addr().(*net.TCPAddr).AddrPort(), conns: make(chan net.Conn, 1000)}
	if handler == nil {
		handler = func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprint(w, r.Context().Value(connKey{}))
		}
	}
	number := 0
	srv := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: time.Minute,
		ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
			number++ // Serve calls this from its one loop
			o.conns <- nc
			return context.WithValue(ctx, connKey{}, number)
		},
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l)
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return o
}

// clusterOf returns a cluster with that one endpoint.
func clusterOf(t testing.TB, o Options, at netip.AddrPort) (*Clusters, *Endpoint) {
	t.Helper()
	cs := newClusters(t, o)
	cs.Apply([]*snapshot.Cluster{{ID: "c", Endpoints: []snapshot.Endpoint{{Addr: at, Weight: 1}}}})
	e, _ := cs.Get("c").Pick(nil)
	return cs, e
}

// newExchange returns a GET.
func newExchange() *exchange.Exchange {
	x := new(exchange.Exchange)
	fill(x)
	return x
}

func fill(x *exchange.Exchange) {
	x.Request.Method, x.Request.Protocol = exchange.GET, exchange.HTTP11
	x.Request.Host, x.Request.Path = []byte("example.com"), []byte("/")
}

// wait bounds tests of round trips.
func wait() Try {
	return Try{Connect: 10 * time.Second, Idle: 10 * time.Second, Deadline: exchange.Now() + exchange.Nanos(10*time.Second)}
}

// get makes a round trip and returns the body as a number.
func get(t testing.TB, e *Endpoint, x *exchange.Exchange) int {
	t.Helper()
	if err := e.RoundTrip(x, wait()); err != nil {
		t.Fatal(err)
	}
	return body(t, x)
}

// body reads a response to its end and releases it.
func body(t testing.TB, x *exchange.Exchange) int {
	t.Helper()
	var text []byte
	var buf [100]byte
	for b := x.Response.Body; b != nil; {
		n, err := b.Read(buf[:])
		text = append(text, buf[:n]...)
		if err != nil {
			break
		}
	}
	x.ResetResponse()
	number, err := strconv.Atoi(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return number
}
