package health

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
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

// A world is clusters with a checker, whose events come out of channels.
type world struct {
	clusters *upstream.Clusters
	checker  *Checker
	changes  chan string         // "up" or "down: reason"
	checks   chan netip.AddrPort // one for each check that ended
	passed   atomic.Int64
}

func (w *world) EndpointHealth(_ string, _ netip.AddrPort, healthy bool, reason string) {
	if healthy {
		w.changes <- "up"
	} else {
		w.changes <- "down: " + reason
	}
}
func (w *world) EndpointEjected(string, netip.AddrPort, string, time.Duration) {}
func (w *world) EndpointReturned(string, netip.AddrPort)                       {}
func (w *world) CircuitBreaker(string, breaker.State)                          {}
func (w *world) HealthCheck(_ string, addr netip.AddrPort, passed bool) {
	if passed {
		w.passed.Add(1)
	}
	select {
	case w.checks <- addr:
	default: // nobody asks any more
	}
}

func newWorld(t *testing.T, o upstream.Options) *world {
	t.Helper()
	w := &world{checker: New(), changes: make(chan string, 100), checks: make(chan netip.AddrPort, 10000)}
	o.Log, o.Observer, o.Sweeper = logr.Discard(), w, wire.NewSweeper()
	w.clusters = upstream.New(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		o.Sweeper.Run(ctx)
	}()
	t.Cleanup(func() {
		w.checker.Close()
		w.clusters.Close()
		cancel()
		<-done
	})
	return w
}

// apply makes a cluster of these addresses the only one.
func (w *world) apply(check snapshot.HealthCheck, addrs ...netip.AddrPort) {
	s := &snapshot.Cluster{ID: "c", Health: check}
	for _, a := range addrs {
		s.Endpoints = append(s.Endpoints, snapshot.Endpoint{Addr: a, Weight: 1})
	}
	w.clusters.Apply([]*snapshot.Cluster{s})
	w.checker.Sync(w.clusters.All())
}

func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(10 * time.Second):
		t.Fatal("nothing happened for 10 s")
		panic("unreachable")
	}
}

// fast is a check that runs often enough for a test.
func fast(kind snapshot.CheckType) snapshot.HealthCheck {
	return snapshot.HealthCheck{
		Type: kind, Timeout: 5 * time.Second, Interval: 2 * time.Millisecond, Path: "/healthz?full=1",
		HealthyThreshold: 1, UnhealthyThreshold: 1,
	}
}

// once is a check whose second one no test lives to see.
func once(kind snapshot.CheckType) snapshot.HealthCheck {
	c := fast(kind)
	c.Interval = time.Hour
	return c
}

// listen opens a listener that accepts and closes, until close.
func listen(t *testing.T, address string) (addr netip.AddrPort, closeIt func()) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			_ = nc.Close()
		}
	}()
	closeIt = sync.OnceFunc(func() {
		_ = l.Close()
		<-done
	})
	t.Cleanup(closeIt)
	return l.Addr().(*net.TCPAddr).AddrPort(), closeIt
}

// serve starts an HTTP server.
func serve(t *testing.T, handler http.HandlerFunc) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l)
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// An endpoint that goes down is taken out, and comes back when it does.
func TestTCPDownAndUp(t *testing.T) {
	addr, stop := listen(t, "127.0.0.1:0")
	w := newWorld(t, upstream.Options{})
	w.apply(fast(snapshot.CheckTCP), addr)
	receive(t, w.checks)
	if w.passed.Load() == 0 {
		t.Error("the first check failed")
	}
	stop()
	if got := receive(t, w.changes); !strings.HasPrefix(got, "down: ") || !strings.Contains(got, "refused") {
		t.Errorf("change %q, want down for a refused connection", got)
	}
	if e, reason := w.clusters.Get("c").Pick(nil); e != nil || reason != exchange.NoHealthyUpstream {
		t.Errorf("picked %v, %q", e, reason)
	}
	listen(t, addr.String())
	if got := receive(t, w.changes); got != "up" {
		t.Errorf("change %q, want up", got)
	}
	if e, _ := w.clusters.Get("c").Pick(nil); e == nil {
		t.Error("no endpoint after it came up")
	}
}

