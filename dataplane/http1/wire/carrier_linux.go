package wire

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// A Carrier is the TCP connection below TLS. It keeps from crypto/tls what that does not survive, or cannot do:
//   - A write that a deadline cuts short ends a TLS connection for good. Deadlines here also wake up, so a Carrier goes on
//     writing where its Owner says that one was not meant for it.
//   - Whether something is there to be read cannot be asked of a TLS connection. Receive can, so that a connection holds
//     no buffers while it waits.
//   - While its descriptor is held, it is written to with Send.
type Carrier struct {
	*net.TCPConn
	Owner interface {
		// Again reports whether a write that met a deadline shall go on.
		Again() bool
	}
	// Strict makes an end of stream that nobody announced inside TLS ErrTorn. Without it crypto/tls believes
	// one between two records, which anybody on the way can make.
	Strict bool
	fd     int // of the socket while Receive runs, else -1
	put    *Writer
	held   int  // the same, while Hold says so
	empty  bool // the last Recv has left nothing
	rest   bool // while ReceiveRest runs
	around *waiting
}

// waiting is what is called around each Read.
type waiting struct {
	before func()
	after  func() error
}

// Around has before called when Read may begin to wait, and after when it does not any more, whose error is then Read's. It is
// nil, nil for neither.
func (c *Carrier) Around(before func(), after func() error) {
	if before == nil {
		c.around = nil
		return
	}
	c.around = &waiting{before, after}
}

// NewCarrier returns a Carrier without an owner: a deadline ends its writes.
func NewCarrier(tcp *net.TCPConn) *Carrier {
	raw, _ := tcp.SyscallConn() // its error is of a nil connection
	return &Carrier{TCPConn: tcp, put: NewWriter(raw), fd: -1, held: -1}
}

// Hold says that the descriptor stays open, in a callback of SyscallConn, until it is called with -1. Nobody else writes
// meanwhile.
func (c *Carrier) Hold(fd int) { c.held = fd }

// Receive is Recv through TLS: it reads from over, whose carrier c is, and does not wait. Nothing else reads meanwhile.
func (c *Carrier) Receive(fd int, over io.Reader, p []byte) (int, error) {
	c.empty = false
	return c.receive(fd, over, p)
}

// ReceiveRest is Receive for what came with what was received last: where that had left nothing in the kernel, it is not asked
// again. An end of stream that came together with it is not seen, nor is what came later: of that there is another notice.
func (c *Carrier) ReceiveRest(fd int, over io.Reader, p []byte) (int, error) {
	c.rest = true
	n, err := c.receive(fd, over, p)
	c.rest = false
	return n, err
}

func (c *Carrier) receive(fd int, over io.Reader, p []byte) (int, error) {
	c.fd = fd
	n, err := over.Read(p)
	c.fd = -1
	switch {
	case n > 0, errors.Is(err, io.EOF):
		return n, nil
	case errors.Is(err, errNothing):
		return 0, syscall.EAGAIN
	}
	return 0, err
}

// Read implements net.Conn.
func (c *Carrier) Read(p []byte) (int, error) {
	if c.fd < 0 {
		if c.around != nil {
			c.around.before()
		}
		n, err := c.TCPConn.Read(p)
		if err == io.EOF {
			err = c.end()
		}
		if c.around != nil {
			if late := c.around.after(); err == nil {
				err = late
			}
		}
		return n, err
	}
	for {
		if c.rest && c.empty {
			return 0, errNothing
		}
		n, err := Recv(c.fd, p)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return 0, errNothing
		case err == nil && n == 0:
			return 0, c.end()
		}
		c.empty = n < len(p)
		return n, err
	}
}

// ErrTorn says that a connection over TLS has ended below it, and not inside it.
var ErrTorn = errors.New("the connection ended without an end of TLS")

// end is what an end of stream is.
func (c *Carrier) end() error {
	if c.Strict {
		return ErrTorn
	}
	return io.EOF
}

// Write implements net.Conn.
func (c *Carrier) Write(p []byte) (int, error) {
	at := 0
	if c.held >= 0 {
		n, err := Send(c.held, p)
		if n == len(p) {
			return n, nil
		}
		if err == nil {
			at = n
		} // else the Writer waits, or meets the error again
	}
	for {
		n, err := c.put.Write(p[at:])
		at += n
		if err == nil || c.Owner == nil || !errors.Is(err, os.ErrDeadlineExceeded) || !c.Owner.Again() {
			return at, err
		}
	}
}

// errNothing says that nothing is there to be read. It is temporary: crypto/tls goes on after it.
var errNothing net.Error = nothing{}

type nothing struct{}

func (nothing) Error() string   { return "nothing to read yet" }
func (nothing) Timeout() bool   { return false }
func (nothing) Temporary() bool { return true }
