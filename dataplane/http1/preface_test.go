package http1

import (
	"bufio"
	"io"
	"net"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// TestPreface: a connection that begins with HTTP/2's preface is handed over with all that was read of it, however its
// bytes arrive; anything else is not.
func TestPreface(t *testing.T) {
	r := newRig(t, ServerOptions{})
	type handed struct {
		nc    net.Conn
		facts exchange.Conn
		read  string
	}
	over := make(chan handed, 1)
	r.srv.OnPreface(func(nc net.Conn, facts *exchange.Conn, read []byte) { over <- handed{nc, *facts, string(read)} })
	for _, pieces := range [][]string{
		{preface + "frames"},
		{"P", "RI * HTT", "P/2.0\r", "\n\r\nSM\r\n\r\nframes"},
		{preface[:16], preface[16:], "frames"},
	} {
		nc := r.dial("plain")
		for _, piece := range pieces {
			if _, err := io.WriteString(nc, piece); err != nil {
				t.Fatal(err)
			}
		}
		h := <-over
		buf := make([]byte, len(preface+"frames"))
		if n := copy(buf, h.read); n < len(buf) {
			if _, err := io.ReadFull(h.nc, buf[n:]); err != nil {
				t.Fatal(err)
			}
		}
		if string(buf) != preface+"frames" || !h.facts.Remote.IsValid() {
			t.Errorf("%q was handed over as %q: %+v", pieces, buf, h.facts)
		}
		if _, err := io.WriteString(h.nc, "still open"); err != nil {
			t.Error(err)
		}
		_ = h.nc.Close()
		if got, err := io.ReadAll(nc); err != nil || string(got) != "still open" {
			t.Errorf("%q, %v", got, err)
		}
	}
	for _, how := range []string{"plain", "tls"} { // behind a request; over TLS, where it was not agreed upon
		nc := r.dial(how)
		if how == "plain" {
			_, _ = io.WriteString(nc, "GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
		}
		_, _ = io.WriteString(nc, preface)
		in := bufio.NewReader(nc)
		if how == "plain" {
			if a := next(t, in, "GET"); a.status != 200 {
				t.Errorf("%+v", a)
			}
		}
		if a := next(t, in, "GET"); a.status != 400 || !a.close {
			t.Errorf("%s: %+v", how, a)
		}
	}
	select {
	case h := <-over:
		t.Errorf("%q was handed over", h.read)
	default:
	}
}
