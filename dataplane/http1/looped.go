package http1

import (
	"os"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/loop"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
)

// turnReads is how often a connection that always has more to read is read until others of its Loop have their turn.
const turnReads = 16

// ready is called by a Loop when the connection may have something to read, or was woken.
func (c *conn) ready() {
	c.reads = 0
	for !c.closing && !c.sock.Lost() {
		if c.sock.Overdue() {
			if !c.woken(os.ErrDeadlineExceeded) {
				break
			}
			continue
		}
		if !c.step(uintptr(c.sock.FD())) {
			return
		}
		if c.outside {
			c.move()
			return
		}
	}
	if c.preface != nil || c.linger && !c.torn {
		c.move()
		return
	}
	c.done()
}

// done ends a connection.
func (c *conn) done() {
	if c.w != nil {
		putWork(c.w)
		c.w = nil
	}
	c.srv.end(c)
}

// move goes on with the connection on a goroutine of its own. Where there is no descriptor for that now, the client waits until
// there is one, or until its deadline.
func (c *conn) move() {
	left := c.sock.Detach()
	go func() {
		tcp, err := left.Conn()
		for pause := wire.Pause(0); err != nil && !c.sock.Overdue(); {
			pause.Wait()
			tcp, err = left.Conn()
		}
		if err != nil {
			c.srv.log.Error(err, "a connection is closed, because it cannot be moved to a goroutine", "client", c.facts.Remote.String())
			left.Close()
			c.done()
			return
		}
		c.moving.Lock()
		overdue := c.sock.Overdue()
		c.nc, c.tcp, c.sock = tcp, tcp, nil
		c.raw, _ = tcp.SyscallConn() // its error is of a nil connection
		c.put = nil
		c.moving.Unlock()
		if overdue { // whoever woke it did so on the way
			_ = tcp.SetDeadline(time.Unix(1, 0))
		}
		c.serve()
		c.srv.end(c)
	}()
}

// mayHaveEnded reports whether an end of stream may have come with what was read, of which no other notice is given. A
// Loop is told of it; of the first request on a goroutine see step.
func (c *conn) mayHaveEnded(first bool) bool {
	if c.sock == nil {
		return first
	}
	return c.sock.HungUp()
}

// Socket is the client's connection where a Loop serves it, else nil.
func (c *conn) Socket() *loop.Socket { return c.sock }

// Leave is called through exchange.Exchange.Leave.
func (c *conn) Leave() {
	if c.sock != nil {
		c.sock.Leave()
	}
}
