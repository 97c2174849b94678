package loop

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patient is how long a test waits for what must come.
const patient = 20 * time.Second

// start runs a Group with one Loop until the test ends.
func start(t testing.TB) *Loop {
	t.Helper()
	g, err := NewGroup(1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.Run(ctx)
	}()
	t.Cleanup(func() { stop(); <-done })
	return g.Next()
}

// pair returns a connected Socket and its peer.
func pair(t testing.TB, l *Loop) (*Socket, *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	near, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Adopt(near.(*net.TCPConn))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(); _ = far.Close() })
	if err := far.SetDeadline(time.Now().Add(patient)); err != nil {
		t.Fatal(err)
	}
	return s, far.(*net.TCPConn)
}

// echo serves s: what it reads it writes.
func echo(s *Socket) func() {
	return func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := s.Read(buf)
			if err != nil {
				_ = s.Close()
				return
			}
			if _, err = s.Write(buf[:n]); err != nil {
				_ = s.Close()
				return
			}
		}
	}
}

// swap sends text and reads as much.
func swap(t *testing.T, far net.Conn, text string) {
	t.Helper()
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(far, text)
		sent <- err
	}()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(far, got); err != nil {
		t.Fatalf("after %d bytes: %v", len(text), err)
	}
	if string(got) != text {
		t.Fatal("the bytes that came back are others")
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

// TestServesManyAtOnce lets connections wait for each other's bytes on one Loop.
func TestServesManyAtOnce(t *testing.T) {
	l := start(t)
	for range 8 {
		s, far := pair(t, l)
		if err := far.SetReadBuffer(8 << 10); err != nil {
			t.Fatal(err)
		}
		s.Start(echo(s))
		t.Run("", func(t *testing.T) {
			t.Parallel()
			if err := far.SetDeadline(time.Now().Add(patient)); err != nil {
				t.Fatal(err)
			}
			for _, size := range []int{1, 1000, 60 << 10} { // the last one fills the buffers, so that writing waits, too
				swap(t, far, strings.Repeat("0123456789", size/10+1)[:size])
			}
			if err := far.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if _, err := far.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("behind the end of stream there is %v", err)
			}
		})
	}
}

// TestFollows has what serves one connection wait for another, which closes meanwhile.
func TestFollows(t *testing.T) {
	l := start(t)
	s, far := pair(t, l)
	other, end := pair(t, l)
	other.Start(nil)
	got := make(chan error, 1)
	s.Start(func() {
		other.Follow(s)
		buf := make([]byte, 10)
		for {
			if _, err := other.Read(buf); err != nil {
				got <- err
				_ = s.Close()
				return
			}
		}
	})
	for _, step := range []func() error{
		func() error { _, err := io.WriteString(far, "x"); return err },
		func() error { _, err := io.WriteString(end, "abc"); return err },
		end.Close,
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-got; err != io.EOF {
		t.Errorf("reading ended with %v", err)
	}
}

// TestQuiet tells a connection on which something has arrived from one that is silent.
func TestQuiet(t *testing.T) {
	l := start(t)
	s, far := pair(t, l)
	s.Start(nil)
	if !s.Quiet() {
		t.Error("a silent connection is not quiet")
	}
	if _, err := io.WriteString(far, "x"); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patient); s.Quiet(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing is known of a byte that has arrived")
		}
	}
	if s.HungUp() {
		t.Error("it is said to be at its end")
	}
	if err := far.Close(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patient); !s.HungUp(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing is known of an end of stream")
		}
	}
}

// TestDeadline ends waits, also those that are to come, until it is taken back.
func TestDeadline(t *testing.T) {
	l := start(t)
	s, far := pair(t, l)
	got := make(chan error)
	s.Start(func() {
		buf := make([]byte, 1)
		for {
			_, err := s.Read(buf)
			got <- err
			switch {
			case err == io.EOF:
				_ = s.Close()
				return
			case err != nil:
				_, again := s.Read(buf)
				got <- again
				_ = s.SetDeadline(time.Time{})
			}
		}
	})
	if _, err := io.WriteString(far, "x"); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	if err := s.SetDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-got; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a wait behind its deadline ends with %v", err)
		}
	}
	if _, err := io.WriteString(far, "x"); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Errorf("when the deadline is taken back, reading ends with %v", err)
	}
	if err := s.SetDeadline(time.Now().Add(time.Hour)); !errors.Is(err, os.ErrNoDeadline) {
		t.Errorf("a deadline to come is %v", err)
	}
	if err := far.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != io.EOF {
		t.Errorf("the end of stream is %v", err)
	}
}

