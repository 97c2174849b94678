package listener

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
	"github.com/pingora-proxy/pingora-proxy/dataplane/listener/door"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T) *Listener { t.Helper(); return openLogging(t, logr.Discard()) }

func openLogging(t *testing.T, log logr.Logger) *Listener {
	t.Helper()
	l, err := Open(t.Context(), "127.0.0.1:0", &Gate{}, log)
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

// descriptors returns what sets how many descriptors there may be, and how many there usually are, as there are in the end.
func descriptors(t *testing.T) (set func(n uint64), usual uint64) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	set = func(n uint64) {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: limit.Max}); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() { set(limit.Cur) })
	return set, limit.Cur
}

// A connection that cannot be given to its handler for want of a descriptor waits until there is one.
func TestShortageLosesNoConnection(t *testing.T) {
	l := open(t)
	setLimit, usual := descriptors(t)
	l.Before(func(*door.Arrival, func()) bool {
		setLimit(3)
		return false
	}, nil)
	var failures atomic.Int32
	go l.Serve(greet, func() { t.Error("turned away") }, func() {
		if failures.Add(1) == 2 {
			setLimit(usual)
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
	if n := failures.Load(); n != 2 {
		t.Errorf("%d failures were told of, want 2", n)
	}
}

// Where somebody else accepts, accepting goes on after a failure, and Close waits until it has ended, and takes what is queued.
func TestLookout(t *testing.T) {
	l := open(t)
	setLimit, usual := descriptors(t)
	begun := make(chan func() (more bool), 1)
	var ends atomic.Int32
	l.Before(func(*door.Arrival, func()) bool { return false }, func(_ *door.Door, accept func() (more bool)) (end func(), err error) {
		begun <- accept
		return func() { ends.Add(1) }, nil
	})
	failed := make(chan struct{}, 1)
	go l.Serve(greet, func() { t.Error("turned away") }, func() { failed <- struct{}{} })
	dial := func() net.Conn {
		nc, err := net.DialTimeout("tcp", l.Addr().String(), patience)
		if err != nil {
			t.Fatal(err)
		}
		_ = nc.SetDeadline(time.Now().Add(patience))
		return nc
	}
	greeted := func(nc net.Conn) {
		t.Helper()
		if b, err := io.ReadAll(nc); err != nil || len(b) != 1 {
			t.Errorf("the connection is lost: %q %v", b, err)
		}
		_ = nc.Close()
	}
	accept := <-begun
	first := dial()
	setLimit(3)
	if accept() {
		t.Error("there is more, where accepting failed")
	}
	<-failed
	setLimit(usual)
	accept = <-begun // after a pause
	if accept() {
		t.Error("there is more than one")
	}
	greeted(first)
	last := dial() // of which nobody was told
	l.Close()
	greeted(last)
	if n := ends.Load(); n != 2 {
		t.Errorf("it was ended %d times, want 2", n)
	}
	l.Wait()
}

// A shortage that is over is forgotten: the next one begins with the shortest pause.
func TestPauseIsForgotten(t *testing.T) {
	l := open(t)
	defer l.Close()
	setLimit, usual := descriptors(t)
	l.failed, l.handle = func() {}, func(nc *net.TCPConn, _ door.Ends) { _ = nc.Close() }
	l.lookout = func(_ *door.Door, accept func() bool) (end func(), err error) {
		for _, most := range []uint64{usual, 3} {
			nc, err := net.DialTimeout("tcp", l.Addr().String(), patience)
			if err != nil {
				return nil, err
			}
			defer nc.Close()
			setLimit(most)
			accept()
			setLimit(usual)
		}
		return func() {}, nil
	}
	var pause, first wire.Pause
	first.Wait()
	for range 5 {
		if !l.lookOut(l.doors[0], &pause) {
			t.Fatal("nobody accepts")
		}
	}
	if pause != first {
		t.Errorf("the pause is %v, and %v after the first shortage", pause, first)
	}
}

// Where nobody else can accept, the Listener does, and the log says where.
func TestLookoutThatFails(t *testing.T) {
	said := make(chan string, 10)
	l := openLogging(t, funcr.New(func(_, line string) { said <- line }, funcr.Options{}))
	l.Before(func(*door.Arrival, func()) bool { return false }, func(*door.Door, func() bool) (func(), error) { return nil, errors.New("no") })
	go l.Serve(greet, func() { t.Error("turned away") }, func() { t.Error("not accepted") })
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
	if line := <-said; !strings.Contains(line, `"address"="127.0.0.1:0"`) {
		t.Error(line)
	}
}
