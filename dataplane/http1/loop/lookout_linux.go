package loop

import (
	"golang.org/x/sys/unix"

	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
)

// A Lookout watches a listening socket.
type Lookout struct {
	socket *Socket
	accept func() (more bool)
	opened chan error
	closed chan struct{}
}

// Lookout has accept called, by the goroutine of the Loop, when a connection may be queued at a listening socket that does
// not block, and again for as long as it says that there may be more. What it starts on the same Loop is served without a
// switch to another goroutine, which was 13 % of the samples of a profile (perf, a new connection a request).
func (l *Loop) Lookout(fd int, accept func() (more bool)) (*Lookout, error) {
	o := &Lookout{accept: accept, opened: make(chan error, 1), closed: make(chan struct{})}
	o.socket = &Socket{loop: l, fd: fd, lookout: o}
	l.post(post{kind: postAdd, socket: o.socket})
	if err := <-o.opened; err != nil {
		return nil, err
	}
	return o, nil
}

// Close returns when accept is called no more. It is called once. The descriptor stays open.
func (o *Lookout) Close() {
	o.socket.closed.Store(true)
	o.socket.loop.post(post{kind: postRemove, socket: o.socket})
	<-o.closed
}

// release lets go of the descriptor of a Socket that was closed. That of a Lookout is somebody else's, who goes on with it.
func (s *Socket) release() {
	if s.lookout != nil {
		_ = unix.EpollCtl(s.loop.epoll, unix.EPOLL_CTL_DEL, s.fd, nil)
		close(s.lookout.closed)
	} else {
		wire.Close(s.fd)
	}
	s.fd = -1
}
