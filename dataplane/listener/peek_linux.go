package listener

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// peek waits until a connection begins with what size understands, and returns that without taking it out of the socket.
// size is called with what has come so far; it returns how long the whole will be, as far as that can be told, or 0. A
// client that closes before is io.EOF or io.ErrUnexpectedEOF; it waits no longer than ctx.
func peek(ctx context.Context, tcp *net.TCPConn, size func([]byte) (int, error)) ([]byte, error) {
	if end, ok := ctx.Deadline(); ok {
		_ = tcp.SetReadDeadline(end)
	}
	stop := context.AfterFunc(ctx, func() { _ = tcp.SetReadDeadline(time.Unix(1, 0)) })
	defer func() {
		if stop() {
			_ = tcp.SetReadDeadline(time.Time{})
		}
	}()
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	seen := make([]byte, 256) // most are shorter
	whole, gone := 0, false
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		for {
			var n int
			n, _, failed = unix.Recvfrom(int(fd), seen, unix.MSG_PEEK|unix.MSG_DONTWAIT)
			switch {
			case errors.Is(failed, unix.EINTR):
				continue
			case errors.Is(failed, unix.EAGAIN):
				return false
			case failed != nil:
				return true
			case n == 0:
				failed = io.EOF
				return true
			}
			whole, failed = size(seen[:n])
			switch {
			case failed != nil || whole > 0 && whole <= n:
				return true
			case n == len(seen): // there may be more
				seen = make([]byte, max(2*len(seen), whole))
			case gone:
				failed = io.ErrUnexpectedEOF
				return true
			case hungUp(fd):
				gone = true // what came since the look counts
			default:
				return false // the rest is on its way
			}
		}
	})
	if err = errors.Join(failed, err); err != nil {
		return nil, err
	}
	return seen[:whole], nil
}

// hungUp reports whether the peer sends no more. A look at what lies there cannot tell while something does.
func hungUp(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
}
