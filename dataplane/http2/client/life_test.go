package client

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// An endpoint that says nothing is asked whether it lives, and left where it does not answer.
func TestLiveness(t *testing.T) {
	pinged := make(chan struct{})
	asked := make(chan struct{}) // the request has come: what follows it is seen
	pool := scripted(t, func(p *peer) {
		p.settle()
		p.request()
		close(asked)
		p.until(func(f http2.Frame) bool { _, ok := f.(*http2.PingFrame); return ok })
		close(pinged)
		p.drain()
	})
	x, _ := request(exchange.GET, "/")
	failed := make(chan error, 1)
	go func() { failed <- pool.RoundTrip(x, Try{}) }()
	<-asked
	var conn *Conn
	for end := time.Now().Add(patience); conn == nil && time.Now().Before(end); {
		if conns := pool.Conns(); len(conns) == 1 && conns[0].Load() == 1 {
			conn = conns[0].(*Conn)
		}
	}
	now := exchange.Now() + exchange.Nanos(pingAfter) + exchange.Nanos(time.Hour)
	conn.Sweep(now, 60)
	<-pinged
	conn.Sweep(now+exchange.Nanos(pingAfter)-1, 60)
	select {
	case err := <-failed:
		t.Fatalf("too early: %v", err)
	default:
	}
	conn.Sweep(now+exchange.Nanos(pingAfter), 60)
	fails(t, <-failed, exchange.UpstreamReset)
}

// TestPingsAreRare: an endpoint that answers them is not asked again soon. gRPC's servers take that for an attack.
func TestPingsAreRare(t *testing.T) {
	pings := make(chan struct{}, 100)
	asked := make(chan struct{}) // the request has come: what follows it is seen
	pool := scripted(t, func(p *peer) {
		p.settle()
		p.request()
		close(asked)
		p.until(func(f http2.Frame) bool {
			if f, ok := f.(*http2.PingFrame); ok {
				_ = p.framer.WritePing(true, f.Data)
				pings <- struct{}{}
			}
			return false
		})
	})
	x, c := request(exchange.GET, "/")
	failed := make(chan error, 1)
	go func() { failed <- pool.RoundTrip(x, Try{}) }()
	<-asked
	var conn *Conn
	for end := time.Now().Add(patience); conn == nil && time.Now().Before(end); {
		if conns := pool.Conns(); len(conns) == 1 && conns[0].Load() == 1 {
			conn = conns[0].(*Conn)
		}
	}
	now := exchange.Now() + exchange.Nanos(time.Hour)
	conn.Sweep(now, 60)
	<-pings
	conn.mu.Lock()
	conn.pinged = 0 // as when the answer was read, in time that has passed
	conn.mu.Unlock()
	for i := range 300 {
		conn.Sweep(now+exchange.Nanos(time.Duration(i)*time.Second), 60)
	}
	if n := len(pings); n != 0 {
		t.Errorf("%d more within five minutes", n)
	}
	conn.Sweep(now+exchange.Nanos(pingEvery), 60)
	<-pings
	c.leave()
	fails(t, <-failed, exchange.ClientReset)
}

func TestIdleConnectionsEnd(t *testing.T) {
	left := make(chan []string, 1)
	pool := scripted(t, func(p *peer) {
		p.settle()
		id := p.request()
		p.headers(id, true, ":status: 200")
		var seen []string
		p.until(func(f http2.Frame) bool {
			seen = append(seen, f.Header().Type.String())
			return false
		})
		left <- seen
	})
	x, _ := request(exchange.GET, "/")
	if err := pool.RoundTrip(x, in(patience)); err != nil {
		t.Fatal(err)
	}
	x.ResetResponse()
	pool.Sweep(2)
	if n := pool.Size(); n != 1 {
		t.Fatalf("%d connections, too early", n)
	}
	pool.Sweep(2)
	if n := pool.Size(); n != 0 {
		t.Errorf("%d connections", n)
	}
	if seen := <-left; !slices.Contains(seen, "GOAWAY") {
		t.Errorf("%q", seen)
	}
}

// After Renew nothing goes over connections that were opened before, and what runs on them is finished.
func TestRenew(t *testing.T) {
	answer := make(chan struct{})
	var conns atomic.Int32
	pool := scripted(t, func(p *peer) {
		first := conns.Add(1) == 1
		p.settle()
		for id := p.request(); id != 0; id = p.request() {
			if first {
				<-answer
			}
			p.headers(id, true, ":status: 200")
		}
	})
	done := make(chan error, 1)
	x, _ := request(exchange.GET, "/")
	go func() { done <- pool.RoundTrip(x, in(patience)) }()
	for end := time.Now().Add(patience); conns.Load() == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	for end := time.Now().Add(patience); pool.Size() == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	pool.Renew()
	y, _ := request(exchange.GET, "/")
	if err := pool.RoundTrip(y, in(patience)); err != nil {
		t.Fatal(err)
	}
	y.ResetResponse()
	if n := conns.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
	close(answer)
	if err := <-done; err != nil {
		t.Error(err)
	}
	x.ResetResponse()
}
