package ledger

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// Field is the header field with the id of a request: harness.LoadID.
const Field = "X-Load-Id"

// A Writer sends lines to a Book. What cannot be sent now is kept and sent later.
type Writer struct {
	address string
	lines   chan string
	closed  chan struct{}
}

// NewWriter makes a Writer for the Book at an address; with an empty one it drops everything.
func NewWriter(address string) *Writer {
	// Room for what arrives while the network is away for some minutes.
	w := &Writer{address: address, lines: make(chan string, 1<<18), closed: make(chan struct{})}
	go w.run()
	return w
}

// Note sends that a request has been received, without waiting for it to arrive.
func (w *Writer) Note(method, id, target string) {
	if w.address != "" {
		w.lines <- fmt.Sprintf("%s %s %s .\n", method, id, target)
	}
}

// Close returns when everything has been sent. Note must not be called any more.
func (w *Writer) Close(ctx context.Context) error {
	close(w.lines)
	select {
	case <-w.closed:
		return nil
	case <-ctx.Done():
		return errors.Join(errors.New("the ledger did not get everything"), ctx.Err())
	}
}

func (w *Writer) run() {
	defer close(w.closed)
	var conn net.Conn
	for line := range w.lines {
		for {
			if conn == nil {
				conn = w.dial()
			}
			if _, err := conn.Write([]byte(line)); err == nil {
				break
			}
			_ = conn.Close()
			conn = nil
		}
	}
	if conn != nil {
		_ = conn.Close()
	}
}

// dial tries until it succeeds.
func (w *Writer) dial() net.Conn {
	for {
		conn, err := net.DialTimeout("tcp", w.address, 5*time.Second)
		if err == nil {
			return conn
		}
		time.Sleep(100 * time.Millisecond) // not to be busy while there is no network
	}
}
