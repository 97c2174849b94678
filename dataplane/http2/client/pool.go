package client

import (
	"errors"
	"net"
	"slices"
	"sync"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

const (
	// maxConns is how many connections there are to one endpoint.
	maxConns = 1024
	// maxRefused is how often a request is offered anew that was refused before anything was done about it.
	maxRefused = 3
)

// errFull says that the endpoint takes no more requests at once.
var errFull = errors.New("every connection carries as many requests as the endpoint takes")

// A Pool holds the connections to one endpoint. A request goes to the one with the fewest others on it; a connection is
// opened where none has room.
type Pool struct {
	options Options
	// Open opens a connection for an exchange, within its bounds. An error is an *exchange.Failure.
	open func(x *exchange.Exchange, t Try) (net.Conn, error)
	drop func(*Conn) // one closure a pool, not one a connection

	mu      sync.Mutex
	conns   []*Conn
	dialing *dialing // a connection is being opened that others wait for
	epoch   uint32   // see Renew
	closed  bool
}

// A dialing is a connection that is being opened.
type dialing struct {
	done chan struct{}
	err  error
}

// Init makes p ready. open opens a connection for an exchange, within its bounds; its error is an *exchange.Failure.
func (p *Pool) Init(o Options, open func(x *exchange.Exchange, t Try) (net.Conn, error)) {
	p.options, p.open, p.drop = o, open, p.changed
}

// RoundTrip sends x.Request on one of the connections, and fills in x.Response, whose Stream must be released. An error is
// an *Error, and there is no response.
//
// A request that the endpoint said it did not look at is offered anew. So is one, once, that met the end of a connection
// that was used before, if it may be sent twice: nothing says that the endpoint has failed.
func (p *Pool) RoundTrip(x *exchange.Exchange, t Try) error {
	for refused, again := 0, true; ; {
		conn, fresh, err := p.get(x, t)
		if err != nil {
			return err
		}
		err = conn.RoundTrip(x, t)
		var failure *Error
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errLeft):
			if refused++; refused <= maxRefused {
				continue
			}
			return &Error{Reason: exchange.UpstreamReset, Err: errLeft}
		case !errors.As(err, &failure) || failure.Reason != exchange.UpstreamReset || failure.BodyRead:
			return err
		case !failure.Sent && refused < maxRefused:
			refused++
		case failure.Sent && again && !fresh && x.Request.Method.Idempotent() && conn.dead():
			again = false
		default:
			return err
		}
		x.ResetResponse()
	}
}

// get returns a connection on which a stream is reserved; fresh says that it was opened for this.
func (p *Pool) get(x *exchange.Exchange, t Try) (conn *Conn, fresh bool, err error) {
	for {
		p.mu.Lock()
		if conn := p.least(); conn != nil {
			p.mu.Unlock()
			return conn, false, nil
		}
		if d := p.dialing; d != nil {
			p.mu.Unlock()
			if err := wait(d, x, t); err != nil {
				return nil, false, err
			}
			continue
		}
		if len(p.conns) >= maxConns {
			p.mu.Unlock()
			return nil, false, &Error{Reason: exchange.ConnectFailed, Err: errFull}
		}
		d := &dialing{done: make(chan struct{})}
		p.dialing = d
		epoch := p.epoch
		p.mu.Unlock()
		conn, err := p.dial(x, t, epoch)
		p.mu.Lock()
		p.dialing, d.err = nil, err
		p.mu.Unlock()
		close(d.done)
		return conn, true, err
	}
}

// dial opens a connection, with a stream reserved on it.
func (p *Pool) dial(x *exchange.Exchange, t Try, epoch uint32) (*Conn, error) {
	nc, err := p.open(x, t)
	if err != nil {
		return nil, err
	}
	conn := New(nc, p.options, p.drop)
	conn.reserve()
	p.mu.Lock()
	current := !p.closed && p.epoch == epoch
	if current {
		p.conns = append(p.conns, conn)
	}
	p.mu.Unlock()
	if !current {
		conn.once()
	}
	return conn, nil
}

// wait waits for a connection that somebody else opens. What he failed for is this one's failure too, unless his time was
// over and not this one's.
func wait(d *dialing, x *exchange.Exchange, t Try) error {
	w := waiter{woken: make(chan struct{}, 1)}
	w.attach(x, t)
	defer w.detach(x)
	for {
		select {
		case <-d.done:
			var failure *Error
			if !errors.As(d.err, &failure) || failure.Reason == exchange.UpstreamTimeout || failure.Reason == exchange.ConnectTimeout {
				return nil
			}
			return &Error{Reason: failure.Reason, Err: failure.Err}
		case <-w.woken:
		}
		if err := w.over(x, t); err != nil {
			return err
		}
	}
}

// least reserves a stream on the connection with the fewest, or returns nil. The caller holds p.mu.
func (p *Pool) least() *Conn {
	switch len(p.conns) {
	case 0:
		return nil
	case 1:
		if p.conns[0].reserve() {
			return p.conns[0]
		}
		return nil
	}
	var tried [8]*Conn
	for n := range tried {
		var best *Conn
		least := 0
		for _, c := range p.conns {
			if slices.Contains(tried[:n], c) {
				continue
			}
			if load := c.load(); best == nil || load < least {
				best, least = c, load
			}
		}
		if best == nil || best.reserve() {
			return best
		}
		tried[n] = best
	}
	return nil
}

// changed is told of connections that may take no more streams.
func (p *Pool) changed(c *Conn) {
	c.mu.Lock()
	leaving := c.leaving
	c.mu.Unlock()
	if !leaving {
		return
	}
	p.mu.Lock()
	if i := slices.Index(p.conns, c); i >= 0 {
		p.conns = slices.Delete(p.conns, i, i+1)
	}
	p.mu.Unlock()
}

// dead reports whether the connection has ended.
func (c *Conn) dead() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err != nil
}

// Size returns how many connections there are.
func (p *Pool) Size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

// Sweep is called once a second: it ends connections that had nothing to do for age seconds, or whose endpoint does not
// answer.
func (p *Pool) Sweep(age uint32) {
	p.mu.Lock()
	conns := slices.Clone(p.conns)
	p.mu.Unlock()
	now := exchange.Now()
	for _, c := range conns {
		c.sweep(now, age)
	}
}

// Renew lets no connection that was opened before take a new request: the way to the endpoint is another.
func (p *Pool) Renew() { p.empty(false) }

// Close is Renew, for good: what comes later still gets through, on a connection of its own.
func (p *Pool) Close() { p.empty(true) }

func (p *Pool) empty(closed bool) {
	p.mu.Lock()
	p.epoch++
	p.closed = p.closed || closed
	conns := p.conns
	p.conns = nil
	p.mu.Unlock()
	for _, c := range conns {
		c.retire()
	}
}

// Single makes one round trip on a connection that nobody shares, and that ends with it.
func Single(nc net.Conn, o Options, x *exchange.Exchange, t Try) error {
	conn := New(nc, o, nil)
	conn.reserve()
	conn.once()
	err := conn.RoundTrip(x, t)
	if errors.Is(err, errLeft) {
		err = &Error{Reason: exchange.UpstreamReset, Err: err}
	}
	return err
}
