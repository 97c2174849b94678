package http1

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// What comes over TLS in one segment is all understood: several records, and the end of the connection behind them, of which
// there is no notice of its own.
func TestRecordsInOneSegment(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, nc *tls.Conn){
		"which stays open": func(*testing.T, *tls.Conn) {},
		"which ends": func(t *testing.T, nc *tls.Conn) {
			if err := nc.CloseWrite(); err != nil {
				t.Fatal(err)
			}
		},
		"which ends below TLS": func(t *testing.T, nc *tls.Conn) {
			if err := nc.NetConn().(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, ServerOptions{})
			nc := r.dial("tls").(*tls.Conn)
			answers := bufio.NewReader(nc)
			for i, records := range [][]string{{"GET /1" + get}, {"GET /2" + get, "GET /3" + get + "GET /4", get}} {
				cork(t, nc, 1)
				for _, text := range records {
					if _, err := io.WriteString(nc, text); err != nil {
						t.Fatal(err)
					}
				}
				if i > 0 {
					end(t, nc)
				}
				cork(t, nc, 0)
				for range []int{1, 3}[i] {
					if got := next(t, answers, "GET"); got.status != 200 || got.err != nil {
						t.Fatalf("an answer is %+v", got)
					}
				}
			}
			if name != "which stays open" {
				ended(t, answers)
			}
			_ = nc.Close()
			r.serving.Wait()
		})
	}
}

// cork holds back what is written, until it is called with 0: then it leaves together.
func cork(t *testing.T, nc *tls.Conn, on int) {
	t.Helper()
	raw, err := nc.NetConn().(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if ctlErr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_CORK, on) }); ctlErr != nil || err != nil {
		t.Fatal(ctlErr, err)
	}
}
