package tcp

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/group"
)

// maxTries is how many endpoints are asked for a connection before the client's is closed.
const maxTries = 8

// A conn is one client connection.
type conn struct {
	server *Server
	client *end
	cut    context.CancelFunc // ends a connect
	hash   string

	mu      sync.Mutex
	relay   *relay // nil before there is an endpoint
	aborted bool
}

// serve carries a connection to its end, and writes down what became of it.
func (c *conn) serve(ctx context.Context, s *Stream, facts exchange.Conn) {
	x := &exchange.Exchange{Conn: &facts, ClientIP: clientOf(&facts)}
	x.Request.Protocol = exchange.TCP
	x.MakeRequestID()
	r := &x.Record
	r.Start = exchange.Now()
	r.Namespace, r.Service = s.Snapshot.Namespace, s.Snapshot.Name
	s.Metrics.Open.Inc()
	defer s.Metrics.Open.Dec()
	defer s.open.Add(-1)
	if most := int64(s.Snapshot.MaxConnections); s.open.Add(1) > most && most > 0 {
		r.Reason = exchange.Overload
	} else {
		r.Reason = c.admit(s, x)
	}
	if r.Reason == "" {
		c.carry(ctx, s, x)
	}
	r.End = exchange.Now()
	s.Metrics.Ended(r.Reason)
	if log := c.server.options.Access; log.Enabled() {
		log.Log(x, c.hash)
	}
}

// admit says why a client may not use the stream; empty: it may.
func (c *conn) admit(s *Stream, x *exchange.Exchange) exchange.Reason {
	switch {
	case s.Snapshot.Invalid != "", s.Group == nil:
		return exchange.InvalidConfig
	case s.clientAuth != x.Conn.ClientAuth: // the handshake went by an earlier configuration
		return exchange.Misdirected
	}
	if s.Access != nil {
		verdict := s.Access.Request(x)
		reason := x.Record.Reason
		s.Access.Done(x)
		x.ResetResponse()
		x.Record.Reason = ""
		if verdict != filter.Continue {
			if reason == "" {
				reason = exchange.AccessDenied
			}
			return reason
		}
	}
	return ""
}

// carry connects the client with an endpoint.
func (c *conn) carry(ctx context.Context, s *Stream, x *exchange.Exchange) {
	timeouts := s.Snapshot.Timeouts
	var choice group.Choice
	choice.Patience = timeouts.Connect
	defer choice.Release()
	s.Group.ChooseFor(x.ClientIP, &choice)
	nc, endpoint := c.connect(ctx, s, x, &choice)
	if nc == nil {
		return
	}
	far := newEnd(nc)
	r := &relay{
		client: c.client, far: far, idle: timeouts.Idle, metrics: s.Metrics,
		answered: func() { choice.Report(exchange.Now(), endpoint, 0, nil) },
	}
	endpoint.Occupy()
	defer endpoint.Vacate()
	c.mu.Lock()
	c.relay = r
	aborted := c.aborted
	c.mu.Unlock()
	if !aborted {
		x.Record.Reason = r.run()
	}
	if aborted || c.isAborted() {
		x.Record.Reason = exchange.Drained
	}
	x.Record.BytesIn, x.Record.BytesOut = r.in.Load(), r.out.Load()
	if x.Record.Reason == exchange.UpstreamReset && x.Record.BytesOut == 0 {
		choice.Report(exchange.Now(), endpoint, 0, &exchange.Failure{Reason: exchange.UpstreamReset, Sent: true, Err: errReset})
	}
	c.client.close(r.torn)
	far.close(r.torn)
}

// connect opens a connection to an endpoint; where one cannot be reached others are asked. It returns nil where none can.
func (c *conn) connect(ctx context.Context, s *Stream, x *exchange.Exchange, choice *group.Choice) (net.Conn, *upstream.Endpoint) {
	r := &x.Record
	for r.Attempts < maxTries {
		endpoint, reason := s.Group.Pick(choice)
		if endpoint == nil {
			if r.Reason == "" {
				r.Reason = reason
			}
			return nil, nil
		}
		choice.Add(endpoint)
		r.Attempts++
		r.Upstream = endpoint.Addr()
		r.UpstreamStart = exchange.Now()
		nc, err := dial(ctx, endpoint, x.Conn, s.Snapshot.Timeouts.Connect)
		now := exchange.Now()
		r.Connect = max(now-r.UpstreamStart, 1)
		if err == nil {
			r.Reason = ""
			return nc, endpoint
		}
		if ctx.Err() != nil {
			r.Reason = exchange.Drained
			return nil, nil
		}
		var failure *exchange.Failure
		if !errors.As(err, &failure) {
			failure = &exchange.Failure{Reason: exchange.ConnectFailed, Err: err}
		}
		r.Reason = failure.Reason
		choice.Report(now, endpoint, 0, failure)
		c.server.options.Metrics.UpstreamError(failure.Reason)
		c.server.options.Log.V(1).Info("a try failed", "reason", failure.Reason, "error", failure.Err,
			"request_id", string(x.RequestID), "service", s.Snapshot.Name, "endpoint", r.Upstream.String(), "attempt", r.Attempts)
	}
	return nil, nil
}

func dial(ctx context.Context, e *upstream.Endpoint, facts *exchange.Conn, limit time.Duration) (net.Conn, error) {
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	return e.DialFor(ctx, facts.Remote, facts.Local)
}

// abort ends the connection, wherever it is.
func (c *conn) abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.aborted = true
	c.cut()
	if c.relay != nil {
		c.relay.abort()
	}
}

func (c *conn) isAborted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.aborted
}
