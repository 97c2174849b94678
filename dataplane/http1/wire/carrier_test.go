package wire

import (
	"bytes"
	"errors"
	"io"
	"syscall"
	"testing"
)

// What was received short has left nothing: ReceiveRest does not ask the kernel again, and Receive does.
func TestReceiveRest(t *testing.T) {
	near, far := pair(t)
	c := NewCarrier(near)
	send := func(text string) {
		t.Helper()
		if _, err := io.WriteString(far, text); err != nil {
			t.Fatal(err)
		}
		readable(t, near)
	}
	receive := func(how func(int, io.Reader, []byte) (int, error), room int, want string, wantErr error) {
		t.Helper()
		descriptor(t, near, func(fd uintptr) {
			p := make([]byte, room)
			if n, err := how(int(fd), c, p); string(p[:n]) != want || !errors.Is(err, wantErr) {
				t.Errorf("received %q, %v; want %q, %v", p[:n], err, want, wantErr)
			}
		})
	}
	send("abcdef")
	receive(c.Receive, 4, "abcd", nil)
	receive(c.ReceiveRest, 4, "ef", nil) // four were asked for, and four came: there may be more
	send("ghi")
	receive(c.ReceiveRest, 4, "", syscall.EAGAIN)
	receive(c.Receive, 4, "ghi", nil)
	receive(c.Receive, 4, "", syscall.EAGAIN)
}

// What does not fit in the kernel's buffer while the descriptor is held is written all the same, whole and in order.
func TestHeldCarrierWritesAll(t *testing.T) {
	near, far := pair(t)
	c := NewCarrier(near)
	data := make([]byte, 16<<20)
	for i := range data {
		data[i] = byte(i % 251)
	}
	received := make(chan []byte, 1)
	go func() {
		got, _ := io.ReadAll(far)
		received <- got
	}()
	descriptor(t, near, func(fd uintptr) {
		c.Hold(int(fd))
		if n, err := c.Write(data); n != len(data) || err != nil {
			t.Errorf("wrote %d, %v", n, err)
		}
		c.Hold(-1)
	})
	if err := near.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := <-received; !bytes.Equal(got, data) {
		t.Errorf("%d other bytes were received", len(got))
	}
	_ = far.SetLinger(0)
	_ = far.Close()
	readable(t, near)
	descriptor(t, near, func(fd uintptr) {
		c.Hold(int(fd))
		if _, err := c.Write(data[:1]); err == nil {
			t.Error("writing to a connection that was reset went well")
		}
		c.Hold(-1)
	})
}
