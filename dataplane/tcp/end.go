package tcp

import (
	"net"
	"syscall"

	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
)

// An end is one of the two connections.
type end struct {
	nc      net.Conn
	tcp     *net.TCPConn    // nc itself, or what carries it
	carrier *wire.Carrier   // nil where nc is plain
	raw     syscall.RawConn // of tcp
}

func newEnd(nc net.Conn) *end {
	e := &end{nc: nc}
	switch nc := nc.(type) {
	case *net.TCPConn:
		e.tcp = nc
	case interface{ NetConn() net.Conn }: // over TLS
		e.carrier, _ = nc.NetConn().(*wire.Carrier)
		e.tcp = e.carrier.TCPConn
		e.carrier.Strict = true // who cuts a connection short must not pass for who has ended it
	}
	e.raw, _ = e.tcp.SyscallConn() // its error is of a nil connection
	return e
}

// plain is the connection where its bytes are the kernel's to move; nil over TLS.
func (e *end) plain() *net.TCPConn {
	if e.carrier != nil {
		return nil
	}
	return e.tcp
}

// receive reads what is there, without waiting.
func (e *end) receive(fd int, p []byte) (int, error) {
	for {
		var n int
		var err error
		if e.carrier != nil {
			n, err = e.carrier.Receive(fd, e.nc, p)
		} else {
			n, err = wire.Recv(fd, p)
		}
		if err != syscall.EINTR {
			return n, err
		}
	}
}

// closeWrite tells the peer that nothing more comes.
func (e *end) closeWrite() error {
	half, ok := e.nc.(interface{ CloseWrite() error })
	if !ok {
		return nil
	}
	return half.CloseWrite()
}

// close closes the connection; torn, so that the peer does not take what it got for all there is. Over TLS an end that is
// not announced tells the same.
func (e *end) close(torn bool) {
	if torn {
		_ = e.tcp.SetLinger(0)
		_ = e.tcp.Close()
		return
	}
	_ = e.nc.Close()
}
