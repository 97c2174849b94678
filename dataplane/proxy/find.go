package proxy

import (
	"strconv"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/router"
)

// find finds out who asks for what. It returns the route, or nil where the answer is made already.
func find(x *exchange.Exchange, c *Configuration) *router.Route {
	r := &x.Request
	stripRequest(r)
	if r.Method == exchange.CONNECT { // it names a host and no path: there is nothing to look up
		identify(x, nil)
		refuseMethod(x)
		return nil
	}
	r.KeepSlashes = c.Table.KeepsSlashes(x.Conn.Listener, r.Host)
	if !x.NormalizePath() {
		identify(x, nil)
		x.Answer(400, exchange.BadRequest)
		return nil
	}
	dropCertificate(&r.Header)
	found := c.Table.Lookup(x)
	r.Header.DropUnderscored(found.Service != nil && found.Service.Snapshot.Underscores)
	if found.Service != nil {
		identify(x, found.Service.Snapshot)
		x.Record.Namespace, x.Record.Service = found.Service.Snapshot.Namespace, found.Service.Snapshot.Name
	} else {
		identify(x, nil)
	}
	switch {
	case c.Table.Misdirected(x, found.Service):
		x.Answer(421, exchange.Misdirected)
	case r.Method == exchange.TRACE:
		refuseMethod(x)
	case r.Method == exchange.OPTIONS && !mayForward(x):
		x.Response.Status, x.Response.Local, x.Record.Reason = 204, true, exchange.LastForward
		x.Response.Header.Add("Allow", allowed)
	case found.Health:
		answerHealth(x, found.Service)
	case found.Route == nil:
		x.Answer(404, exchange.NoRoute)
	default:
		s := found.Route.Snapshot
		x.Record.Route = s.Name
		x.Idle = s.Timeouts.Idle
		if s.Invalid == "" {
			addCertificate(x)
			addForwarding(x, c) // before the filters: a rewritten host is not what the client asked for
			return found.Route
		}
		x.Answer(503, exchange.InvalidConfig)
	}
	return nil
}

// allowed are the methods that are forwarded.
const allowed = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

// mayForward counts Max-Forwards down and reports whether the request may go on: the client asks who stands so many steps
// behind it (RFC 9110 §7.6.2). What is no number is left to the endpoint.
func mayForward(x *exchange.Exchange) bool {
	h := &x.Request.Header
	value := h.Value(exchange.MaxForwards)
	if value == nil {
		return true
	}
	n, err := strconv.ParseUint(string(value), 10, 32)
	if err != nil {
		return true
	}
	if n == 0 {
		return false
	}
	h.SetID(exchange.MaxForwards, strconv.AppendUint(nil, n-1, 10))
	return true
}

// refuseMethod answers a method that is not for proxies like this one: CONNECT would reach what no route names, TRACE would
// show a page what its browser keeps from it.
func refuseMethod(x *exchange.Exchange) {
	x.Answer(405, exchange.MethodRefused)
	x.Response.Header.Add("Allow", allowed)
	x.Response.Close = x.Request.Method == exchange.CONNECT // the client may take what follows for a tunnel
}

// answerHealth answers for a service: 200 while at least one endpoint can serve, or where none is needed.
func answerHealth(x *exchange.Exchange, s *router.Service) {
	status, body := 200, `{"status":"healthy"}`+"\n"
	needed, healthy := false, false
	for _, route := range s.Routes {
		if len(route.Snapshot.Clusters) > 0 {
			needed = true
			healthy = healthy || route.Group.Healthy()
		}
	}
	if needed && !healthy {
		status, body = 503, `{"status":"unhealthy"}`+"\n"
	}
	x.Record.Reason = exchange.HealthEndpoint
	x.Response.Status = status
	x.AnswerBody("application/json", []byte(body))
	x.Response.Header.Add("Cache-Control", "no-store")
}
