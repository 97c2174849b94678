package loop

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A Lookout accepts until it is closed, and what it starts on its Loop is served.
func TestLookout(t *testing.T) {
	l := start(t)
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	raw, err := ln.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	fd := 0
	_ = raw.Control(func(own uintptr) { fd = int(own) })
	var clients []net.Conn
	var served sync.WaitGroup
	defer func() {
		for _, nc := range clients {
			_ = nc.Close()
		}
		served.Wait()
	}()
	dial := func() net.Conn {
		nc, err := net.DialTimeout("tcp", ln.Addr().String(), 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, nc)
		return nc
	}
	early := dial() // in the queue before anybody looks
	accept := func() (more bool) {
		own, _, err := unix.Accept4(fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			if !errors.Is(err, unix.EAGAIN) {
				t.Error(err)
			}
			return false
		}
		s := l.Take(own, netip.AddrPort{})
		served.Add(1)
		s.Start(func() {
			defer served.Done()
			echo(s)()
		})
		return true // one a call: it is to be called again
	}
	for range 2 { // closed, it can be opened again
		lookout, err := l.Lookout(fd, accept)
		if err != nil {
			t.Fatal(err)
		}
		swap(t, early, "early")
		for range 20 {
			swap(t, dial(), "text")
		}
		lookout.Close()
	}
	dial()
	own, _, err := unix.Accept4(fd, 0)
	for ; errors.Is(err, unix.EAGAIN); own, _, err = unix.Accept4(fd, 0) { // the handshake is over, and the queue may not know
		time.Sleep(time.Millisecond)
	}
	if err != nil {
		t.Fatalf("the connection was accepted, or the socket closed, by a Lookout that is closed: %v", err)
	}
	_ = unix.Close(own)
}

// What cannot be watched is said.
func TestLookoutThatCannotBe(t *testing.T) {
	l := start(t)
	never := func() bool { t.Error("it is called"); return false }
	if _, err := l.Lookout(1<<20, never); !errors.Is(err, unix.EBADF) {
		t.Errorf("of no descriptor: %v", err)
	}
	ended, err := newLoop()
	if err != nil {
		t.Fatal(err)
	}
	go ended.run()
	ended.close()
	if _, err := ended.Lookout(0, never); !errors.Is(err, net.ErrClosed) {
		t.Errorf("of a Loop that has ended: %v", err)
	}
}
