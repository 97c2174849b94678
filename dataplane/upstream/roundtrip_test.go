package upstream

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// A recordedExchange is one whose response was read and not released yet.
type recordedExchange struct {
	x    *exchange.Exchange
	conn int
}

func open(t testing.TB, e *Endpoint) *recordedExchange {
	t.Helper()
	x := newExchange()
	if err := e.RoundTrip(x, wait()); err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err := x.Response.Body.Read(b[:]); err != nil {
		t.Fatal(err)
	}
	return &recordedExchange{x: x, conn: int(b[0] - '0')}
}

func (r *recordedExchange) release(t testing.TB) {
	t.Helper()
	var b [1]byte
	for {
		if _, err := r.x.Response.Body.Read(b[:]); err != nil {
			break
		}
	}
	r.x.ResetResponse()
}

func TestRoundTripUsesConnectionsAgain(t *testing.T) {
	o := newOrigin(t, nil)
	_, e := clusterOf(t, Options{}, o.addr)
	x := newExchange()
	if conn := get(t, e, x); conn != 1 || x.Record.Connect == 0 || x.Record.Upstream != o.addr {
		t.Errorf("first: connection %d, connect %d ns, upstream %v", conn, x.Record.Connect, x.Record.Upstream)
	}
	if conn := get(t, e, x); conn != 1 || x.Record.Connect != 0 {
		t.Errorf("second: connection %d, connect %d ns, want the first one again", conn, x.Record.Connect)
	}
	s := e.cluster.Status().Endpoints[0]
	if s.Requests != 2 || s.InFlight != 0 || s.Idle != 1 {
		t.Errorf("%d requests, %d in flight, %d idle; want 2, 0, 1", s.Requests, s.InFlight, s.Idle)
	}
}

func TestRoundTripPassesOverStaleConnections(t *testing.T) {
	o := newOrigin(t, nil)
	_, e := clusterOf(t, Options{}, o.addr)
	a, b, c := open(t, e), open(t, e), open(t, e)
	a.release(t)
	b.release(t)
	c.release(t)
	<-o.conns
	_ = (<-o.conns).Close()
	_ = (<-o.conns).Close()
	eventually(t, func() bool { return e.traffic().idle.idle[1].conn.Stale() && e.traffic().idle.idle[2].conn.Stale() })
	if conn := get(t, e, newExchange()); conn != 1 {
		t.Errorf("connection %d, want 1, the only one that lives", conn)
	}
	if n := e.InFlight(); n != 0 {
		t.Errorf("%d in flight", n)
	}
}

func TestRoundTripConnectErrors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := l.Addr().(*net.TCPAddr).AddrPort()
	_ = l.Close()
	// late is a Dial that takes until its context's end, which it sends; the test does not wait for it.
	ends := make(chan time.Time, 1)
	late := func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
		end, _ := ctx.Deadline()
		ends <- end
		return nil, context.DeadlineExceeded
	}
	hour := exchange.Now() + exchange.Nanos(time.Hour)
	for _, c := range []struct {
		name    string
		options Options
		try     Try
		want    exchange.Reason
		limit   time.Duration // of the connect; 0: it is not asked
	}{
		{"refused", Options{}, Try{Connect: time.Minute}, exchange.ConnectFailed, 0},
		{"refused, no limit", Options{}, Try{}, exchange.ConnectFailed, 0},
		{"connect time-out", Options{Dial: late}, Try{Connect: time.Minute}, exchange.ConnectTimeout, time.Minute},
		{"before the deadline", Options{Dial: late}, Try{Connect: time.Minute, Deadline: hour}, exchange.ConnectTimeout, time.Minute},
		{"deadline before it", Options{Dial: late}, Try{Connect: 2 * time.Hour, Deadline: hour}, exchange.ConnectTimeout, time.Hour},
		{"deadline alone", Options{Dial: late}, Try{Deadline: hour}, exchange.ConnectTimeout, time.Hour},
		{"deadline passed", Options{Dial: late}, Try{Connect: time.Minute, Deadline: 1}, exchange.UpstreamTimeout, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, e := clusterOf(t, c.options, refusing)
			x := newExchange()
			err := e.RoundTrip(x, c.try)
			if c.limit > 0 {
				if left := time.Until(<-ends); left > c.limit || left < c.limit-30*time.Second {
					t.Errorf("the connect may take %v, want %v", left, c.limit)
				}
			}
			var failure *exchange.Failure
			if !errors.As(err, &failure) || failure.Reason != c.want || failure.Sent || failure.BodyRead {
				t.Errorf("error %v (%+v), want %s and nothing sent", err, failure, c.want)
			}
			if e.InFlight() != 0 {
				t.Errorf("%d in flight", e.InFlight())
			}
		})
	}
}

