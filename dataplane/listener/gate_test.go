package listener

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/dataplane/listener/door"
)

// patience bounds what a test waits for. Nothing waits for so long unless it is broken.
const patience = 20 * time.Second

// TestLimit: who comes above it is told so, whether it has sent its request already or not; when there is room again, the
// next one is served.
func TestLimit(t *testing.T) {
	gate := &Gate{}
	gate.SetLimit(2)
	l, err := Open(t.Context(), "127.0.0.1:0", gate, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	var away atomic.Int64
	entered, leave, left := make(chan struct{}, 8), make(chan struct{}), make(chan struct{}, 8)
	go l.Serve(func(nc *net.TCPConn, _ door.Ends) {
		entered <- struct{}{}
		<-leave
		_ = nc.Close()
		left <- struct{}{}
	}, func() { away.Add(1) }, func() { t.Error("not accepted") })
	t.Cleanup(func() {
		close(leave)
		l.Close()
		l.Wait()
	})
	dial := func() net.Conn {
		nc, err := net.DialTimeout("tcp", l.Addr().String(), patience)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		_ = nc.SetDeadline(time.Now().Add(patience))
		return nc
	}
	for range 2 {
		dial()
		<-entered
	}
	for i := range 3 {
		nc := dial()
		if _, err := io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusServiceUnavailable || !resp.Close || string(body) != tooManyBody || err != nil {
			t.Errorf("the answer is %d %q, close %t, %v", resp.StatusCode, body, resp.Close, err)
		}
		if got := away.Load(); got != int64(i+1) || gate.Open() != 2 {
			t.Errorf("%d were turned away, %d are open; want %d, 2", got, gate.Open(), i+1)
		}
		_ = nc.Close()
	}
	leave <- struct{}{}
	<-left
	for at := time.Now(); gate.Open() != 1; { // it leaves when its handler has returned
		if time.Since(at) > patience {
			t.Fatalf("%d are open, want 1", gate.Open())
		}
	}
	dial()
	<-entered
	gate.SetLimit(0)
	dial()
	<-entered
	if away.Load() != 3 {
		t.Errorf("%d were turned away, want 3", away.Load())
	}
	for at := time.Now(); gate.leaving.Load() != 0; {
		if time.Since(at) > patience {
			t.Fatal("a goroutine of those that were turned away is left")
		}
	}
}

func TestOpen(t *testing.T) {
	for _, address := range []string{"127.0.0.1", "127.0.0.1:nobody", ""} {
		if l, err := Open(t.Context(), address, &Gate{}, logr.Discard()); err == nil {
			l.Close()
			t.Errorf("%q was bound", address)
		}
	}
	l := open(t)
	if l.Address() != "127.0.0.1:0" || l.Addr().Port() == 0 || l.Closed() {
		t.Errorf("address %s, bound %s, closed %t", l.Address(), l.Addr(), l.Closed())
	}
	if second, err := Open(t.Context(), l.Addr().String(), &Gate{}, logr.Discard()); err == nil {
		second.Close()
		t.Error("an address was bound twice")
	}
	l.Close()
	if !l.Closed() {
		t.Error("not closed behind Close")
	}
}

func TestFit(t *testing.T) {
	for _, c := range []struct {
		wished, descriptors, limit int
		enough                     bool
	}{
		{1000, 1 << 20, 1000, true},
		{1000, 2064, 1000, true},
		{1000, 2063, 1000, false},
		{65536, 1024, 768, false},
		{0, 1024, 768, false},
		{100, 100, 36, false},
		{100, 10, 1, false},
	} {
		if limit, enough := Fit(c.wished, c.descriptors); limit != c.limit || enough != c.enough {
			t.Errorf("%d wished for of %d: %d, %t; want %d, %t", c.wished, c.descriptors, limit, enough, c.limit, c.enough)
		}
	}
	if n := Descriptors(); n < 64 {
		t.Errorf("%d descriptors", n)
	}
}
