package congestion

import (
	"net"
	"net/netip"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPace goes through the life of a listening socket where the kernel's default is BBR, and where it is not.
func TestPace(t *testing.T) {
	for name, c := range map[string]struct {
		usual, chosen string // the kernel's default, and what the socket has
		passed        bool
		local, remote string // what its connections have in the end
	}{
		"BBR":                              {"bbr", "bbr", false, unpaced, "bbr"},
		"handed over":                      {"bbr", unpaced, true, unpaced, "bbr"},
		"handed over, the default changed": {"cubic", unpaced, true, "cubic", "cubic"},
		"chosen for this socket":           {"bbr", "cubic", true, "cubic", "cubic"},
		"reno for this socket":             {"bbr", unpaced, false, unpaced, unpaced},
		"another default":                  {"cubic", "cubic", false, "cubic", "cubic"},
		"BBR for this socket only":         {"cubic", "bbr", false, "bbr", "bbr"},
		"a default that is not allowed":    {"", "bbr", false, "bbr", "bbr"},
	} {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			socket := raw(t, ln.(*net.TCPListener))
			choose(t, socket, c.chosen)
			pace := listening(socket, c.passed, c.usual)
			for remote, want := range map[string]string{"127.0.0.1": c.local, "::ffff:127.8.0.1": c.local, "::1": c.local, "192.0.2.1": c.remote, "2001:db8::1": c.remote} {
				client, err := net.Dial("tcp", ln.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				nc, err := ln.Accept()
				if err != nil {
					t.Fatal(err)
				}
				on(t, raw(t, nc.(*net.TCPConn)), func(fd int) {
					pace.Accepted(fd, netip.MustParseAddr(remote))
					if got := of(fd); got != want {
						t.Errorf("a connection from %s has %s, want %s", remote, got, want)
					}
				})
				_ = client.Close()
				_ = nc.Close()
			}
		})
	}
}

// TestDialing takes the pace of a connection before it is made.
func TestDialing(t *testing.T) {
	for before, want := range map[string]string{"bbr": unpaced, "cubic": "cubic"} {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		choose(t, plain(fd), before)
		if err := Dialing("tcp", "127.0.0.1:1", plain(fd)); err != nil {
			t.Error(err)
		}
		if got := of(fd); got != want {
			t.Errorf("%s became %s, want %s", before, got, want)
		}
		_ = unix.Close(fd)
	}
}

// TestPreset asks the kernel itself.
func TestPreset(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Skip("no IPv6 here: ", err)
	}
	defer func() { _ = unix.Close(fd) }()
	if got, want := preset(), of(fd); got != want || got == "" {
		t.Errorf("the default is %q, and a socket has %q", got, want)
	}
}

// plain is a descriptor as a RawConn.
type plain int

func (p plain) Control(f func(uintptr)) error         { f(uintptr(p)); return nil }
func (p plain) Read(func(uintptr) (done bool)) error  { return syscall.ENOSYS }
func (p plain) Write(func(uintptr) (done bool)) error { return syscall.ENOSYS }

func raw(t *testing.T, c syscall.Conn) syscall.RawConn {
	t.Helper()
	r, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func on(t *testing.T, r syscall.RawConn, f func(fd int)) {
	t.Helper()
	if err := r.Control(func(fd uintptr) { f(int(fd)) }); err != nil {
		t.Fatal(err)
	}
}

// choose sets what a socket has, where this kernel knows it and lets the test have it.
func choose(t *testing.T, r syscall.RawConn, name string) {
	t.Helper()
	on(t, r, func(fd int) {
		if err := unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, name); err != nil {
			t.Skipf("this kernel does not offer %s: %v", name, err)
		}
	})
}