func TestHTTPStatuses(t *testing.T) {
	for status, want := range map[int]string{
		200: "up", 204: "up", 301: "up", 399: "up",
		400: "down: it answered 400 to GET /healthz?full=1", 404: "down: it answered 404 to GET /healthz?full=1",
		500: "down: it answered 500 to GET /healthz?full=1", 503: "down: it answered 503 to GET /healthz?full=1",
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			w := newWorld(t, upstream.Options{})
			w.apply(once(snapshot.CheckHTTP), serve(t, func(rw http.ResponseWriter, _ *http.Request) {
				rw.WriteHeader(status)
			}))
			receive(t, w.checks)
			switch passed := w.passed.Load() == 1; {
			case passed != (want == "up"):
				t.Errorf("the check passed: %t", passed)
			case !passed:
				if got := receive(t, w.changes); got != want {
					t.Errorf("change %q, want %q", got, want)
				}
			}
		})
	}
}

func TestHTTPFailures(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	hang := func(http.ResponseWriter, *http.Request) { <-release }
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
		timeout time.Duration
		want    string
	}{
		{"silent", hang, 20 * time.Millisecond, "down: no answer within 20ms"},
		{"reset", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, time.Minute, "EOF"},
		{"not HTTP", func(rw http.ResponseWriter, _ *http.Request) {
			nc, _, err := http.NewResponseController(rw).Hijack()
			if err == nil {
				_, _ = nc.Write([]byte("220 ready\r\n\r\n"))
				_ = nc.Close()
			}
		}, time.Minute, "down: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			check := once(snapshot.CheckHTTP)
			check.Timeout = c.timeout
			w := newWorld(t, upstream.Options{})
			w.apply(check, serve(t, c.handler))
			if got := receive(t, w.changes); !strings.HasPrefix(got, "down: ") || !strings.Contains(got, c.want) {
				t.Errorf("change %q, want %q", got, c.want)
			}
		})
	}
}

