package upstream

import (
	"context"
	"errors"
	"net"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	multiplexed "github.com/pingora-proxy/pingora-proxy/dataplane/http2/client"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/dial"
)

// errOtherWay says that a new configuration came between choosing how to reach the endpoint and reaching it.
var errOtherWay = errors.New("the way to the endpoint has changed")

// prepareStreams makes the pool of HTTP/2 connections ready.
func (e *Endpoint) prepareStreams(streams *multiplexed.Pool) {
	streams.Init(e.streamOptions(func() { e.inFlight.Add(-1) }), func(x *exchange.Exchange, t multiplexed.Try) (net.Conn, error) {
		way := e.cluster.way.Load()
		if !way.HTTP2() || !way.Shared() {
			return nil, &exchange.Failure{Reason: exchange.UpstreamReset, Err: errOtherWay}
		}
		return e.opener().OpenFor(x, way, e.addr, t.Connect, t.Deadline)
	})
}

func (e *Endpoint) streamOptions(done func()) multiplexed.Options {
	o := &e.cluster.owner.options
	return multiplexed.Options{Sweeper: o.Sweeper, Limits: o.Limits, Done: done}
}

// stream is RoundTrip over HTTP/2: on a stream of a connection that others use too, or, where its PROXY header makes it the
// client's, of one of its own.
func (e *Endpoint) stream(x *exchange.Exchange, t Try, way *dial.Way) error {
	try := multiplexed.Try{Connect: t.Connect, Deadline: t.Deadline, Idle: t.Idle}
	var err error
	if way.Shared() {
		err = e.traffic().streams.RoundTrip(x, try)
	} else {
		var nc net.Conn
		if nc, err = e.opener().OpenFor(x, way, e.addr, t.Connect, t.Deadline); err == nil {
			err = multiplexed.Single(nc, e.streamOptions(func() { e.inFlight.Add(-1) }), x, try)
		}
	}
	if err != nil {
		e.inFlight.Add(-1)
	}
	return err
}

// probeStream is Probe over HTTP/2.
func (e *Endpoint) probeStream(ctx context.Context, nc net.Conn, x *exchange.Exchange) error {
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	err := multiplexed.Single(nc, e.streamOptions(func() { stop() }), x, multiplexed.Try{Idle: probeIdle})
	if err != nil {
		stop()
		_ = nc.Close()
	}
	return err
}