// TestOthersGoOn lets one connection wait for something that its Loop knows nothing of: after Leave, and without a word.
func TestOthersGoOn(t *testing.T) {
	for name, before := range map[string]func(s *Socket){"Leave": (*Socket).Leave, "unannounced": func(*Socket) {}} {
		t.Run(name, func(t *testing.T) {
			l := start(t)
			s, far := pair(t, l)
			release, over := make(chan struct{}), make(chan struct{})
			s.Start(func() {
				defer close(over)
				before(s)
				<-release
				echo(s)()
			})
			if _, err := io.WriteString(far, "first"); err != nil {
				t.Fatal(err)
			}
			other, end := pair(t, l)
			other.Start(echo(other))
			for range 3 {
				swap(t, end, "others")
			}
			close(release)
			got := make([]byte, 5)
			if _, err := io.ReadFull(far, got); err != nil || string(got) != "first" {
				t.Fatalf("%q, %v", got, err)
			}
			for range 3 {
				swap(t, far, "later")
				swap(t, end, "others")
			}
			_ = far.Close()
			<-over // nobody else may close what it still reads from
		})
	}
}

// TestReturns serves a connection in several turns, without a coroutine between them.
func TestReturns(t *testing.T) {
	l := start(t)
	s, far := pair(t, l)
	turns := 0
	s.Start(func() {
		turns++
		buf := make([]byte, 1) // the rest is still there then
		n, err := s.Read(buf)
		if err != nil {
			_ = s.Close()
			return
		}
		_, _ = s.Write(buf[:n])
		if turns%5 != 0 {
			s.Again()
		}
	})
	swap(t, far, "12345")
	swap(t, far, "67890")
}

// TestDetach goes on with a connection on a goroutine of its own.
func TestDetach(t *testing.T) {
	l := start(t)
	s, far := pair(t, l)
	moved := make(chan *net.TCPConn, 1)
	s.Start(func() {
		tcp, err := s.Detach().Conn()
		if err != nil {
			t.Error(err)
		}
		moved <- tcp
	})
	if _, err := io.WriteString(far, "before"); err != nil {
		t.Fatal(err)
	}
	tcp := <-moved
	defer tcp.Close()
	go func() { _, _ = io.Copy(tcp, io.LimitReader(tcp, 12)) }()
	if _, err := io.WriteString(far, "behind"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 12)
	if _, err := io.ReadFull(far, got); err != nil || string(got) != "beforebehind" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestClose ends a wait from elsewhere.
func TestClose(t *testing.T) {
	l := start(t)
	s, far := pair(t, l)
	got := make(chan error, 1)
	reading := make(chan struct{})
	s.Start(func() {
		buf := make([]byte, 1)
		_, _ = s.Read(buf)
		close(reading)
		_, err := s.Read(buf)
		got <- err
	})
	if _, err := io.WriteString(far, "x"); err != nil {
		t.Fatal(err)
	}
	<-reading
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-got; !errors.Is(err, net.ErrClosed) {
		t.Errorf("reading ended with %v", err)
	}
	if err := s.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closing again is %v", err)
	}
	if _, err := far.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the peer sees %v", err)
	}
}

// A Socket that cannot be watched ends whoever waits for it, also one that begins to wait when the Loop knows that already.
func TestLost(t *testing.T) {
	l := start(t)
	s, far := pair(t, l)
	fd, err := unix.Open("/proc/self/exe", unix.O_RDONLY|unix.O_CLOEXEC, 0) // a regular file: epoll_ctl refuses it
	if err != nil {
		t.Fatal(err)
	}
	other := l.Take(fd, netip.AddrPort{})
	known := make(chan struct{})
	got := make(chan error, 1)
	s.Start(func() {
		s.Leave()
		other.Start(nil)
		other.Follow(s)
		got <- (*raw)(other).Read(func(uintptr) bool {
			<-known
			return false // it is not there yet
		})
		_ = other.Close()
		_ = s.Close()
	})
	third, end := pair(t, l)
	third.Start(echo(third))
	for !other.Lost() {
		swap(t, end, "the loop goes on")
	}
	swap(t, end, "and has looked at it")
	close(known)
	select {
	case err := <-got:
		if !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	case <-time.After(patient):
		t.Error("it waits for what nobody will tell")
		_ = other.Close()
		t.Log(<-got)
	}
	_ = far.Close()
}

// A deadline may pass before the Socket is started.
func TestDeadlineBeforeTheStart(t *testing.T) {
	l := start(t)
	for range 50 {
		s, _ := pair(t, l)
		served := make(chan struct{})
		_ = s.SetDeadline(time.Unix(1, 0))
		s.Start(func() {
			_ = s.Close()
			close(served)
		})
		<-served
	}
}
