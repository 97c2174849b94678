package proxy

import (
	"errors"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
	"github.com/pingora-proxy/pingora-proxy/dataplane/router"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/group"
)

// Serve implements exchange.Handler: the whole way of a request. It waits for the network in two places alone: for a
// response's head, in forward, and for bodies, in respond.
func (p *Proxy) Serve(x *exchange.Exchange) {
	c := p.enter()
	defer c.leave()
	p.metrics.ActiveRequests.Inc()
	defer p.metrics.ActiveRequests.Dec()

	p.tracer.Begin(x)
	route := find(x, c)
	if route == nil {
		finishResponse(x, c)
		p.respond(x, nil, c, nil)
		return
	}
	in, refused := p.admit(x, c, route.Snapshot.Service)
	if refused != "" {
		turnAway(x, refused, 0)
		finishResponse(x, c)
		p.respond(x, route, c, nil)
		return
	}
	defer in.end()
	var choice group.Choice
	defer choice.Release()
	passed := 0
	defer func() { // behind a panic too: what filters hold of an exchange would be lost with it
		for _, f := range route.Filters[:passed] {
			f.Done(x)
		}
	}()
	for _, f := range route.Filters {
		passed++
		if f.Request(x) == filter.Respond {
			break
		}
	}
	if x.Response.Status == 0 {
		p.forward(x, route, &choice)
	}
	finishResponse(x, c)
	for _, f := range route.Filters[:passed] {
		f.Response(x)
	}
	p.respond(x, route, c, &in)
}

// Refuse implements exchange.Handler.
func (p *Proxy) Refuse(x *exchange.Exchange, status int, reason exchange.Reason) {
	c := p.enter()
	defer c.leave()
	x.ClientIP = x.Conn.Remote.Addr().Unmap()
	x.MakeRequestID()
	x.Answer(status, reason)
	finishResponse(x, c)
	p.respond(x, nil, c, nil)
}

// respond sends the response, and writes down what became of it. in is where the exchange counts, for as long as it is a
// request; nil: nowhere.
func (p *Proxy) respond(x *exchange.Exchange, route *router.Route, c *Configuration, in *stay) {
	x.Record.Status = x.Response.Status
	switch x.Response.Status {
	case statusClientGone: // nobody is there to answer
	case 101:
		if in != nil {
			in.end()
		}
		p.tunnel(x)
	default:
		p.passOn(x)
	}
	p.record(x, route, c)
}

// tunnel carries what follows 101, which is no request any more.
func (p *Proxy) tunnel(x *exchange.Exchange) {
	p.metrics.ActiveRequests.Dec()
	defer p.metrics.ActiveRequests.Inc()
	p.metrics.OpenTunnels.Inc()
	defer p.metrics.OpenTunnels.Dec()
	p.passOn(x)
}

// passOn gives the response to the client's side, and the endpoint's connection back.
func (p *Proxy) passOn(x *exchange.Exchange) {
	if err := x.Downstream.Respond(x); err != nil {
		reason := exchange.ClientReset
		var failure *exchange.Failure
		if errors.As(err, &failure) {
			reason = failure.Reason
		}
		x.Record.Reason = reason
	}
	if stream := x.Response.Stream; stream != nil {
		x.Response.Stream = nil
		stream.Release()
	}
}

// record counts the exchange and logs it.
func (p *Proxy) record(x *exchange.Exchange, route *router.Route, c *Configuration) {
	r := &x.Record
	r.End = exchange.Now()
	if r.Start == 0 {
		r.Start = r.End
	}
	if route != nil {
		route.Metrics.Observe(x)
	} else {
		p.metrics.NoRoute().Observe(x)
	}
	if p.access.Enabled() {
		p.access.Log(x, c.Hash)
	}
	if x.Trace != nil {
		x.Trace.Done(x)
	}
}
