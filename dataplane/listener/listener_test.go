package listener

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/pingora-proxy/pingora-proxy/dataplane/listener/door"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T) *Listener {
	t.Helper()
	l, err := Open(t.Context(), "127.0.0.1:0", &Gate{}, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.doors[0].Close()
		l.Wait()
	})
	return l
}

// accepted is the next connection that comes to a listener that does not serve.
func accepted(t *testing.T, l *Listener) (nc *net.TCPConn) {
	t.Helper()
	if _, err := l.doors[0].Await(func(a *door.Arrival) {
		var err error
		if nc, err = a.Conn(); err != nil {
			t.Fatal(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	return nc
}

// greet is a handler that says one byte.
func greet(nc *net.TCPConn, _ door.Ends) {
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
	l.doors[0].Until(time.Now().Add(-time.Second))
	l.Serve(greet, func() { t.Error("turned away") }, func() { t.Error("not accepted") })
	l.doors[0].Close()
	for _, nc := range clients {
		if b, err := io.ReadAll(nc); err != nil || len(b) != 1 {
			t.Errorf("a queued connection is lost: %v", err)
		}
	}
}

// A connection that cannot be given to its handler for want of a descriptor waits until there is one.
func TestShortageLosesNoConnection(t *testing.T) {
	l := open(t)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	restore := func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Error(err)
		}
	}
	defer restore()
	l.Before(func(*door.Arrival, func()) bool {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: limit.Max}); err != nil {
			t.Error(err)
		}
		return false
	})
	failures := 0
	go l.Serve(greet, func() { t.Error("turned away") }, func() {
		if failures++; failures == 2 {
			restore()
		}
	})
	nc, err := net.DialTimeout("tcp", l.Addr().String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience))
	if b, err := io.ReadAll(nc); err != nil || len(b) != 1 {
		t.Errorf("the connection is lost: %q %v", b, err)
	}
	l.Close()
	if failures != 2 {
		t.Errorf("%d failures were told of, want 2", failures)
	}
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
