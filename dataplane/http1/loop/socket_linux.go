package loop

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
)

// A Socket is a TCP connection of a Loop, a net.Conn. Only the coroutine that serves it, or the one whose client it
// Follows, may read and write; Close and SetDeadline may be called from anywhere.
type Socket struct {
	loop    *Loop
	fd      int
	place   int32 // among loop.sockets; 0: none yet
	remote  netip.AddrPort
	serve   func()   // of a client's: called when there is something to read
	lookout *Lookout // whose it is; nil: a connection's
	listed  bool     // in loop.fresh

	ready   atomic.Uint32
	overdue atomic.Bool // its deadline has passed
	closed  atomic.Bool
	lost    atomic.Bool // it cannot be watched

	task   *task // of a client's: what serves it now. Of another: that of its client
	waiter *task // what waits for it to become ready
	wants  uint32
}

// Adopt makes a Socket of a connection, which must not be used any more. Start begins to serve it.
func (l *Loop) Adopt(tcp *net.TCPConn) (*Socket, error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &Socket{loop: l, fd: -1}
	if remote, ok := tcp.RemoteAddr().(*net.TCPAddr); ok {
		s.remote = remote.AddrPort()
	}
	if ctlErr := raw.Control(func(fd uintptr) {
		s.fd, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	}); ctlErr != nil {
		err = ctlErr
	}
	if err != nil {
		return nil, fmt.Errorf("take over the connection: %w", err)
	}
	_ = tcp.Close()
	return s, nil
}

// Take makes a Socket of a connection that Go's poller knows nothing of, and that does not block. The descriptor is its own.
func (l *Loop) Take(fd int, remote netip.AddrPort) *Socket {
	return &Socket{loop: l, fd: fd, remote: remote}
}

// Start begins to serve the connection. serve is called, as a coroutine, now, and whenever there may be something to read, or a
// deadline has passed; not again before it has returned. It is nil for a connection that Follows another.
func (s *Socket) Start(serve func()) {
	s.loop.post(post{kind: postAdd, socket: s, serve: serve})
}

// Loop is what serves the Socket.
func (s *Socket) Loop() *Loop { return s.loop }

// FD is the descriptor, for calls that do not wait.
func (s *Socket) FD() int { return s.fd }

// Follow says that what serves client uses s from now on.
func (s *Socket) Follow(client *Socket) { s.task = client.task }

// Lost reports that the system cannot tell any more what happens to the connection: it is to be closed.
func (s *Socket) Lost() bool { return s.lost.Load() }

// Quiet reports that nothing has arrived since the last wait for it ended, as far as the Loop was told. It may be wrong the
// other way round.
func (s *Socket) Quiet() bool { return s.ready.Load()&(readable|hungUp) == 0 }

// HungUp reports whether the peer is known to send no more.
func (s *Socket) HungUp() bool { return s.ready.Load()&hungUp != 0 }

// Overdue reports whether a deadline has passed that was not taken back.
func (s *Socket) Overdue() bool { return s.overdue.Load() }

// Again has serve called once more, when others have had their turn.
func (s *Socket) Again() { s.ready.Or(readable) }

// Leave says that what serves s may wait for something other than Sockets from now on, until it has returned: it goes on
// without holding others up.
func (s *Socket) Leave() {
	if t := s.task; !t.away {
		t.wants, t.on, t.leave = 0, nil, true
		t.yield(struct{}{})
	}
}

// Detach takes the connection out of the Loop: the Socket is closed, and the connection is not. It is called by what
// serves s, which returns then.
func (s *Socket) Detach() *wire.Unpolled {
	s.closed.Store(true)
	_ = unix.EpollCtl(s.loop.epoll, unix.EPOLL_CTL_DEL, s.fd, nil)
	left := wire.NewUnpolled(s.fd)
	s.fd = -1
	s.loop.post(post{kind: postRemove, socket: s})
	return left
}

// Read implements net.Conn.
func (s *Socket) Read(p []byte) (n int, err error) {
	waited := (*raw)(s).Read(func(fd uintptr) bool {
		for {
			n, err = wire.Recv(int(fd), p)
			if err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	})
	switch {
	case waited != nil:
		return 0, waited
	case err != nil:
		return 0, os.NewSyscallError("recv", err)
	case n == 0 && len(p) > 0:
		return 0, io.EOF
	}
	return n, nil
}

// Write implements net.Conn. Who writes often has a wire.Writer of its own.
func (s *Socket) Write(p []byte) (int, error) { return wire.NewWriter((*raw)(s)).Write(p) }

// Close implements net.Conn.
func (s *Socket) Close() error {
	if s.closed.Swap(true) {
		return net.ErrClosed
	}
	s.loop.post(post{kind: postRemove, socket: s})
	return nil
}

// CloseWrite ends what is sent.
func (s *Socket) CloseWrite() error {
	return os.NewSyscallError("shutdown", unix.Shutdown(s.fd, unix.SHUT_WR))
}

// SetLinger is that of net.TCPConn: 0 has Close reset the connection.
func (s *Socket) SetLinger(seconds int) error {
	linger := unix.Linger{Onoff: 1, Linger: int32(seconds)}
	if seconds < 0 {
		linger = unix.Linger{}
	}
	return os.NewSyscallError("setsockopt", unix.SetsockoptLinger(s.fd, unix.SOL_SOCKET, unix.SO_LINGER, &linger))
}

// LocalAddr implements net.Conn. It is not known.
func (s *Socket) LocalAddr() net.Addr { return nil }

// RemoteAddr implements net.Conn.
func (s *Socket) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(s.remote) }

// SetDeadline takes a time that has passed, which ends what waits for the Socket now and later with
// os.ErrDeadlineExceeded, or the zero time, which takes that back. Any other is os.ErrNoDeadline.
func (s *Socket) SetDeadline(t time.Time) error {
	switch {
	case t.IsZero():
		s.overdue.Store(false)
	case time.Until(t) <= 0:
		s.overdue.Store(true)
		s.loop.post(post{kind: postKick, socket: s})
	default:
		return os.ErrNoDeadline
	}
	return nil
}

// SetReadDeadline is SetDeadline.
func (s *Socket) SetReadDeadline(t time.Time) error { return s.SetDeadline(t) }

// SetWriteDeadline is SetDeadline.
func (s *Socket) SetWriteDeadline(t time.Time) error { return s.SetDeadline(t) }

// SyscallConn is that of net.TCPConn.
func (s *Socket) SyscallConn() (syscall.RawConn, error) { return (*raw)(s), nil }

// raw is a Socket as a syscall.RawConn.
type raw Socket

// Control implements syscall.RawConn.
func (r *raw) Control(f func(fd uintptr)) error {
	if r.closed.Load() {
		return net.ErrClosed
	}
	f(uintptr(r.fd))
	return nil
}

// Read implements syscall.RawConn.
func (r *raw) Read(f func(fd uintptr) bool) error { return r.until(f, readable) }

// Write implements syscall.RawConn.
func (r *raw) Write(f func(fd uintptr) bool) error { return r.until(f, writable) }

func (r *raw) until(f func(fd uintptr) bool, wants uint32) error {
	for {
		switch {
		case r.closed.Load(), r.lost.Load():
			return net.ErrClosed
		case r.overdue.Load():
			return os.ErrDeadlineExceeded
		case f(uintptr(r.fd)):
			return nil
		}
		r.task.await((*Socket)(r), wants)
	}
}
