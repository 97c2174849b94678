package listener

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"

	"github.com/pingora-proxy/pingora-proxy/dataplane/listener/door"
)

// A Role is what a listening socket is for: several may be configured with one address, where its port is 0.
type Role string

// The roles.
const (
	Services Role = "services"
	Admin    Role = "admin"
	Metrics  Role = "metrics"
)

// A Socket is a listening socket on its way between two processes.
type Socket struct {
	Role    Role
	Address string // as the configuration spells it that it was opened for; empty: nobody knows
	Kept    bool   // somebody keeps it open beside the proxy, as systemd does
	FD      int    // belongs to whoever holds the Socket
}

// Close closes the descriptor.
func (s *Socket) Close() { _ = unix.Close(s.FD) }

// Sockets are listening sockets that the process did not open itself: the process before it has handed them over, or
// systemd has passed them. A listener takes the one of its address instead of binding it: the kernel's queue of
// connections goes on, whoever accepts from it.
//
// A nil *Sockets holds none.
type Sockets struct {
	mu    sync.Mutex
	all   []*passed
	owned atomic.Bool
}

// passed is one of Sockets.
type passed struct {
	Socket
	number int // in the list of NewSockets
	bound  netip.AddrPort
	taken  bool
}

// NewSockets makes them of sockets, whose descriptors are its own from now on. Those that are not listening TCP sockets are
// closed, and named in the errors.
func NewSockets(sockets []Socket) (*Sockets, []error) {
	s := &Sockets{}
	var refused []error
	for i, one := range sockets {
		bound, err := inspect(one.FD)
		if err != nil {
			refused = append(refused, fmt.Errorf("descriptor %d (%s): %w", one.FD, one.Address, err))
			one.Close()
			continue
		}
		s.all = append(s.all, &passed{Socket: one, number: i, bound: bound})
	}
	return s, refused
}

// inspect returns the address that a listening TCP socket is bound to.
func inspect(fd int) (netip.AddrPort, error) {
	accepts, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("is no socket: %w", err)
	}
	protocol, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err != nil || protocol != unix.IPPROTO_TCP && protocol != unix.IPPROTO_MPTCP || accepts == 0 {
		return netip.AddrPort{}, errors.New("is no TCP socket that listens")
	}
	address, err := syscall.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if at := door.AddressOf(address); at.IsValid() {
		return at, nil
	}
	return netip.AddrPort{}, errors.New("is no TCP socket that listens")
}

// Take returns the sockets of an address, host:port, for a role; there are several where they share it (SO_REUSEPORT). kept
// says that they stay open beside the caller's. None: nobody has passed one, or it was taken and is not kept.
func (s *Sockets) Take(role Role, address string) (sockets []*net.TCPListener, kept bool, err error) {
	if s == nil {
		return nil, false, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.find(func(p *passed) bool { return p.Role == role && p.Address == address && address != "" })
	if len(found) == 0 {
		found = s.find(func(p *passed) bool { return fits(p.bound, address) })
	}
	for _, p := range found {
		ln, err := adopt(p.FD)
		if err != nil {
			for _, other := range sockets {
				_ = other.Close()
			}
			return nil, false, fmt.Errorf("the socket that was passed for %s: %w", address, err)
		}
		sockets, kept = append(sockets, ln), p.Kept
	}
	for _, p := range found {
		p.taken = true
		if !p.Kept {
			p.Close() // what was adopted is a copy
		}
	}
	return sockets, kept, nil
}

// find lists the sockets that can be had and fit. The first one decides whether they are kept ones. The caller holds s.mu.
func (s *Sockets) find(fit func(*passed) bool) (found []*passed) {
	for _, p := range s.all {
		if (p.Kept || !p.taken) && fit(p) && (len(found) == 0 || found[0].Kept == p.Kept) {
			found = append(found, p)
		}
	}
	return found
}

// fits says whether a socket is bound to what an address asks for. Port 0 asks for any, which a bound one cannot tell.
func fits(bound netip.AddrPort, address string) bool {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "0" || port != strconv.Itoa(int(bound.Port())) {
		return false
	}
	if host == "" { // both families, or IPv4 where there is no IPv6
		return bound.Addr().IsUnspecified()
	}
	wanted, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	if zone := wanted.Zone(); zone != "" {
		if link, err := net.InterfaceByName(zone); err == nil {
			wanted = wanted.WithZone(strconv.Itoa(link.Index))
		}
	}
	return wanted == bound.Addr()
}

// adopt makes a listener of a copy of a socket.
func adopt(fd int) (*net.TCPListener, error) {
	again, err := duplicate(uintptr(fd))
	if err != nil {
		return nil, err
	}
	// Others accept on the same socket, and whether it blocks is a matter of all: it must not, not even for a moment.
	if err := unix.SetNonblock(again, true); err != nil {
		_ = unix.Close(again)
		return nil, err
	}
	f := os.NewFile(uintptr(again), "listener")
	defer f.Close()
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		_ = ln.Close()
		return nil, errors.New("is no TCP socket")
	}
	return tcp, nil
}

