package wire

import (
	"errors"
	"net"
	"syscall"
)

// A TCP is a connection without anything around it, whose bytes the kernel can move: a *net.TCPConn, or a socket of
// package loop.
type TCP interface {
	net.Conn
	syscall.Conn
	SetLinger(seconds int) error
	CloseWrite() error
}

// Watched is a TCP of which somebody is told when something arrives.
type Watched interface {
	TCP
	// Quiet reports that nothing has arrived since it was last read. It may be wrong the other way round.
	Quiet() bool
}

// A Spliceable is a body of known length that arrives on plain TCP, so that the kernel can move it. It is the side of a
// splice that is read from.
type Spliceable interface {
	Side
	// Plain returns the connection and the bytes that are still to come on it, or nil where it cannot be spliced now.
	Plain() (TCP, int64)
	// Failed notes that reading failed, and returns the error to pass on.
	Failed(err error) error
}

// ErrCanceled is what reading a canceled body returns.
var ErrCanceled = errors.New("the rest of the body is not wanted any more")

// A Cancelable body stops waiting for its sender when it is told to. Renew takes that back, for another attempt.
type Cancelable interface {
	Cancel()
	Renew()
}

// A Client is the client's side of an exchange, as far as the endpoint's side needs it while it waits.
type Client interface {
	// Attach says which timer's owner is to be woken when the client is cut off; nil when there is none any more.
	Attach(t *Timer)
	// Aborted reports whether the client was cut off.
	Aborted() bool
}

// A Persistent tunnel's writes do not survive a deadline that cuts them short, as over TLS. It asks again whether that
// was meant, and goes on where it was not.
type Persistent interface {
	Persist(again func() bool)
}
