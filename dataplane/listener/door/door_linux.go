package door

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pingora-proxy/pingora-proxy/dataplane/congestion"
)

// A Door is a listening socket.
//
// It is not a net.TCPListener: that one registers what it accepts with Go's poller and sets its options one by one, which
// takes ten system calls more for a connection that a Loop serves (strace -c, a new connection a request).
type Door struct {
	file     *os.File
	raw      syscall.RawConn // of file
	address  netip.AddrPort
	anywhere bool            // the address is a wildcard: what is accepted has another one
	pace     congestion.Pace // what connections to other machines get back
	shared   bool            // with a program that may not be this one
	closed   atomic.Bool
}

// An Owner is who has a listening socket beside this process.
type Owner uint8

// The owners.
const (
	Nobody      Owner = iota
	Predecessor       // the process that has handed it over
	Keeper            // somebody who keeps it, and has chosen its congestion control
)

// New takes the socket out of a net.TCPListener, which is closed.
func New(ln *net.TCPListener, owner Owner) (*Door, error) {
	address, _ := ln.Addr().(*net.TCPAddr)
	file, err := ln.File() // a copy
	_ = ln.Close()
	if err != nil {
		return nil, err
	}
	raw, err := file.SyscallConn()
	if err == nil {
		err = raw.Control(setOptions)
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	d := &Door{file: file, raw: raw, address: address.AddrPort(), anywhere: address.IP.IsUnspecified(), shared: owner == Keeper}
	if owner != Keeper {
		d.pace = congestion.Listening(raw, owner == Predecessor)
	}
	return d, nil
}

// Keep-alive probes find clients that vanished; the idle time-out would, too, but not in a tunnel that may be silent.
const (
	keepAliveIdle     = time.Minute
	keepAliveInterval = 15 * time.Second
	keepAliveCount    = 4
)

// unsent is how many bytes the kernel takes of a response beyond those that are on their way to the client, as its window lets
// them. Otherwise it takes some megabytes from each client that does not read (tcp_wmem), and when all of them together are too
// many it gives back room to others now and then, who seem to read then.
const unsent = 512 << 10

// setOptions gives a listening socket the options that its connections are to have: they inherit them. Whatever does not
// work is no loss but for what it is there for.
func setOptions(fd uintptr) {
	_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(keepAliveIdle/time.Second))
	_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(keepAliveInterval/time.Second))
	_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepAliveCount)
	_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent)
}

// Address is the address that is bound.
func (d *Door) Address() netip.AddrPort { return d.address }

// SyscallConn implements syscall.Conn.
func (d *Door) SyscallConn() (syscall.RawConn, error) { return d.raw, nil }

// Close closes the socket. What is queued is reset, unless another process has the socket as well.
func (d *Door) Close() {
	d.closed.Store(true)
	_ = d.file.Close()
}

// Until ends Await at a time.
func (d *Door) Until(t time.Time) { _ = d.file.SetReadDeadline(t) }

// atOnce is how many connections are accepted until others may have the processor, or the time is looked at.
const atOnce = 64

// Await gives take what is queued, and waits until there is something. over says that the time of Until has come, or the
// Door was closed; err is why accepting failed.
func (d *Door) Await(take func(*Arrival)) (over bool, err error) {
	ended := d.raw.Read(func(fd uintptr) bool {
		var n int
		n, err = d.accept(int(fd), take)
		return n > 0 || err != nil
	})
	over = errors.Is(ended, os.ErrDeadlineExceeded) || ended != nil && d.closed.Load() // package os does not say os.ErrClosed here
	if err == nil && !over {
		err = ended
	}
	return over, err
}

// Rest gives take all that is queued, and does not wait.
func (d *Door) Rest(take func(*Arrival)) {
	for more, err := true, error(nil); more && err == nil; {
		more, err = d.Accept(take)
	}
}

// Accept gives take what is queued, and does not wait. more says that there may be more.
func (d *Door) Accept(take func(*Arrival)) (more bool, err error) {
	n := 0
	if ended := d.raw.Control(func(fd uintptr) { n, err = d.accept(int(fd), take) }); ended != nil {
		err = ended
	}
	return n == atOnce, err
}

// accept gives take what is queued, up to atOnce, and says how many that were.
func (d *Door) accept(fd int, take func(*Arrival)) (n int, err error) {
	for n < atOnce { // beyond that there may be more: who waits is told only of what comes
		own, remote, errno := acceptOne(fd, d.shared)
		switch errno {
		case 0:
		case unix.EINTR, unix.ECONNABORTED:
			continue
		case unix.EAGAIN:
			return n, nil
		default:
			return n, os.NewSyscallError("accept4", errno)
		}
		n++
		a := &Arrival{FD: own, Ends: Ends{Remote: remote, Local: d.address}}
		if d.anywhere {
			at, _ := syscall.Getsockname(own) // has an address as long as it is open
			a.Local = named(AddressOf(at))
		}
		d.pace.Accepted(own, remote.Addr())
		take(a)
	}
	return n, nil
}
