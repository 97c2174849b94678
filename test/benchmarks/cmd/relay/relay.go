package main

import (
	"errors"

	"golang.org/x/sys/unix"
)

const (
	// bufferSize is the most that is received at a time.
	bufferSize = 64 << 10
	// events is the most that one wait returns.
	events = 256
	// wanted are what a socket wakes for: once for each change, without being asked again.
	wanted = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET
)

// A relay joins each client's connection with one of its own to the origin.
type relay struct {
	origin          *unix.SockaddrInet4
	epoll, listener int
	ends            []*end // by file descriptor
	buffer          [bufferSize]byte
	events          [events]unix.EpollEvent
}

// An end is one of the two sockets of a pair.
type end struct {
	fd   int
	peer *end
	// rest was received from the peer, and waits until this socket takes it. Meanwhile nothing is received from the peer.
	rest []byte
	// ending is true when the end of what comes from this socket is there, ended when it has been received, and finished
	// when nothing is sent to this socket any more.
	ending, ended, finished bool
}

func newRelay(listen, origin string) (*relay, error) {
	from, err := address(listen)
	if err != nil {
		return nil, err
	}
	to, err := address(origin)
	if err != nil {
		return nil, err
	}
	r := &relay{origin: to}
	if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	if r.listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, err
	}
	if err := errors.Join(
		unix.SetsockoptInt(r.listener, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.Bind(r.listener, from),
		unix.Listen(r.listener, 65535),
	); err != nil {
		return nil, err
	}
	return r, unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, r.listener, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(r.listener)})
}

// turn waits once and handles what has happened.
func (r *relay) turn() error {
	n, errno := epollWait(r.epoll, r.events[:])
	if errno != 0 && errno != unix.EINTR {
		return errno
	}
	for _, event := range r.events[:n] {
		if int(event.Fd) == r.listener {
			if err := r.accept(); err != nil {
				return err
			}
			continue
		}
		// An event of a socket that was closed in this turn has no end any more. Or it meets one with the same number
		// that was opened since, which does it no harm: it finds nothing to do.
		e := r.ends[event.Fd]
		if e == nil {
			continue
		}
		e.ending = e.ending || event.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0
		if !r.flush(e) || !r.pass(e) {
			r.close(e)
		}
	}
	return nil
}

// accept takes one client and connects it to the origin; the loopback makes that a matter of microseconds.
func (r *relay) accept() error {
	client, _, err := unix.Accept4(r.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ECONNABORTED), errors.Is(err, unix.EINTR):
		return nil
	case err != nil:
		return err
	}
	server, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return errors.Join(err, unix.Close(client))
	}
	if unix.Connect(server, r.origin) != nil { // the client sees it: its connection ends
		return errors.Join(unix.Close(client), unix.Close(server))
	}
	a, b := &end{fd: client}, &end{fd: server}
	a.peer, b.peer = b, a
	err = unix.SetNonblock(server, true)
	for _, e := range []*end{a, b} {
		for len(r.ends) <= e.fd {
			r.ends = append(r.ends, nil)
		}
		r.ends[e.fd] = e
		err = errors.Join(
			err,
			unix.SetsockoptInt(e.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
			unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, e.fd, &unix.EpollEvent{Events: wanted, Fd: int32(e.fd)}),
		)
	}
	return err
}

// flush sends what waits for a socket, and when that is all gone, goes on with what its peer has to say. It returns
// false when the pair is to be closed.
func (r *relay) flush(e *end) bool {
	if len(e.rest) == 0 {
		return true
	}
	n, errno := send(e.fd, e.rest)
	if errno != 0 && errno != unix.EAGAIN {
		return false
	}
	e.rest = e.rest[:copy(e.rest, e.rest[n:])]
	return len(e.rest) > 0 || r.pass(e.peer)
}

// pass receives from a socket and sends to its peer, until there is no more or the peer takes no more. It returns false
// when the pair is to be closed.
func (r *relay) pass(e *end) bool {
	to := e.peer
	for !e.ended && len(to.rest) == 0 {
		n, errno := receive(e.fd, r.buffer[:])
		switch {
		case errno == unix.EAGAIN:
			return true
		case errno != 0:
			return false
		case n == 0:
			e.ended = true
			continue
		}
		sent, errno := send(to.fd, r.buffer[:n])
		if errno != 0 && errno != unix.EAGAIN {
			return false
		}
		to.rest = append(to.rest, r.buffer[sent:n]...)
		if n < len(r.buffer) && sent == n && !e.ending { // that was all; what comes now makes another edge
			return true
		}
	}
	if e.ended && len(to.rest) == 0 && !to.finished {
		to.finished = true
		if unix.Shutdown(to.fd, unix.SHUT_WR) != nil {
			return false
		}
	}
	return !e.finished || !to.finished
}

// close ends a pair. What the sockets still have to say about it helps nobody.
func (r *relay) close(e *end) {
	for _, fd := range []int{e.fd, e.peer.fd} {
		r.ends[fd] = nil
		_ = unix.Close(fd)
	}
}
