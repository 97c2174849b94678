package pool

import (
	"errors"
	"net"
	"slices"
	"sync"
	"time"

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

// ErrLeft says that a connection took no new request. Nothing was sent.
var ErrLeft = errors.New("the connection takes no more requests")

// A Try bounds one round trip.
type Try struct {
	Connect  time.Duration  // to open a connection; 0: no limit
	Deadline exchange.Nanos // for the final response's head; 0: none
	Idle     time.Duration  // between bytes of either body; 0: no limit
}

// A Conn is a connection that carries many requests at once.
type Conn interface {
	// Reserve takes the right to one more request, and reports whether there was one.
	Reserve() bool
	// Load is how many requests there are.
	Load() int
	// RoundTrip makes one that was reserved. An error is an *exchange.Failure or ErrLeft.
	RoundTrip(x *exchange.Exchange, t Try) error
	// Once lets no more requests come than are reserved; Retire ends the connection, too, when they have.
	Once()
	Retire()
	// Leaving reports whether it takes no more requests, and Ended whether it has ended.
	Leaving() bool
	Ended() bool
	// Sweep is called once a second; most is for how many seconds it may have nothing to do.
	Sweep(now exchange.Nanos, most uint32)
}

// A Pool holds the connections to one endpoint. A request goes to the one with the fewest others on it; a connection is
// opened where none has room.
type Pool struct {
	open func(x *exchange.Exchange, t Try) (net.Conn, error)
	make func(nc net.Conn, gone func(Conn)) Conn
	drop func(Conn) // one closure a pool, not one a connection

	mu      sync.Mutex
	conns   []Conn
	dialing *dialing // a connection is being opened that others wait for
	epoch   uint32   // see Renew
	closed  bool
}

// A dialing is a connection that is being opened.
type dialing struct {
	done chan struct{}
	err  error
}

// Init makes p ready. open opens a connection for an exchange, within its bounds; its error is an *exchange.Failure. wrap
// makes a Conn of it, which calls gone when it takes no more requests.
func (p *Pool) Init(open func(x *exchange.Exchange, t Try) (net.Conn, error), wrap func(nc net.Conn, gone func(Conn)) Conn) {
	p.open, p.make, p.drop = open, wrap, p.changed
}

// RoundTrip sends x.Request on one of the connections, and fills in x.Response, whose Stream must be released. An error is
// an *exchange.Failure, and there is no response.
//
// A request that the endpoint said it did not look at is offered anew. So is one, once, that met the end of a connection
// that was used before, if it may be sent twice: nothing says that the endpoint has failed.
func (p *Pool) RoundTrip(x *exchange.Exchange, t Try) error {
	for refused, again := 0, true; ; {
		conn, fresh, err := p.get(x, t)
		if err != nil {
			return err
		}
		if err = conn.RoundTrip(x, t); err == nil {
			return nil
		}
		failure := failureOf(err)
		switch {
		case errors.Is(err, ErrLeft):
			if refused++; refused <= maxRefused {
				continue
			}
			return &exchange.Failure{Reason: exchange.UpstreamReset, Err: ErrLeft}
		case failure == nil || failure.Reason != exchange.UpstreamReset || failure.BodyRead:
			return err
		case !failure.Sent && refused < maxRefused:
			refused++
		case failure.Sent && again && !fresh && x.Request.Method.Idempotent() && conn.Ended():
			again = false
		default:
			return err
		}
		x.ResetResponse()
	}
}

// failureOf is called where something failed, and there alone: what errors.As is given lies on the heap.
func failureOf(err error) *exchange.Failure {
	var failure *exchange.Failure
	errors.As(err, &failure)
	return failure
}

// get returns a connection on which a stream is reserved; fresh says that it was opened for this.
func (p *Pool) get(x *exchange.Exchange, t Try) (conn Conn, fresh bool, err error) {
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
			return nil, false, &exchange.Failure{Reason: exchange.ConnectFailed, Err: errFull}
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
func (p *Pool) dial(x *exchange.Exchange, t Try, epoch uint32) (Conn, error) {
	nc, err := p.open(x, t)
	if err != nil {
		return nil, err
	}
	conn := p.make(nc, p.drop)
	conn.Reserve()
	p.mu.Lock()
	current := !p.closed && p.epoch == epoch
	if current {
		p.conns = append(p.conns, conn)
	}
	p.mu.Unlock()
	if !current {
		conn.Once()
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
			var failure *exchange.Failure
			if !errors.As(d.err, &failure) || failure.Reason == exchange.UpstreamTimeout || failure.Reason == exchange.ConnectTimeout {
				return nil
			}
			return &exchange.Failure{Reason: failure.Reason, Err: failure.Err}
		case <-w.woken:
		}
		if err := w.over(x, t); err != nil {
			return err
		}
	}
}

// least reserves a stream on the connection with the fewest, or returns nil. The caller holds p.mu.
func (p *Pool) least() Conn {
	switch len(p.conns) {
	case 0:
		return nil
	case 1:
		if p.conns[0].Reserve() {
			return p.conns[0]
		}
		return nil
	}
	var tried [8]Conn
	for n := range tried {
		var best Conn
		least := 0
		for _, c := range p.conns {
			if slices.Contains(tried[:n], c) {
				continue
			}
			if load := c.Load(); best == nil || load < least {
				best, least = c, load
			}
		}
		if best == nil || best.Reserve() {
			return best
		}
		tried[n] = best
	}
	return nil
}

// changed is told of connections that may take no more streams.
func (p *Pool) changed(c Conn) {
	if !c.Leaving() {
		return
	}
	p.mu.Lock()
	if i := slices.Index(p.conns, c); i >= 0 {
		p.conns = slices.Delete(p.conns, i, i+1)
	}
	p.mu.Unlock()
}

// Size returns how many connections there are.
func (p *Pool) Size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

// Conns returns the connections.
func (p *Pool) Conns() []Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.conns)
}

// Sweep is called once a second: it ends connections that had nothing to do for age seconds, or whose endpoint does not
// answer.
func (p *Pool) Sweep(age uint32) {
	now := exchange.Now()
	for _, c := range p.Conns() {
		c.Sweep(now, age)
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
		c.Retire()
	}
}
