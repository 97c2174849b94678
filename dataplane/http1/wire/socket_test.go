package wire

import (
	"bytes"
	"io"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRecvAndSend(t *testing.T) {
	near, far := pair(t)
	var buf [64]byte
	descriptor(t, near, func(fd uintptr) {
		if n, err := Recv(int(fd), buf[:]); n != 0 || err != syscall.EAGAIN {
			t.Errorf("Recv from a silent connection is %d, %v; want EAGAIN", n, err)
		}
		if n, err := Send(int(fd), []byte("to the far end")); n != 14 || err != nil {
			t.Errorf("Send is %d, %v", n, err)
		}
	})
	if n, err := io.ReadFull(far, buf[:14]); err != nil || string(buf[:n]) != "to the far end" {
		t.Errorf("received %q, %v", buf[:n], err)
	}
	if _, err := far.Write([]byte("and back")); err != nil {
		t.Fatal(err)
	}
	readable(t, near)
	descriptor(t, near, func(fd uintptr) {
		if n, err := Recv(int(fd), buf[:]); string(buf[:max(n, 0)]) != "and back" || err != nil {
			t.Errorf("Recv is %q, %v", buf[:max(n, 0)], err)
		}
	})
	if err := far.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	readable(t, near)
	descriptor(t, near, func(fd uintptr) {
		if n, err := Recv(int(fd), buf[:]); n != 0 || err != nil {
			t.Errorf("Recv at the end is %d, %v; want 0 and no error", n, err)
		}
	})
}

func TestSendToAFullSocket(t *testing.T) {
	near, far := pair(t)
	data := make([]byte, 1<<20)
	for i := range data {
		data[i] = byte(i % 251)
	}
	sent := 0
	descriptor(t, near, func(fd uintptr) {
		for {
			n, err := Send(int(fd), data[sent%len(data):])
			if err == syscall.EAGAIN {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			sent += n
		}
	})
	if err := near.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(far)
	if err != nil || len(got) != sent {
		t.Fatalf("received %d bytes, %v; want %d", len(got), err, sent)
	}
	for at := 0; at < len(got); at += len(data) {
		part := got[at:min(at+len(data), len(got))]
		if !bytes.Equal(part, data[:len(part)]) {
			t.Fatalf("the bytes from %d on are not those that were sent", at)
		}
	}
}

// TestSendToAClosedConnection: an error, and no signal that ends the process.
func TestSendToAClosedConnection(t *testing.T) {
	near, far := pair(t)
	if err := far.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	_ = far.Close()
	readable(t, near)
	descriptor(t, near, func(fd uintptr) {
		var err error
		for range 2 { // the first tells of the reset
			_, err = Send(int(fd), []byte("x"))
		}
		if err != syscall.EPIPE {
			t.Errorf("Send is %v, want EPIPE", err)
		}
	})
}

func TestStale(t *testing.T) {
	near, far := pair(t)
	stale := func() (is bool) {
		descriptor(t, near, func(fd uintptr) { is = Stale(fd) })
		return is
	}
	if stale() {
		t.Error("a silent connection is stale")
	}
	if _, err := far.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	readable(t, near)
	for range 2 { // asking changes nothing
		if !stale() {
			t.Error("a connection that was sent something is not stale")
		}
	}
	if _, err := near.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if stale() {
		t.Error("a connection that is silent again is stale")
	}
	if err := far.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	readable(t, near)
	if !stale() {
		t.Error("a connection whose peer has closed it is not stale")
	}
	descriptor(t, near, func(fd uintptr) {
		if _, err := unix.FcntlInt(fd, unix.F_GETFD, 0); err != nil {
			t.Errorf("asking closed the descriptor: %v", err)
		}
	})
}
