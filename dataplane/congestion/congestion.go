package congestion

import (
	"net/netip"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// unpaced is the congestion control that every kernel has and lets every process choose.
const unpaced = "reno"

// paces reports whether a congestion control sends by a timer.
func paces(name string) bool { return strings.HasPrefix(name, "bbr") }

// preset is what sockets of this network namespace have when they are made; empty where the kernel does not tell, or would
// not let this process choose it again for a socket.
func preset() string {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer func() { _ = unix.Close(fd) }()
	usual := of(fd)
	if set(fd, usual) != nil {
		return ""
	}
	return usual
}

func of(fd int) string {
	name, err := unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION)
	if err != nil {
		return ""
	}
	return name
}

func set(fd int, name string) error {
	return unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, name)
}

// Pace is the congestion control that connections to other machines get back; empty: nothing was taken from them.
type Pace string

// Listening takes pacing from a listening socket, and so from the connections that it accepts: from one that is established
// it cannot be taken any more. It leaves a congestion control alone that somebody chose for this very socket. passed says that
// the process before this one has handed the socket over, and may have taken its pace.
func Listening(socket syscall.RawConn, passed bool) Pace { return listening(socket, passed, preset()) }

func listening(socket syscall.RawConn, passed bool, usual string) (p Pace) {
	if usual == "" {
		return ""
	}
	_ = socket.Control(func(fd uintptr) {
		now := of(int(fd))
		if passed && now == unpaced && set(int(fd), usual) == nil { // the kernel's default may be another one than it was then
			now = usual
		}
		if now == usual && paces(usual) && set(int(fd), unpaced) == nil {
			p = Pace(usual)
		}
	})
	return p
}

// Accepted gives a connection of such a socket its pace back, unless remote is on this machine.
func (p Pace) Accepted(fd int, remote netip.Addr) {
	if p != "" && !remote.Unmap().IsLoopback() {
		_ = set(fd, string(p))
	}
}

// Dialing is a net.Dialer's Control for connections to this machine: it takes their pace before they are established.
func Dialing(_, _ string, socket syscall.RawConn) error {
	return socket.Control(func(fd uintptr) {
		if paces(of(int(fd))) {
			_ = set(int(fd), unpaced)
		}
	})
}