// An endpoint that closes an idle connection just when it is used again has not failed; one that closes a fresh one has.
func TestRoundTripRepeatsWhatMetTheEndOfAnIdleConnection(t *testing.T) {
	hits := make(chan int, 10)
	_, e := clusterOf(t, Options{}, newOrigin(t, func(_ http.ResponseWriter, r *http.Request) {
		hits <- r.Context().Value(connKey{}).(int)
		if r.URL.Path == "/reset" {
			panic(http.ErrAbortHandler)
		}
	}).addr)
	ok := func() {
		t.Helper()
		x := newExchange()
		if err := e.RoundTrip(x, wait()); err != nil {
			t.Fatal(err)
		}
		x.ResetResponse()
		<-hits
	}
	for _, c := range []struct {
		name   string
		method exchange.Method
		fresh  bool
		want   int // requests that the endpoint sees
	}{
		{"idempotent, idle", exchange.GET, false, 2},
		{"idempotent, fresh", exchange.GET, true, 1},
		{"not idempotent, idle", exchange.POST, false, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			ok()
			if c.fresh {
				for conn := e.traffic().idle.get(); conn != nil; conn = e.traffic().idle.get() {
					conn.Close()
				}
			}
			x := newExchange()
			x.Request.Method, x.Request.Path = c.method, []byte("/reset")
			err := e.RoundTrip(x, wait())
			var failure *exchange.Failure
			if !errors.As(err, &failure) || failure.Reason != exchange.UpstreamReset || !failure.Sent {
				t.Errorf("error %v, want a reset after sending", err)
			}
			if n := len(hits); n != c.want {
				t.Errorf("the endpoint saw %d requests, want %d", n, c.want)
			}
			for len(hits) > 0 {
				<-hits
			}
			if e.InFlight() != 0 {
				t.Errorf("%d in flight", e.InFlight())
			}
		})
	}
}

func TestReportKeepsOurOwnShortageFromTheEndpoint(t *testing.T) {
	c := ejecting(t, nil, snapshotPassive(1, 100), 1, 1)
	e := endpoint(t, c, 1)
	e.Report(0, &exchange.Failure{Reason: exchange.ProxyExhausted, Err: &net.OpError{Op: "dial", Err: syscall.EMFILE}})
	if n := e.errors.Load(); n != 0 {
		t.Errorf("%d errors counted for a lack of file descriptors", n)
	}
	if s := c.Status().Endpoints[0]; s.LastError == "" {
		t.Error("the error is not in the status")
	}
}

func TestCheckedKeepsOurOwnShortageFromTheEndpoint(t *testing.T) {
	c := ejecting(t, nil, nil, 1)
	e := endpoint(t, c, 1)
	e.Checked(&net.OpError{Op: "dial", Err: syscall.EMFILE})
	if picked, _ := c.Pick(nil); picked == nil {
		t.Error("the endpoint was taken out for a lack of file descriptors")
	}
	if s := c.Status().Endpoints[0]; s.LastError == "" {
		t.Error("the error is not in the status")
	}
	e.Checked(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED})
	if picked, _ := c.Pick(nil); picked != nil {
		t.Error("the first check that says something did not count")
	}
}
