package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/client"
)

// idleConns opens n connections to the endpoint that are idle, in this order, and returns their far ends.
func idleConns(t testing.TB, e *Endpoint, o *origin, n int) []net.Conn {
	t.Helper()
	far := make([]net.Conn, n)
	for i := range far {
		nc, err := net.Dial("tcp", o.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		far[i] = <-o.conns
		e.inFlight.Add(1)
		e.traffic().idle.done(client.New(nc, client.Options{
			Sweeper: e.cluster.owner.options.Sweeper, Done: e.traffic().idle.done,
		}), true)
	}
	return far
}

// closed waits until the far end of a connection sees its end.
func closed(t *testing.T, far net.Conn) {
	t.Helper()
	_ = far.SetReadDeadline(time.Now().Add(10 * time.Second))
	var b [1]byte
	if _, err := far.Read(b[:]); err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read of the far end: %v, want its end", err)
	}
}

// newSilent starts a listener that accepts and says nothing.
func newSilent(t testing.TB) *origin {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &origin{addr: l.Addr().(*net.TCPAddr).AddrPort(), conns: make(chan net.Conn, 1000)}
	done := make(chan struct{})
	var all []net.Conn
	go func() {
		defer close(done)
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			all = append(all, nc)
			o.conns <- nc
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
		for _, nc := range all {
			_ = nc.Close()
		}
	})
	return o
}

func TestPoolIsLIFO(t *testing.T) {
	o := newOrigin(t, nil)
	_, e := clusterOf(t, Options{}, o.addr)
	xs := []*recordedExchange{open(t, e), open(t, e), open(t, e)}
	for _, i := range []int{1, 0, 2} {
		xs[i].release(t)
	}
	for _, want := range []int{3, 1, 2} { // the one that came back last goes first
		x := open(t, e)
		if x.conn != want {
			t.Errorf("got connection %d, want %d", x.conn, want)
		}
		defer x.release(t)
	}
	if n := e.InFlight(); n != 3 {
		t.Errorf("%d in flight, want 3", n)
	}
}

func TestPoolIsBounded(t *testing.T) {
	o := newSilent(t)
	_, e := clusterOf(t, Options{MaxIdle: 2}, o.addr)
	far := idleConns(t, e, o, 3)
	closed(t, far[2])
	if n := e.cluster.Status().Endpoints[0].Idle; n != 2 {
		t.Errorf("%d idle, want 2", n)
	}
}

func TestJanitorClosesTheOld(t *testing.T) {
	o := newSilent(t)
	cs, e := clusterOf(t, Options{MaxIdleAge: 3 * time.Second}, o.addr)
	old := idleConns(t, e, o, 40) // more than a batch
	cs.sweep()
	cs.sweep()
	young := idleConns(t, e, o, 30)
	if n := e.traffic().idle.size(); n != 70 {
		t.Fatalf("%d idle before any is old, want 70", n)
	}
	cs.sweep()
	for _, nc := range old {
		closed(t, nc)
	}
	if n := e.traffic().idle.size(); n != 30 {
		t.Errorf("%d idle, want 30", n)
	}
	cs.sweep()
	cs.sweep()
	for _, nc := range young {
		closed(t, nc)
	}
	if n := e.traffic().idle.size(); n != 0 {
		t.Errorf("%d idle, want none", n)
	}
}

func TestJanitorClosesTheStale(t *testing.T) {
	o := newSilent(t)
	cs, e := clusterOf(t, Options{}, o.addr)
	far := idleConns(t, e, o, 50)
	for i, nc := range far {
		switch i % 5 {
		case 0:
			_ = nc.Close()
		case 1:
			if _, err := nc.Write([]byte("HTTP/1.1 408 Request Timeout\r\n\r\n")); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, c := range e.traffic().idle.idle { // until the kernel has brought the news
		if i%5 < 2 {
			eventually(t, c.conn.Stale)
		}
	}
	cs.sweep()
	if n := e.traffic().idle.size(); n != 30 {
		t.Errorf("%d idle, want 30", n)
	}
	for i, nc := range far {
		if i%5 == 1 {
			closed(t, nc)
		}
	}
}

func TestRemovedEndpointClosesItsConnections(t *testing.T) {
	o := newSilent(t)
	cs, e := clusterOf(t, Options{}, o.addr)
	far := idleConns(t, e, o, 2)
	late := e.traffic().idle.get()
	e.inFlight.Add(1)
	cs.SetEndpoints("c", nil)
	closed(t, far[0])
	e.traffic().idle.done(late, true) // it comes back after the endpoint was removed
	closed(t, far[1])
	if n := e.InFlight(); n != 0 {
		t.Errorf("%d in flight", n)
	}
}

func TestRunSweepsUntilItsContextEnds(t *testing.T) {
	o := newSilent(t)
	cs, e := clusterOf(t, Options{MaxIdleAge: time.Second}, o.addr)
	far := idleConns(t, e, o, 1)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		cs.Run(ctx)
	}()
	closed(t, far[0])
	cancel()
	<-done
}

// eventually waits for what only the kernel can bring about.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for range 10000 {
		if ok() {
			return
		}
		<-ticker.C
	}
	t.Fatal("it did not happen within 10 s")
}
