package listener

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// hello is what a client begins with, in one record.
func hello(t testing.TB, name string, protocols ...string) []byte {
	t.Helper()
	r := &recorder{}
	_ = tls.Client(r, &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: protocols}).Handshake()
	return r.sent
}

type recorder struct {
	replay
	sent []byte
}

func (r *recorder) Write(p []byte) (int, error) {
	r.sent = append(r.sent, p...)
	return len(p), nil
}

// cutUp puts a record's content into records of n bytes.
func cutUp(record []byte, n int) []byte {
	var out []byte
	for rest := record[recordHead:]; len(rest) > 0; {
		k := min(n, len(rest))
		out = append(out, record[0], record[1], record[2], byte(k>>8), byte(k))
		out = append(out, rest[:k]...)
		rest = rest[k:]
	}
	return out
}

func TestServerName(t *testing.T) {
	plain := hello(t, "a.example")
	long := hello(t, "a.example", strings.Split(strings.Repeat(strings.Repeat("x", 250)+",", 70), ",")[:70]...)
	for _, tt := range []struct {
		what  string
		sent  []byte
		name  string
		fails bool
	}{
		{"one record", plain, "a.example", false},
		{"upper case", hello(t, "A.Example"), "a.example", false},
		{"no name", hello(t, ""), "", false},
		{"records of a byte", cutUp(plain, 1), "a.example", false},
		{"records of 3 bytes", cutUp(plain, 3), "a.example", false},
		{"records of 100 bytes", cutUp(plain, 100), "a.example", false},
		{"too long", long, "", true},
		{"HTTP", []byte("GET / HTTP/1.1\r\n\r\n"), "", true},
		{"an alert", []byte(unrecognizedName), "", true},
		{"another message", append([]byte{22, 3, 1, 0, 4, 2}, 0, 0, 0), "", true},
		{"an empty record", []byte{22, 3, 1, 0, 0}, "", true},
		{"a long message", []byte{22, 3, 1, 0, 4, 1, 0xff, 0, 0}, "", true},
		{"nonsense", append([]byte{22, 3, 1, 0, 9, 1, 0, 0, 5}, "xxxxx"...), "", true},
	} {
		for _, piece := range []int{1 << 20, 11} {
			t.Run(tt.what, func(t *testing.T) {
				near, far := pair(t)
				go func() {
					for rest := tt.sent; len(rest) > 0; {
						n := min(piece, len(rest))
						if _, err := far.Write(rest[:n]); err != nil {
							return
						}
						rest = rest[n:]
					}
				}()
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				name, err := ServerName(ctx, near)
				if name != tt.name || (err != nil) != tt.fails || ctx.Err() != nil {
					t.Fatalf("%q, %v; want %q", name, err, tt.name)
				}
				if err != nil {
					return
				}
				again := make([]byte, len(tt.sent))
				if _, err := io.ReadFull(near, again); err != nil || !bytes.Equal(again, tt.sent) {
					t.Errorf("what was looked at is gone: %v", err)
				}
			})
		}
	}
}

func TestServerNameThatDoesNotCome(t *testing.T) {
	near, far := pair(t)
	if _, err := far.Write(hello(t, "a.example")[:50]); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := ServerName(ctx, near); err == nil {
		t.Error("no error when the time is over")
	}
	near, far = pair(t)
	if _, err := far.Write(hello(t, "a.example")[:50]); err != nil {
		t.Fatal(err)
	}
	_ = far.(*net.TCPConn).CloseWrite()
	if _, err := ServerName(t.Context(), near); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("at the end of the connection: %v", err)
	}
}

func TestRefuseName(t *testing.T) {
	near, far := pair(t)
	done := make(chan error, 1)
	go func() { done <- tls.Client(far, &tls.Config{ServerName: "a.example"}).Handshake() }()
	if _, err := ServerName(t.Context(), near); err != nil {
		t.Fatal(err)
	}
	go RefuseName(near)
	if err := <-done; err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("the client is told %v", err)
	}
	_ = far.Close()
}

// FuzzHello: a size does not depend on what follows, and nothing beyond the bound is taken.
func FuzzHello(f *testing.F) {
	f.Add(hello(f, "a.example"))
	f.Add(cutUp(hello(f, "b.example"), 7))
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		size, err := helloSize(b)
		for n := range len(b) {
			part, partErr := helloSize(b[:n])
			if partErr != nil && (err == nil && size > 0 && size <= len(b)) {
				t.Fatalf("the first %d bytes are refused, all are not: %v", n, partErr)
			}
			if part > 0 && part <= n && (part != size || err != nil) {
				t.Fatalf("the first %d bytes are a hello of %d, all are one of %d, %v", n, part, size, err)
			}
		}
		if err != nil || size == 0 || size > len(b) {
			return
		}
		if size > maxHello {
			t.Fatalf("a hello of %d bytes", size)
		}
		name, err := serverName(b[:size])
		if again, err2 := serverName(b); (err == nil) != (err2 == nil) || again != name {
			t.Fatalf("%q %v, with what follows %q %v", name, err, again, err2)
		}
	})
}