func duplicate(fd uintptr) (int, error) { return unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }

// Duplicate returns a copy of a listening socket's descriptor, for another process. It is of the same socket: both accept
// from one queue.
func Duplicate(ln syscall.Conn) (fd int, err error) {
	raw, err := ln.SyscallConn()
	if err != nil {
		return 0, err
	}
	if controlErr := raw.Control(func(own uintptr) { fd, err = duplicate(own) }); controlErr != nil {
		return 0, controlErr
	}
	return fd, err
}

// Offer returns copies of the kept sockets, for the next process, whether they are used or not.
func (s *Sockets) Offer() ([]Socket, error) {
	if s == nil {
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Socket
	for _, p := range s.all {
		if !p.Kept {
			continue
		}
		fd, err := duplicate(uintptr(p.FD))
		if err != nil {
			for _, o := range out {
				o.Close()
			}
			return nil, err
		}
		out = append(out, Socket{Role: p.Role, Address: p.Address, Kept: true, FD: fd})
	}
	return out, nil
}

// Taken returns how many sockets listeners have.
func (s *Sockets) Taken() (n int) {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.all {
		if p.taken {
			n++
		}
	}
	return n
}

// Settle closes what nobody has taken but the kept ones, and returns the places that those had in the list of NewSockets.
func (s *Sockets) Settle() (left []int) {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	rest := s.all[:0]
	for _, p := range s.all {
		switch {
		case p.Kept:
			rest = append(rest, p)
		case !p.taken:
			p.Close()
			left = append(left, p.number)
		}
	}
	s.all = rest
	return left
}

// Own says that the process that has handed sockets over has let go of them: who closes one now is the last.
func (s *Sockets) Own() {
	if s != nil {
		s.owned.Store(true)
	}
}

// Close closes all that nobody has taken, and the process's copies of the kept ones.
func (s *Sockets) Close() {
	if s == nil {
		return
	}
	s.Settle()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.all {
		p.Close()
	}
	s.all = nil
}

// Unused lists the addresses of kept sockets that nobody has taken: connections to them wait for ever.
func (s *Sockets) Unused() (addresses []string) {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.all {
		if p.Kept && !p.taken {
			addresses = append(addresses, p.bound.String())
		}
	}
	return addresses
}

// inTheWay names a kept socket that may be why an address cannot be bound; empty: there is none.
func (s *Sockets) inTheWay(address string) string {
	_, port, _ := net.SplitHostPort(address)
	for _, unused := range s.Unused() {
		if _, other, _ := net.SplitHostPort(unused); other == port {
			return unused
		}
	}
	return ""
}

// A Bound address is one that connections can be accepted on.
type Bound struct {
	Sockets []*net.TCPListener // several where they share the address (SO_REUSEPORT)
	Passed  bool               // they were not opened here
	Kept    bool               // somebody keeps them open beside the proxy
	owned   *atomic.Bool
}

// Shared says that another process holds the sockets, too: what they have queued is not lost with a close.
func (b *Bound) Shared() bool { return b.Kept || b.Passed && !b.owned.Load() }

// Listen returns what was passed for an address, or binds it now.
func (s *Sockets) Listen(ctx context.Context, role Role, network, address string, config net.ListenConfig) (*Bound, error) {
	passed, kept, err := s.Take(role, address)
	if err != nil {
		return nil, err
	}
	if len(passed) > 0 {
		return &Bound{Sockets: passed, Passed: true, Kept: kept, owned: &s.owned}, nil
	}
	ln, err := config.Listen(ctx, network, address)
	if err != nil {
		if other := s.inTheWay(address); other != "" && errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("%w: a socket for %s was passed to this process; the addresses must be the same", err, other)
		}
		return nil, err
	}
	return &Bound{Sockets: []*net.TCPListener{ln.(*net.TCPListener)}}, nil
}

// Open is the function Open for a process that was passed sockets.
func (s *Sockets) Open(ctx context.Context, address string, gate *Gate, log logr.Logger) (*Listener, error) {
	network := "tcp"
	if host, _, err := net.SplitHostPort(address); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	} else if ip, err := netip.ParseAddr(host); err == nil && ip.Is4() {
		network = "tcp4"
	}
	config := net.ListenConfig{}
	config.SetMultipathTCP(false) // Go's default; ignoreNew, and splice on what is accepted, need plain TCP
	bound, err := s.Listen(ctx, Services, network, address, config)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	l := &Listener{address: address, bound: bound, gate: gate, log: log.WithValues("address", address), leaving: make(chan struct{}), done: make(chan struct{})}
	owner := door.Nobody
	switch {
	case bound.Kept:
		owner = door.Keeper
	case bound.Passed:
		owner = door.Predecessor
	}
	for _, ln := range bound.Sockets {
		d, doorErr := door.New(ln, owner)
		if doorErr != nil {
			err = fmt.Errorf("listen on %s: %w", address, doorErr)
			continue // the others are closed all the same
		}
		l.doors = append(l.doors, d)
	}
	if err != nil {
		for _, d := range l.doors {
			d.Close()
		}
		return nil, err
	}
	return l, nil
}
