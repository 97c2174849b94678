package dial

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// A connection takes its local port from one endpoint's supply alone: another connection to another address may have the same
// port. One that was bound before it is opened takes it from everybody, and a machine has some 28,000 of them, those that
// closed connections hold for a minute included.
func TestLocalPortIsNotTakenFromOthers(t *testing.T) {
	first, second := listening(t), listening(t)
	var o Opener
	nc, err := o.Open(t.Context(), New(&snapshot.Cluster{}), first, Purpose{HTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	port := nc.LocalAddr().(*net.TCPAddr).Port
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_LOCAL_PORT_RANGE, port<<16|port)
		})
		return errors.Join(err, failed)
	}}
	other, err := d.DialContext(context.Background(), "tcp", second.String())
	if errors.Is(err, unix.ENOPROTOOPT) {
		t.Skip("the kernel is older than 6.3: it cannot be asked for a port")
	}
	if err != nil {
		t.Fatalf("nobody else can use port %d: %v", port, err)
	}
	defer other.Close()
	if got := other.LocalAddr().(*net.TCPAddr).Port; got != port {
		t.Errorf("the other connection has port %d, not %d", got, port)
	}
}

// listening returns an address that accepts connections.
func listening(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().(*net.TCPAddr).AddrPort()
}
