package wire

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A tally is a Side that counts what it is told.
type tally struct {
	moved    int64
	waits    atomic.Int64
	spurious func() bool // nil: every deadline is meant
	waiting  func()      // called at the first wait
}

func (s *tally) Waits() {
	if s.waits.Add(1) == 1 && s.waiting != nil {
		s.waiting()
	}
}
func (s *tally) Moved(n int)    { s.moved += int64(n) }
func (s *tally) Spurious() bool { return s.spurious != nil && s.spurious() }

func random(n int) []byte {
	data := make([]byte, n)
	source := rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(data)
	return data
}

func TestSplice(t *testing.T) {
	for _, n := range []int{1, 2, 4095, 4097, SpliceMin, 65535, 65537, spliceMost - 1, spliceMost, spliceMost + 1, 5<<20 + 3} {
		src, origin := pair(t)
		dst, client := pair(t)
		data := random(n + 10)
		wrote := make(chan error, 1)
		go func() {
			for at := 0; at < len(data); { // in pieces of odd sizes
				piece := min(1+at%50021*3, len(data)-at)
				if _, err := origin.Write(data[at : at+piece]); err != nil {
					wrote <- err
					return
				}
				at += piece
			}
			wrote <- nil
		}()
		read := make(chan []byte, 1)
		go func() {
			all, _ := io.ReadAll(client)
			read <- all
		}()
		var to, from tally
		readSide, err := Splice(dst, src, int64(n), &to, &from)
		if err != nil || readSide {
			t.Fatalf("%d bytes: %t, %v", n, readSide, err)
		}
		if err := dst.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got := <-read; !bytes.Equal(got, data[:n]) {
			t.Errorf("%d bytes: received %d, or others than were sent", n, len(got))
		}
		if to.moved != int64(n) || from.moved != int64(n) {
			t.Errorf("%d bytes: the sides were told of %d and %d", n, from.moved, to.moved)
		}
		rest := make([]byte, 10)
		if _, err := io.ReadFull(src, rest); err != nil || !bytes.Equal(rest, data[n:]) {
			t.Errorf("%d bytes: what follows them was not left where it was: %v", n, err)
		}
		if err := <-wrote; err != nil {
			t.Error(err)
		}
	}
}

// TestSpliceTellsWhoWaits: each side hears that it keeps the other one waiting.
func TestSpliceTellsWhoWaits(t *testing.T) {
	const n = 8 << 20 // more than the sockets' buffers hold
	src, origin := pair(t)
	dst, client := pair(t)
	data := random(n)
	var from tally
	read := make(chan []byte, 1)
	// Nothing is sent before the source was waited for, and nothing read before the destination was.
	from.waiting = func() { go func() { _, _ = origin.Write(data) }() }
	to := tally{waiting: func() {
		go func() {
			got := make([]byte, n)
			_, _ = io.ReadFull(client, got)
			read <- got
		}()
	}}
	if _, err := Splice(dst, src, n, &to, &from); err != nil {
		t.Fatal(err)
	}
	if got := <-read; !bytes.Equal(got, data) {
		t.Error("received other bytes than were sent")
	}
	if from.waits.Load() == 0 || to.waits.Load() == 0 {
		t.Errorf("the source was told %d times that it keeps waiting, the destination %d times", from.waits.Load(), to.waits.Load())
	}
}

func TestSpliceOfATruncatedSource(t *testing.T) {
	for _, sent := range []int{0, 1, 100000} {
		src, origin := pair(t)
		dst, client := pair(t)
		data := random(sent)
		go func() {
			_, _ = origin.Write(data)
			_ = origin.CloseWrite()
		}()
		read := make(chan []byte, 1)
		go func() {
			got, _ := io.ReadAll(client)
			read <- got
		}()
		var to, from tally
		readSide, err := Splice(dst, src, int64(sent)+1, &to, &from)
		if !readSide || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes of %d: readSide %t, %v; want true, io.ErrUnexpectedEOF", sent, sent+1, readSide, err)
		}
		_ = dst.CloseWrite()
		if got := <-read; !bytes.Equal(got, data) {
			t.Errorf("%d of %d bytes that came were passed on, or others", len(got), sent)
		}
	}
}

func TestSpliceFromAResetSource(t *testing.T) {
	src, origin := pair(t)
	dst, _ := pair(t)
	_ = origin.SetLinger(0)
	_ = origin.Close()
	readSide, err := Splice(dst, src, 100, &tally{}, &tally{})
	if !readSide || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("readSide %t, %v; want true, ECONNRESET", readSide, err)
	}
}

