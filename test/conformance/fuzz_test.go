package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/test/readers"
)

// FuzzProxy sends what it likes to a proxy, and judges what becomes of it as the corpus does: what reaches the origin is
// canonical and one message to every reader, what comes back is HTTP, and nobody else's answer is touched. Its findings become
// rows.
func FuzzProxy(f *testing.F) {
	// One row of each class that is short; the fuzzer finds the way from there.
	for _, class := range classes {
		count := 0
		for _, r := range corpus() {
			if text := strings.Join(r.send, ""); r.class == class && len(r.origin) == 0 && len(text) < 400 && count < 4 {
				f.Add([]byte(text))
				count++
			}
		}
	}
	s := newStand(f)
	f.Cleanup(s.close)
	laxnesses := readers.Alone()
	f.Fuzz(func(t *testing.T, data []byte) {
		if bytes.Contains(data, []byte(victimPath)) {
			return // nobody's name but that of others
		}
		s.origin.begin(nil, nil, plain)
		c := dial(t, s, plain, "")
		defer c.close()
		if _, err := c.nc.Write(data); err == nil {
			_ = c.nc.(*net.TCPConn).CloseWrite()
		}
		if err := c.allAnswers(data); err != nil {
			t.Errorf("to %q: %v", data, err)
		}
		c.close()
		if err := s.origin.flush(); err != nil {
			t.Fatal(err)
		}
		other := dial(t, s, plain, "")
		if err := victim(other); err != nil {
			t.Errorf("another client behind %q: %v", data, err)
		}
		other.close()
		if !s.origin.await(func() bool {
			return !slices.ContainsFunc(s.origin.conns, func(c *originConn) bool { return c.state == busy || c.pending() })
		}) {
			t.Error("the origin is still busy")
		}
		s.origin.mu.Lock()
		defer s.origin.mu.Unlock()
		for _, fault := range s.origin.faults {
			t.Errorf("of %q the origin received what no proxy may send: %s", data, fault)
		}
		for _, m := range s.origin.seen {
			for _, problem := range disagreements(m, laxnesses) {
				t.Errorf("of %q the origin received %q: %s", data, m.raw, problem)
			}
		}
	})
}

// allAnswers reads answers to the end of the connection. An answer to HEAD has no body, and which one that is only the proxy
// knows: where HEAD is among what was sent, only the beginning is judged.
func (c *client) allAnswers(sent []byte) error {
	_ = c.nc.SetReadDeadline(time.Now().Add(patience))
	if bytes.Contains(sent, []byte("HEAD")) {
		all, err := io.ReadAll(c.in)
		if errors.Is(err, os.ErrDeadlineExceeded) || len(all) > 0 && !bytes.HasPrefix(all, []byte("HTTP/1.1 ")) {
			return fmt.Errorf("the answer %q: %w", all, err)
		}
		return nil
	}
	var err error
	for err == nil { // to the end, or to a reset where more was sent than is read
		var r *response
		if r, err = c.read("GET", nil); errors.Is(err, errNotHTTP) || errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("the answer %+v: %w", r, err)
		}
	}
	return nil
}
