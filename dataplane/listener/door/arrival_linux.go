package door

import (
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
)

// An Arrival is a connection that was accepted. It does not block, and has the options that clients' connections have.
type Arrival struct {
	Ends
	FD   int            // belongs to whoever has the Arrival
	left *wire.Unpolled // of FD, once it was tried to make a net.TCPConn of it
}

// Ends are the addresses of a connection.
type Ends struct{ Remote, Local netip.AddrPort }

// Conn makes a net.TCPConn of an Arrival, whose descriptor is closed then. It may be called again where it fails: there may
// be no descriptor for the copy that package net makes on the way.
func (a *Arrival) Conn() (*net.TCPConn, error) {
	if a.left == nil {
		a.left = wire.NewUnpolled(a.FD)
	}
	tcp, err := a.left.Conn()
	if err != nil {
		return nil, err
	}
	// Package net has given it probes as it sees fit.
	_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount})
	return tcp, nil
}

// Reset closes the connection at once.
func (a *Arrival) Reset() {
	_ = unix.SetsockoptLinger(a.FD, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	if a.left != nil {
		a.left.Close()
		return
	}
	_ = unix.Close(a.FD)
}

// acceptOne is accept4(2). unix.Accept4 also asks each connection for its protocol.
//
// The socket does not block, so Go's scheduler need not be told of the call: telling it keeps a thread of the runtime awake,
// 9 % of the samples of a profile (perf, a new connection a request). shared says that a program that is not this one has the
// socket, too, and can make it one that blocks; then it is told, or everything would stand still.
func acceptOne(fd int, shared bool) (own int, remote netip.AddrPort, errno syscall.Errno) {
	var from syscall.RawSockaddrInet6 // the larger of the two
	size := uint32(unsafe.Sizeof(from))
	// unsafe: the kernel writes into from and size, which stay alive because the pointers are made in the call itself.
	const flags = unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	var got uintptr
	if shared {
		got, _, errno = syscall.Syscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&from)), uintptr(unsafe.Pointer(&size)), flags, 0, 0)
	} else {
		got, _, errno = syscall.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&from)), uintptr(unsafe.Pointer(&size)), flags, 0, 0)
	}
	if errno != 0 {
		return -1, remote, errno
	}
	// The port comes in the byte order of the network.
	port := (*[2]byte)(unsafe.Pointer(&from.Port))
	at := uint16(port[0])<<8 | uint16(port[1])
	if from.Family == unix.AF_INET {
		v4 := (*syscall.RawSockaddrInet4)(unsafe.Pointer(&from))
		return int(got), netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), at), 0
	}
	return int(got), named(withZone(netip.AddrFrom16(from.Addr), from.Scope_id, at)), 0
}

// AddressOf returns an address as package net has it, with the number of its zone: one of IPv4 on a socket of IPv6 stays
// one of IPv6. It is not valid where s has none.
func AddressOf(s syscall.Sockaddr) netip.AddrPort {
	switch a := s.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *syscall.SockaddrInet6:
		return withZone(netip.AddrFrom16(a.Addr), a.ZoneId, uint16(a.Port))
	}
	return netip.AddrPort{}
}

func withZone(ip netip.Addr, zone uint32, port uint16) netip.AddrPort {
	if zone != 0 {
		ip = ip.WithZone(strconv.FormatUint(uint64(zone), 10))
	}
	return netip.AddrPortFrom(ip, port)
}

// named gives the zone of an address its name, as package net does.
func named(at netip.AddrPort) netip.AddrPort {
	if at.Addr().Zone() == "" {
		return at
	}
	if index, err := strconv.Atoi(at.Addr().Zone()); err == nil {
		if link, err := net.InterfaceByIndex(index); err == nil {
			return netip.AddrPortFrom(at.Addr().WithZone(link.Name), at.Port())
		}
	}
	return at
}