func TestTCPTimeout(t *testing.T) {
	w := newWorld(t, upstream.Options{Dial: func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	check := once(snapshot.CheckTCP)
	check.Timeout = time.Millisecond
	w.apply(check, netip.MustParseAddrPort("127.0.0.1:1"))
	if got := receive(t, w.changes); got != "down: no answer within 1ms" {
		t.Errorf("change %q", got)
	}
}

// The request of a check says what it is, and that its connection ends with it.
func TestHTTPRequest(t *testing.T) {
	for _, c := range []struct{ host, path, want string }{
		{"", "/healthz?full=1", "GET /healthz?full=1 HTTP/1.1 host=ADDR agent=pingora-proxy-health close=true"},
		{"example.com", "/", "GET / HTTP/1.1 host=example.com agent=pingora-proxy-health close=true"},
		{"", "", "GET / HTTP/1.1 host=ADDR agent=pingora-proxy-health close=true"},
	} {
		seen := make(chan string, 1)
		addr := serve(t, func(_ http.ResponseWriter, r *http.Request) {
			seen <- fmt.Sprintf("%s %s %s host=%s agent=%s close=%t", r.Method, r.RequestURI, r.Proto, r.Host, r.UserAgent(), r.Close)
		})
		check := once(snapshot.CheckHTTP)
		check.Host, check.Path = c.host, c.path
		newWorld(t, upstream.Options{}).apply(check, addr)
		if got, want := receive(t, seen), strings.ReplaceAll(c.want, "ADDR", addr.String()); got != want {
			t.Errorf("request %q, want %q", got, want)
		}
	}
}

// A body without end is not read without end: the next check follows.
func TestHTTPEndlessBody(t *testing.T) {
	w := newWorld(t, upstream.Options{})
	check := fast(snapshot.CheckHTTP)
	check.Timeout = time.Minute
	w.apply(check, serve(t, func(rw http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := rw.Write(make([]byte, 32<<10)); err != nil {
				return
			}
		}
	}))
	for range 3 {
		receive(t, w.checks)
	}
	if w.passed.Load() < 3 {
		t.Error("a long body failed the check")
	}
}

// The thresholds count checks in a row.
func TestThresholds(t *testing.T) {
	answers := make(chan int) // the test gives each answer
	quit := make(chan struct{})
	addr := serve(t, func(rw http.ResponseWriter, _ *http.Request) {
		select {
		case status := <-answers:
			rw.WriteHeader(status)
		case <-quit:
		}
	})
	defer close(quit)
	check := fast(snapshot.CheckHTTP)
	check.Timeout, check.HealthyThreshold, check.UnhealthyThreshold = time.Minute, 2, 3
	w := newWorld(t, upstream.Options{})
	w.apply(check, addr)
	for i, step := range []struct {
		status  int
		serving int
	}{
		{200, 1},
		{503, 1},
		{503, 1},
		{200, 1},
		{503, 1},
		{503, 1},
		{503, 0},
		{200, 0},
		{503, 0},
		{200, 0},
		{200, 1},
	} {
		select {
		case answers <- step.status:
		case <-time.After(10 * time.Second):
			t.Fatal("no check came")
		}
		receive(t, w.checks)
		// The check is counted before its endpoint changes: the cluster's lock is behind it.
		for deadline := time.Now().Add(10 * time.Second); ; {
			failures := w.clusters.Get("c").Status().Endpoints[0].Failures
			serving, _ := w.clusters.Get("c").Counts()
			if (failures > 0) == (step.status == 503) && serving == step.serving {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("step %d: %d can serve, want %d", i, serving, step.serving)
			}
		}
	}
	for _, want := range []string{"down: it answered 503 to GET /healthz?full=1", "up"} {
		if got := receive(t, w.changes); got != want {
			t.Errorf("change %q, want %q", got, want)
		}
	}
}

// Endpoints that come are checked at once, those that go no more.
func TestChecksFollowEndpoints(t *testing.T) {
	a, _ := listen(t, "127.0.0.1:0")
	b, _ := listen(t, "127.0.0.1:0")
	w := newWorld(t, upstream.Options{})
	w.apply(once(snapshot.CheckTCP), a)
	if got := receive(t, w.checks); got != a {
		t.Errorf("checked %v, want %v", got, a)
	}
	w.clusters.SetEndpoints("c", []snapshot.Endpoint{{Addr: a, Weight: 1}, {Addr: b, Weight: 1}})
	if got := receive(t, w.checks); got != b {
		t.Errorf("checked %v, want %v alone, which is new", got, b)
	}
	w.clusters.SetEndpoints("c", []snapshot.Endpoint{{Addr: b, Weight: 1}})
	w.clusters.SetEndpoints("c", []snapshot.Endpoint{{Addr: b, Weight: 1}, {Addr: a, Weight: 1}})
	if got := receive(t, w.checks); got != a {
		t.Errorf("checked %v, want %v, which is new again", got, a)
	}
}

// only is the check of the only endpoint. The caller holds the checker's lock.
func (w *world) only() *check {
	for _, one := range w.checker.watches[w.clusters.Get("c")].checks {
		return one
	}
	return nil
}

// A reload disturbs no check whose settings stay: the only further check is that of changed ones.
func TestChecksSurviveApply(t *testing.T) {
	a, _ := listen(t, "127.0.0.1:0")
	w := newWorld(t, upstream.Options{})
	check := once(snapshot.CheckTCP)
	w.apply(check, a)
	receive(t, w.checks)
	for range 5 {
		w.apply(check, a)
	}
	w.checker.mu.Lock()
	before := w.only()
	w.checker.mu.Unlock()
	w.apply(check, a)
	w.checker.mu.Lock()
	if len(w.checker.watches) != 1 || w.only() != before {
		t.Error("the cluster has another watcher")
	}
	w.checker.mu.Unlock()
	check.UnhealthyThreshold = 7
	w.apply(check, a)
	receive(t, w.checks)
	check.Type = snapshot.CheckDisabled
	w.apply(check, a)
	check.Type, check.UnhealthyThreshold = snapshot.CheckTCP, 8
	w.apply(check, a)
	receive(t, w.checks)
	w.checker.Close()
	if n := len(w.checks); n > 0 {
		t.Errorf("%d checks too many", n)
	}
}

func TestDisabled(t *testing.T) {
	dialed := make(chan struct{}, 100)
	w := newWorld(t, upstream.Options{Dial: func(context.Context, netip.AddrPort) (net.Conn, error) {
		dialed <- struct{}{}
		return nil, net.ErrClosed
	}})
	addr := netip.MustParseAddrPort("127.0.0.1:1")
	w.apply(fast(snapshot.CheckTCP), addr)
	receive(t, w.changes)
	w.apply(fast(snapshot.CheckDisabled), addr)
	if got := receive(t, w.changes); got != "up" {
		t.Errorf("change %q, want up", got)
	}
	w.checker.Close()
	for len(dialed) > 0 {
		<-dialed
	}
	w.checker = New()
	w.apply(fast(snapshot.CheckDisabled), addr)
	w.checker.Close()
	if len(dialed) > 0 || len(w.changes) > 0 {
		t.Error("disabled checks run")
	}
}

// A removed cluster is checked no more, and a closed checker begins nothing.
func TestRemovedClustersAreNotChecked(t *testing.T) {
	a, _ := listen(t, "127.0.0.1:0")
	w := newWorld(t, upstream.Options{})
	w.apply(fast(snapshot.CheckTCP), a)
	receive(t, w.checks)
	w.clusters.Apply(nil)
	w.checker.Sync(nil)
	w.checker.running.Wait() // all goroutines have ended, though nothing was closed
	w.checker.Close()
	w.apply(fast(snapshot.CheckTCP), a)
	if len(w.checker.watches) != 0 {
		t.Error("a closed checker watches a cluster")
	}
}

// Many new endpoints are checked soon, but not all at once.
func TestChecksAtOnceAreBounded(t *testing.T) {
	const endpoints = maxChecks + 100
	var running, most atomic.Int64
	started := make(chan struct{}, endpoints)
	release := make(chan struct{})
	w := newWorld(t, upstream.Options{Dial: func(context.Context, netip.AddrPort) (net.Conn, error) {
		n := running.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		started <- struct{}{}
		<-release
		running.Add(-1)
		return nil, net.ErrClosed
	}})
	addrs := make([]netip.AddrPort, endpoints)
	for i := range addrs {
		addrs[i] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(i+1))
	}
	w.changes = make(chan string, endpoints)
	w.apply(once(snapshot.CheckTCP), addrs...)
	for range maxChecks {
		receive(t, started)
	}
	close(release)
	for range endpoints {
		receive(t, w.checks)
	}
	if n := most.Load(); n != maxChecks {
		t.Errorf("%d checks at once, want %d", n, maxChecks)
	}
}