// TestSpliceToAClosedDestination: the error is the writing side's, and what is left in the pipe is never another body's.
func TestSpliceToAClosedDestination(t *testing.T) {
	for range 8 {
		src, origin := pair(t)
		dst, client := pair(t)
		_ = client.SetLinger(0)
		_ = client.Close()
		readable(t, dst)
		go func() { _, _ = origin.Write(bytes.Repeat([]byte("secret"), 10000)) }()
		readSide, err := Splice(dst, src, 60000, &tally{}, &tally{})
		if readSide || err == nil {
			t.Fatalf("readSide %t, %v; want false and an error", readSide, err)
		}
		_ = src.Close()
	}
	src, origin := pair(t)
	dst, client := pair(t)
	want := bytes.Repeat([]byte("public"), 10000)
	go func() { _, _ = origin.Write(want) }()
	go func() {
		_, _ = Splice(dst, src, int64(len(want)), &tally{}, &tally{})
		_ = dst.CloseWrite()
	}()
	if got, err := io.ReadAll(client); err != nil || !bytes.Equal(got, want) {
		t.Errorf("received %d bytes, which begin with %.20q, and %v", len(got), got, err)
	}
}

// TestSpliceDeadlines: one that was meant ends it, one that was not does not.
func TestSpliceDeadlines(t *testing.T) {
	past := time.Unix(1, 0)
	for _, of := range []string{"source", "destination"} {
		src, origin := pair(t)
		dst, client := pair(t)
		var to, from tally
		slow, nc := &from, src
		if of == "destination" {
			slow, nc = &to, dst
			go func() { _, _ = io.CopyN(origin, zeros{}, 64<<20) }()
		}
		asked := make(chan struct{}, 2)
		slow.waiting = func() { _ = nc.SetDeadline(past) }
		times := 0
		slow.spurious = func() bool {
			asked <- struct{}{}
			times++
			if times > 1 {
				return false
			}
			_ = nc.SetDeadline(time.Time{})
			time.AfterFunc(time.Millisecond, func() { _ = nc.SetDeadline(past) })
			return true
		}
		readSide, err := Splice(dst, src, 64<<20, &to, &from)
		if readSide != (of == "source") || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a deadline of the %s: readSide %t, %v", of, readSide, err)
		}
		if len(asked) != 2 {
			t.Errorf("a deadline of the %s: asked %d times whether it was meant, want 2", of, len(asked))
		}
		for _, nc := range []net.Conn{src, origin, dst, client} {
			_ = nc.Close()
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestSpliceWithoutDescriptors: the caller is told before anything was read, so that it can copy instead.
func TestSpliceWithoutDescriptors(t *testing.T) {
	src, origin := pair(t)
	dst, _ := pair(t)
	if _, err := origin.Write([]byte("all of it")); err != nil {
		t.Fatal(err)
	}
	readable(t, src)
	was := pipes.New
	pipes.New = func() any { return (*pipe)(nil) } // what the real one returns for EMFILE
	defer func() { pipes.New = was }()
	var kept []*pipe
	for {
		p := pipes.Get().(*pipe)
		if p == nil {
			break
		}
		kept = append(kept, p)
	}
	var to, from tally
	_, err := Splice(dst, src, 9, &to, &from)
	for _, p := range kept {
		pipes.Put(p)
	}
	if !errors.Is(err, ErrNoPipe) || from.moved != 0 {
		t.Fatalf("%v, %d bytes moved; want ErrNoPipe, 0", err, from.moved)
	}
	var buf [9]byte
	if _, err := io.ReadFull(src, buf[:]); err != nil || string(buf[:]) != "all of it" {
		t.Errorf("the source has %q left, %v", buf[:], err)
	}
}

// TestNoPipe makes the process run out of descriptors for real.
func TestNoPipe(t *testing.T) {
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	none := unix.Rlimit{Cur: 3, Max: was.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	p := pipes.New().(*pipe)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if p != nil {
		p.discard()
		t.Error("there was a pipe without descriptors")
	}
}

func BenchmarkSplice(b *testing.B) {
	const n = 1 << 20
	src, origin := pair(b)
	dst, client := pair(b)
	go func() { _, _ = io.Copy(origin, zeros{}) }()
	go func() { _, _ = io.Copy(struct{ io.Writer }{io.Discard}, client) }()
	var to, from tally
	b.SetBytes(n)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Splice(dst, src, n, &to, &from); err != nil {
			b.Fatal(err)
		}
	}
	for _, nc := range []net.Conn{src, origin, dst, client} {
		_ = nc.Close()
	}
}
