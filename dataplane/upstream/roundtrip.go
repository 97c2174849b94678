package upstream

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/client"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/loop"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/dial"
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
	if way := e.cluster.way.Load(); way.HTTP2() {
		x.Leave()
		if err := e.stream(x, t, way); !errors.Is(err, errOtherWay) {
			return err
		}
		e.inFlight.Add(1)
	}
	try := client.Try{Deadline: t.Deadline, Idle: t.Idle}
	sock, idle := e.poolFor(x)
	mark := idle.mark.Load() // before the way: a connection of an older one is never kept
	way := e.cluster.way.Load()
	for way.Shared() {
		conn := idle.get()
		if conn == nil {
			break
		}
		if own, ok := conn.Net().(*loop.Socket); ok {
			own.Follow(sock)
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
	x.Leave()
	nc, err := e.opener().OpenFor(x, way, e.addr, t.Connect, t.Deadline)
	fits := sock == nil
	if err == nil && sock != nil {
		nc, fits, err = adopt(sock, nc)
	}
	if err != nil {
		e.inFlight.Add(-1)
		return err
	}
	done := idle.done
	if !way.Shared() || !fits {
		done = e.last
	}
	err = e.newConn(nc, mark, done).RoundTrip(x, try)
	if errors.Is(err, client.ErrStale) {
		return &exchange.Failure{Reason: exchange.UpstreamReset, Err: err}
	}
	return err
}

// poolFor returns the idle connections that an exchange may use, and the client's connection where a Loop serves both.
func (e *Endpoint) poolFor(x *exchange.Exchange) (sock *loop.Socket, idle *pool) {
	if engine, ok := x.Downstream.(interface{ Socket() *loop.Socket }); ok {
		sock = engine.Socket()
	}
	switch {
	case sock == nil:
		return nil, &e.traffic().idle
	case x.Request.Body != nil || e.cluster.way.Load().Secure(): // an upload has a goroutine, and so has TLS
		x.Leave()
		return nil, &e.traffic().idle
	}
	return sock, &e.traffic().looped[sock.Loop().Index]
}

// adopt has the Loop of a client's connection serve a fresh one, too. fits is false where that cannot be: TLS was turned on a
// moment ago.
func adopt(client *loop.Socket, nc net.Conn) (own net.Conn, fits bool, err error) {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nc, false, nil
	}
	sock, err := client.Loop().Adopt(tcp)
	if err != nil {
		_ = nc.Close()
		reason := exchange.ConnectFailed
		if dial.Exhausted(err) {
			reason = exchange.ProxyExhausted
		}
		return nil, false, &exchange.Failure{Reason: reason, Err: err}
	}
	sock.Follow(client)
	sock.Start(nil)
	return sock, true, nil
}

// sendable reports whether a request that failed on a connection that was used again may be sent once more.
func sendable(x *exchange.Exchange, err error) bool {
	var failure *exchange.Failure
	return errors.As(err, &failure) && failure.Reason == exchange.UpstreamReset && !failure.BodyRead &&
		(!failure.Sent || x.Request.Method.Idempotent())
}

// takeBack keeps a connection whose exchange is over for the next request, or closes it.
func (e *Endpoint) takeBack(idle *pool, conn *client.Conn, reusable bool) {
	e.inFlight.Add(-1)
	if !reusable || !idle.put(conn, e.cluster.owner.round.Load()) {
		conn.Close()
	}
}

// last closes a connection when its only exchange is over.
func (e *Endpoint) last(conn *client.Conn, _ bool) {
	e.inFlight.Add(-1)
	conn.Close()
}

func (e *Endpoint) opener() *dial.Opener { return &e.cluster.owner.opener }

// Dial opens a connection to the endpoint, without TLS, that belongs to the caller. An error is an *exchange.Failure.
func (e *Endpoint) Dial(ctx context.Context) (net.Conn, error) {
	return e.opener().Open(ctx, e.cluster.way.Load(), e.addr, dial.Purpose{Plain: true})
}

// DialFor opens a connection to the endpoint for bytes that are no HTTP, in the way that the cluster's settings say, and it
// belongs to the caller. client and local are the two ends of the client's connection, for the PROXY header. Without TLS
// it is a *net.TCPConn, else its NetConn is a *wire.Carrier. An error is an *exchange.Failure.
func (e *Endpoint) DialFor(ctx context.Context, client, local netip.AddrPort) (net.Conn, error) {
	return e.opener().Open(ctx, e.cluster.way.Load(), e.addr, dial.Purpose{Client: client, Local: local})
}

func (e *Endpoint) newConn(nc net.Conn, mark uint32, done func(*client.Conn, bool)) *client.Conn {
	o := &e.cluster.owner.options
	return client.New(nc, client.Options{Limits: o.Limits, Sweeper: o.Sweeper, Done: done, Mark: mark})
}

// probeIdle is longer than any check: its context ends it.
const probeIdle = time.Hour

// Probe is RoundTrip on a connection of its own, which counts as no request and is closed afterwards, at the latest
// when ctx ends. It speaks the cluster's protocol, or HTTP/2 where the request is of HTTP/2. The caller releases the response's Stream before it cancels ctx.
func (e *Endpoint) Probe(ctx context.Context, x *exchange.Exchange) error {
	way := e.cluster.way.Load()
	streams := way.HTTP2() || x.Request.Protocol == exchange.HTTP2
	nc, err := e.opener().Open(ctx, way, e.addr, dial.Purpose{HTTP: true, HTTP2: streams})
	if err != nil {
		return err
	}
	if streams {
		err = e.probeStream(ctx, nc, x)
	} else {
		err = e.probeConn(ctx, nc, x)
	}
	if err != nil && ctx.Err() != nil {
		return &exchange.Failure{Reason: exchange.UpstreamTimeout, Sent: true, Err: ctx.Err()}
	}
	return err
}

func (e *Endpoint) probeConn(ctx context.Context, nc net.Conn, x *exchange.Exchange) error {
	// The connection is closed under the round trip: the sweeper that ends overdue ones comes too seldom for short checks.
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	conn := e.newConn(nc, 0, func(c *client.Conn, _ bool) {
		stop()
		c.Close()
	})
	return conn.RoundTrip(x, client.Try{Idle: probeIdle})
}