// Close ends checks that wait for an answer.
func TestCloseCutsChecksOff(t *testing.T) {
	asked := make(chan struct{}, 1)
	w := newWorld(t, upstream.Options{})
	check := once(snapshot.CheckHTTP)
	check.Timeout = time.Hour
	w.apply(check, serve(t, func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	receive(t, asked)
	w.checker.Close()
	if len(w.checks) > 0 || len(w.changes) > 0 {
		t.Error("a check that was cut off counts")
	}
}

func TestJitter(t *testing.T) {
	const interval = 1000 * time.Millisecond
	low, high := interval, interval
	for range 10000 {
		d := jitter(interval)
		low, high = min(low, d), max(high, d)
	}
	if low < 900*time.Millisecond || high > 1100*time.Millisecond || high-low < 150*time.Millisecond {
		t.Errorf("intervals from %v to %v, want 900ms to 1.1s", low, high)
	}
}

// Everything changes at once, for the race detector; nothing is left over, for goleak.
func TestChurn(t *testing.T) {
	a, _ := listen(t, "127.0.0.1:0")
	w := newWorld(t, upstream.Options{})
	w.changes = make(chan string, 100000)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 200 {
			w.clusters.SetEndpoints("c", []snapshot.Endpoint{
				{Addr: a, Weight: 1},
				{Addr: netip.AddrPortFrom(a.Addr(), uint16(i%3+1)), Weight: 1},
			})
		}
	})
	for i := range 50 {
		check := fast(snapshot.CheckType(i % 3))
		check.Interval = time.Duration(i%2+1) * time.Millisecond
		w.apply(check, a)
		w.clusters.Status()
	}
	wg.Wait()
}
