package http2

import (
	"errors"
	"math"
	"time"

	h2 "golang.org/x/net/http2"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

const (
	// checkInterval is how often a connection with streams is looked at: what it writes may be stuck.
	checkInterval = exchange.Nanos(time.Second)
	// never is the deadline of what has none.
	never = exchange.Nanos(math.MaxInt64)
)

// errDrained ends a connection that has nothing more to do.
var errDrained = errors.New("the connection has nothing more to do")

// deadlines are what a connection as a whole is waited for. They are guarded by its mu; the streams have their own.
type deadlines struct {
	check exchange.Nanos // when the timer goes off; 0: not at all
	start exchange.Nanos // the preface and SETTINGS must be there
	block exchange.Nanos // a header block that has begun must have ended
	quiet exchange.Nanos // since when there has been no stream
	drain exchange.Nanos // streams that are opened later are not served; 0: not draining

	granted   bool // what is late was put off
	idleOver  bool // noted by the check, for the reader
	drainTold bool // the first GOAWAY was sent
	over      bool // the connection ends: nothing is looked at any more
}

// arm makes the timer go off at that time at the latest. mu is locked.
func (c *conn) arm(at exchange.Nanos) {
	if d := &c.deadlines; !d.over && (d.check == 0 || at < d.check) {
		d.check = at
		c.timer.Set(at)
	}
}

// Wake implements sock.Sleeper. It looks at all that the connection waits for, and must not wait itself: what takes a
// frame is the reader's to do.
func (c *conn) Wake() {
	now := exchange.Now()
	options := c.srv.options.Load()
	c.mu.Lock()
	d := &c.deadlines
	d.check = 0
	due := func(at exchange.Nanos) bool {
		if at == 0 {
			return false
		}
		if at > now {
			c.arm(at)
		}
		return at <= now
	}
	poke := due(d.start) || due(d.block)
	if c.running > 0 {
		c.arm(now + checkInterval)
	} else if d.start == 0 {
		if due(d.quiet + exchange.Nanos(options.IdleTimeout)) {
			d.idleOver, poke = true, true
		}
		if len(c.idle) > 0 && due(d.quiet+checkInterval) {
			c.dismiss()
		}
	}
	poke = due(d.drain) || poke
	for _, s := range c.streams {
		if due(s.body.Due()) {
			s.body.Expire()
		}
		if due(s.sendBy) {
			s.sendBy = -1
			s.sender.Signal()
		}
	}
	stuck := false
	if since := c.out.Stalled(); since != 0 {
		limit := options.IdleTimeout
		if options.MinBodyRate > 0 {
			limit = min(limit, options.HeaderTimeout)
		}
		stuck = due(since + exchange.Nanos(limit))
	}
	c.unlock()
	switch {
	case stuck:
		c.abort()
	case poke:
		c.poke()
	}
}

// poke has the reader look at what has happened.
func (c *conn) poke() { _ = c.nc.SetReadDeadline(time.Unix(1, 0)) }

// dismiss ends the goroutines that wait for a stream. mu is locked.
func (c *conn) dismiss() {
	for i, w := range c.idle {
		close(w.next)
		c.idle[i] = nil
	}
	c.idle = c.idle[:0]
}

// drain begins to end the connection.
func (c *conn) drain(grace time.Duration) {
	c.mu.Lock()
	c.deadlines.drain = exchange.Now() + exchange.Nanos(max(grace, time.Millisecond))
	c.arm(c.deadlines.drain)
	c.mu.Unlock()
	c.poke()
}

// events is what the reader does when it was woken: it is where a connection ends that nothing comes on any more.
func (c *conn) events() error {
	if c.aborted.Load() {
		return errClosed
	}
	now := exchange.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	d := &c.deadlines
	passed := func(at exchange.Nanos) bool { return at != 0 && at <= now }
	late, idle := passed(d.start) || passed(d.block), d.idleOver && c.running == 0
	d.idleOver = false
	if (late || idle) && !d.granted && c.in.Unread() {
		c.grant(now)
		return nil
	}
	switch {
	case late:
		c.out.GoAway(c.last, h2.ErrCodeNo, "the fields did not arrive in time")
		return errDrained
	case idle:
		c.out.GoAway(c.last, h2.ErrCodeNo, "")
		return errDrained
	case d.drain == 0:
		return nil
	}
	if !d.drainTold {
		d.drainTold = true
		c.out.GoAway(maxStreamID, h2.ErrCodeNo, "")
	}
	if passed(d.drain) {
		c.farCut = true
		d.drain = never
		c.out.GoAway(c.last, h2.ErrCodeNo, "")
	}
	if c.farCut && c.running == 0 {
		return errDrained
	}
	return nil
}

// overlookedTime is for how long after its time-out something may still be completed by bytes that lie unread here: the
// client was in time then, and this process late, as on a machine that is short of processors.
const overlookedTime = exchange.Nanos(time.Second)

// grant puts off what is late, once. mu is locked.
func (c *conn) grant(now exchange.Nanos) {
	d := &c.deadlines
	d.granted = true
	for _, at := range []*exchange.Nanos{&d.start, &d.block} {
		if *at != 0 {
			*at = now + overlookedTime
		}
	}
	if d.start == 0 {
		d.quiet += overlookedTime
	}
	c.arm(now + overlookedTime)
}

// makeRoom waits, where as many handlers run as may, for those whose streams are over on both sides: they only log. To the
// client these are closed, and it may open others in their place (RFC 9113 §5.1.2); to refuse them would be unjust. One that
// needs a second counts as a request that runs.
func (c *conn) makeRoom() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for ended := true; ended && c.running >= maxStreams && c.lingers(); c.mu.Lock() {
		left := make(chan struct{})
		c.left = left
		c.mu.Unlock()
		c.dispatch() // what has begun runs meanwhile
		c.out.Flush()
		select {
		case <-left:
		case <-time.After(time.Second):
			ended = false
		}
	}
}

// lingers reports whether a handler runs whose stream is over on both sides. mu is locked.
func (c *conn) lingers() bool {
	for _, s := range c.streams {
		if s.localOver.Load() && s.body.Over() {
			return true
		}
	}
	return false
}
