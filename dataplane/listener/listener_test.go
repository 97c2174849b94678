package listener

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T) *Listener {
	t.Helper()
	l, err := Open(t.Context(), "127.0.0.1:0", &Gate{}, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = l.bound.Sockets[0].Close()
		l.Wait()
	})
	return l
}

// greet is a handler that says one byte.
func greet(nc *net.TCPConn) {
	_, _ = nc.Write([]byte{'x'})
	_ = nc.Close()
}

// Whose connect has succeeded is served, whenever the listener closes.
func TestCloseLosesNoConnection(t *testing.T) {
	for range 8 {
		l := open(t)
		go l.Serve(greet, func() { t.Error("turned away") }, func() { t.Error("not accepted") })
		var clients sync.WaitGroup
		var first sync.WaitGroup
		for range 4 {
			first.Add(1)
			clients.Go(func() {
				begun := sync.OnceFunc(first.Done)
				defer begun()
				for {
					// The client of a segment that is ignored asks again after a second; nobody waits for that here.
					ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
					nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
					cancel()
					if err != nil {
						return // refused, or without an answer
					}
					if b, err := io.ReadAll(nc); err != nil || len(b) != 1 {
						t.Errorf("a connection that was made is lost: %v", err)
					}
					_ = nc.Close()
					begun()
				}
			})
		}
		first.Wait()
		l.Close()
		clients.Wait()
		l.Wait()
	}
}

// Serve takes what is queued though its time is over before it gets to run.
func TestQueuedConnectionsAreTakenAfterTheDeadline(t *testing.T) {
	l := open(t)
	var clients []net.Conn
	for range 3 {
		nc, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		clients = append(clients, nc)
	}
	if err := l.bound.Sockets[0].SetDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	l.Serve(greet, func() { t.Error("turned away") }, func() { t.Error("not accepted") })
	_ = l.bound.Sockets[0].Close()
	for _, nc := range clients {
		if b, err := io.ReadAll(nc); err != nil || len(b) != 1 {
			t.Errorf("a queued connection is lost: %v", err)
		}
	}
}

func TestIgnoreNew(t *testing.T) {
	l := open(t)
	early, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	ignoreNew(l.bound.Sockets[0])
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String()); err == nil {
		_ = nc.Close()
		t.Error("a new connection is made")
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a new connection is refused: its client would not ask again: %v", err)
	}
	conns := queued(l.bound.Sockets[0])
	if len(conns) != 1 {
		t.Fatalf("%d connections are queued, want the early one", len(conns))
	}
	if _, err := early.Write([]byte("hello")); err != nil { // its segments still arrive
		t.Error(err)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(conns[0], b); err != nil || string(b) != "hello" {
		t.Errorf("%q %v", b, err)
	}
	greet(conns[0])
}

// The log is told of a shortage once in a while, however often connections are accepted in between.
func TestShortageIsToldOfNowAndThen(t *testing.T) {
	var s shortage
	at := func(seconds int) time.Time { return time.Unix(1_000_000, 0).Add(time.Duration(seconds) * time.Second) }
	for i, step := range []struct {
		second       int
		failed, want bool
	}{
		{0, true, true},
		{1, true, false},
		{2, false, false},
		{20, true, false},
		{31, true, true},
		{32, false, false},
		{50, true, false},
		{79, false, false},
		{81, false, true},
		{82, true, true},
	} {
		var got bool
		if step.failed {
			got = s.begins(at(step.second))
		} else {
			got = s.ends(at(step.second))
		}
		if got != step.want {
			t.Errorf("step %d, %+v: %t", i, step, got)
		}
	}
}
