package wire

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// TestFlow moves what there is, and says whether there may be more.
func TestFlow(t *testing.T) {
	src, origin := pair(t)
	dst, client := pair(t)
	var to tally
	if _, err := Flow(dst, src, &to, 0); err != nil || to.moved != 0 {
		t.Fatalf("of a silent connection: %d bytes, %v", to.moved, err)
	}
	data := random(3<<20 + 11)
	go func() {
		_, _ = origin.Write(data)
		_ = origin.CloseWrite()
	}()
	read := make(chan []byte, 1)
	go func() {
		all, _ := io.ReadAll(client)
		read <- all
	}()
	for to.moved < int64(len(data)) {
		if _, err := Flow(dst, src, &to, time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Flow(dst, src, &to, 20*time.Second); err != nil { // the end is for a read to find
		t.Errorf("at the end: %v", err)
	}
	_ = src.SetReadDeadline(time.Time{})
	if n, err := src.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("at the end: %d %v", n, err)
	}
	_ = dst.CloseWrite()
	if got := <-read; !bytes.Equal(got, data) {
		t.Errorf("received %d bytes of %d, or others", len(got), len(data))
	}
}

// TestFlowErrors tell which side they are of.
func TestFlowErrors(t *testing.T) {
	src, origin := pair(t)
	dst, _ := pair(t)
	_ = origin.SetLinger(0)
	_ = origin.Close()
	var readSide bool
	var err error
	for at := time.Now(); err == nil && time.Since(at) < 20*time.Second; { // a look at it would take the error away
		readSide, err = Flow(dst, src, &tally{}, time.Millisecond)
	}
	if !errors.Is(err, syscall.ECONNRESET) || !readSide {
		t.Errorf("a source that broke off: %t %v", readSide, err)
	}

	src, origin = pair(t)
	dst, client := pair(t)
	_ = client.SetLinger(0)
	_ = client.Close()
	readable(t, dst)
	if _, err := origin.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	readable(t, src)
	if readSide, err := Flow(dst, src, &tally{}, time.Millisecond); err == nil || readSide {
		t.Errorf("a destination that broke off: %t %v", readSide, err)
	}

	src, origin = pair(t)
	dst, _ = pair(t)
	go func() { _, _ = io.Copy(origin, zeros{}) }()
	to := tally{waiting: func() { _ = dst.SetDeadline(time.Unix(1, 0)) }} // nobody reads
	for err = nil; err == nil; {
		readSide, err = Flow(dst, src, &to, time.Millisecond)
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) || readSide {
		t.Errorf("a destination that takes no more: %t %v", readSide, err)
	}
	for _, nc := range []net.Conn{src, origin, dst} {
		_ = nc.Close()
	}
}
