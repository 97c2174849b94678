package upstream

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/client"
)

// A Try bounds one attempt.
type Try struct {
	Connect  time.Duration  // to open a connection; 0: no limit
	Deadline exchange.Nanos // for the response's head; 0: none
	Idle     time.Duration  // between bytes of bodies
}

// RoundTrip sends x.Request to the endpoint, on an idle connection or a new one, and fills in x.Response, whose Stream
// must be released. An error is an *exchange.Failure, and there is no response. An idle connection that has ended is
// found before anything is sent on it.
//
// An endpoint may close an idle connection in the moment in which it is used again. A request that met such an end and
// may be sent twice is sent once more, on a new connection (RFC 9112 §9.3.1); that is no attempt of its own, because
// nothing says that the endpoint has failed.
func (e *Endpoint) RoundTrip(x *exchange.Exchange, t Try) error {
	e.requests.Add(1)
	e.inFlight.Add(1)
	x.Record.Upstream, x.Record.Connect = e.addr, 0
	try := client.Try{Deadline: t.Deadline, Idle: t.Idle}
	for {
		conn := e.idle.get()
		if conn == nil {
			break
		}
		err := conn.RoundTrip(x, try) // it ends with done, also where it fails
		if err == nil {
			return nil
		}
		e.inFlight.Add(1)
		if errors.Is(err, client.ErrStale) {
			continue
		}
		if !sendable(x, err) {
			e.inFlight.Add(-1)
			return err
		}
		x.ResetResponse()
		break
	}
	nc, err := e.dialFor(x, t)
	if err != nil {
		e.inFlight.Add(-1)
		return err
	}
	err = e.newConn(nc, e.idle.done).RoundTrip(x, try)
	if errors.Is(err, client.ErrStale) {
		return &exchange.Failure{Reason: exchange.UpstreamReset, Err: err}
	}
	return err
}

// sendable reports whether a request that failed on a connection that was used again may be sent once more.
func sendable(x *exchange.Exchange, err error) bool {
	var failure *exchange.Failure
	return errors.As(err, &failure) && failure.Reason == exchange.UpstreamReset && !failure.BodyRead &&
		(!failure.Sent || x.Request.Method.Idempotent())
}

// done takes a connection back when its exchange is over.
func (e *Endpoint) done(conn *client.Conn, reusable bool) {
	e.inFlight.Add(-1)
	if !reusable || !e.idle.put(conn, e.cluster.owner.round.Load()) {
		conn.Close()
	}
}

// dialFor opens a connection within the try's bounds, and writes down how long that took.
func (e *Endpoint) dialFor(x *exchange.Exchange, t Try) (net.Conn, error) {
	start := exchange.Now()
	limit := t.Connect
	if t.Deadline != 0 {
		left := time.Duration(t.Deadline - start)
		if left <= 0 {
			return nil, &exchange.Failure{Reason: exchange.UpstreamTimeout, Err: context.DeadlineExceeded}
		}
		if limit == 0 || left < limit {
			limit = left
		}
	}
	ctx := context.Background()
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	nc, err := e.Dial(ctx)
	x.Record.Connect = max(exchange.Now()-start, 1)
	return nc, err
}

// Dial opens a connection to the endpoint that belongs to the caller. Go sets TCP_NODELAY on it. An error is an
// *exchange.Failure.
func (e *Endpoint) Dial(ctx context.Context) (net.Conn, error) {
	o := &e.cluster.owner.options
	if o.Permit != nil {
		if err := o.Permit(e.addr.Addr()); err != nil {
			return nil, &exchange.Failure{Reason: exchange.AddressNotAllowed, Err: err}
		}
	}
	nc, err := o.Dial(ctx, e.addr)
	if err == nil {
		return nc, nil
	}
	reason := exchange.ConnectFailed
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() { // context.DeadlineExceeded is one too
		reason = exchange.ConnectTimeout
	}
	return nil, &exchange.Failure{Reason: reason, Err: err}
}

func (e *Endpoint) newConn(nc net.Conn, done func(*client.Conn, bool)) *client.Conn {
	o := &e.cluster.owner.options
	return client.New(nc, client.Options{Limits: o.Limits, Sweeper: o.Sweeper, Done: done})
}

// probeIdle is longer than any check: its context ends it.
const probeIdle = time.Hour

// Probe is RoundTrip on a connection of its own, which counts as no request and is closed afterwards, at the latest
// when ctx ends. The caller releases the response's Stream before it cancels ctx.
func (e *Endpoint) Probe(ctx context.Context, x *exchange.Exchange) error {
	nc, err := e.Dial(ctx)
	if err != nil {
		return err
	}
	// The connection is closed under the round trip: the sweeper that ends overdue ones comes too seldom for short checks.
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	conn := e.newConn(nc, func(c *client.Conn, _ bool) {
		stop()
		c.Close()
	})
	err = conn.RoundTrip(x, client.Try{Idle: probeIdle})
	if err != nil && ctx.Err() != nil {
		return &exchange.Failure{Reason: exchange.UpstreamTimeout, Sent: true, Err: ctx.Err()}
	}
	return err
}
