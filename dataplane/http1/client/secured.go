package client

import (
	"io"
	"net"
	"syscall"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
)

// secured is a connection over TLS, such as a *tls.Conn.
type secured interface {
	net.Conn
	NetConn() net.Conn
}

// attach finds out what nc is made of.
func (c *Conn) attach(nc net.Conn) {
	c.step = c.advance
	switch nc := nc.(type) {
	case wire.TCP:
		c.watched, _ = nc.(wire.Watched)
		if raw, err := nc.SyscallConn(); err == nil {
			c.tcp, c.raw = nc, raw
		}
	case secured:
		carrier, ok := nc.NetConn().(*wire.Carrier)
		if !ok {
			return
		}
		if raw, err := carrier.SyscallConn(); err == nil {
			c.carrier, c.raw = carrier, raw
			carrier.Owner, carrier.Strict = c, true
			c.step = c.advanceSecured
		}
	}
}

// advanceSecured is advance over TLS. A peek at the socket would say nothing there: what is unread may be a session ticket,
// and what was read may lie in the TLS connection still. So the connection is read, without waiting.
func (c *Conn) advanceSecured(fd uintptr) bool {
	if c.phase == phaseSend {
		room, _ := c.room()
		n, err := c.carrier.Receive(int(fd), c.nc, room)
		switch {
		case err == syscall.EAGAIN:
		case c.used:
			c.err = stalePlaceholder
			return true
		case n == 0:
			c.fail(exchange.UpstreamReset, orUnexpectedEnd(err))
			return true
		default:
			c.end, c.early = n, true
		}
		c.sent = true
		if _, err := c.nc.Write(c.out.B); err != nil {
			c.writeCut(err)
			return true
		}
		c.headSent()
		if c.err != nil || c.end > 0 && c.parse() {
			return true
		}
	}
	for {
		room, ok := c.room()
		if !ok {
			return true
		}
		n, err := c.carrier.Receive(int(fd), c.nc, room)
		switch {
		case err == syscall.EAGAIN:
			c.nothingYet()
			return false
		case n == 0:
			c.fail(exchange.UpstreamReset, orUnexpectedEnd(err))
			return true
		}
		c.end += n
		if c.parse() {
			return true
		}
	}
}

// orUnexpectedEnd is err, or what an end of stream is in the middle of an exchange.
func orUnexpectedEnd(err error) error {
	if err == nil {
		return io.ErrUnexpectedEOF
	}
	return err
}

// writeCut handles the error of a write over TLS, behind which nothing can be written any more.
func (c *Conn) writeCut(err error) {
	c.interrupted(err)
	if c.err == nil {
		c.fail(exchange.UpstreamReset, err)
	}
}

// Again tells the connection below TLS whether a write that met a deadline goes on: it does unless that was meant for it.
func (c *Conn) Again() bool {
	if c.closed.Load() {
		return false
	}
	if again := c.persist.Load(); again != nil {
		return (*again)()
	}
	if c.upload.state == uploadRuns {
		return c.upload.Spurious()
	}
	_ = c.nc.SetWriteDeadline(time.Time{}) // before it is asked who set it: a wake-up that comes meanwhile must stay
	return !c.timer.Expired() && !c.aborted()
}

// staleSecured is Stale over TLS.
func (c *Conn) staleSecured() bool {
	ended := true
	err := c.raw.Control(func(fd uintptr) {
		_, err := c.carrier.Receive(int(fd), c.nc, c.peek[:])
		ended = err != syscall.EAGAIN
	})
	return err != nil || ended
}

// closeSecured ends a TLS connection. The endpoint is told so only where the connection is in good order: else writing
// might wait for who does not read.
func (c *Conn) closeSecured() {
	c.closed.Store(true)
	if c.tidy {
		_ = c.nc.Close()
		return
	}
	_ = c.carrier.Close()
}
