package proxy

import (
	"errors"
	"slices"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/router"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/group"
)

// statusClientGone stands in the log for a client that went away before there was a response; nothing is sent.
const statusClientGone = 499

// forward tries endpoints until one answers, and makes the answer where none does. choice is empty; the caller releases it
// when the exchange is over.
func (p *Proxy) forward(x *exchange.Exchange, route *router.Route, choice *group.Choice) {
	s := route.Snapshot
	if len(s.Clusters) == 0 {
		x.Answer(503, exchange.NoEndpoints)
		return
	}
	choice.Patience, choice.Exchange = patience(&s.Timeouts), x
	route.Group.Choose(x, choice)
	endpoint, reason := route.Group.Pick(choice)
	if endpoint == nil {
		if reason == exchange.CircuitOpen {
			turnAway(x, reason, choice.RetryAfter)
		} else {
			x.Answer(503, reason)
		}
		return
	}
	budget := route.Group.Budget()
	now := x.Record.Start
	budget.Request(now)
	var deadline exchange.Nanos
	if s.Timeouts.Request > 0 {
		deadline = now + exchange.Nanos(s.Timeouts.Request)
	}
	for {
		failure := p.attempt(x, route, choice, endpoint, now, deadline)
		now = x.Record.UpstreamHead
		if x.Record.Attempts < s.Retry.Attempts && retryable(x, s, failure) && (deadline == 0 || now < deadline) {
			choice.Add(endpoint)
			if next, _ := route.Group.Pick(choice); next != nil && budget.Retry(now, s.Retry.BudgetPercent) {
				x.ResetResponse()
				endpoint = next
				continue
			}
		}
		switch {
		case failure != nil:
			answerFailure(x, failure)
		case x.Response.Status < 500:
			route.Group.Stick(x, choice, endpoint)
		}
		return
	}
}

// patience is how long a request waits for a place where a circuit breaker lets no more run: as long as for a connection.
func patience(t *snapshot.Timeouts) time.Duration {
	if t.Request > 0 && (t.Connect == 0 || t.Request < t.Connect) {
		return t.Request
	}
	return t.Connect
}

// attempt asks one endpoint. It returns nil where there is a response.
func (p *Proxy) attempt(
	x *exchange.Exchange, route *router.Route, choice *group.Choice, endpoint *upstream.Endpoint, now, deadline exchange.Nanos,
) *exchange.Failure {
	s := route.Snapshot
	x.Record.Attempts++
	x.Record.UpstreamStart = now
	try := upstream.Try{Connect: s.Timeouts.Connect, Deadline: deadline, Idle: s.Timeouts.Idle}
	if s.Retry.PerTryTimeout > 0 {
		if at := now + exchange.Nanos(s.Retry.PerTryTimeout); deadline == 0 || at < deadline {
			try.Deadline = at
		}
	}
	if x.Trace != nil {
		x.Trace.Attempt(x)
	}
	for _, f := range route.Filters {
		f.Attempt(x)
	}
	err := endpoint.RoundTrip(x, try)
	x.Record.UpstreamHead = exchange.Now()
	if err == nil {
		endpoint.Took(x.Record.UpstreamHead - now)
		choice.Report(x.Record.UpstreamHead, endpoint, x.Response.Status, nil)
		if x.Trace != nil {
			x.Trace.Attempted(x, nil)
		}
		return nil
	}
	var failure *exchange.Failure
	if !errors.As(err, &failure) {
		failure = &exchange.Failure{Reason: exchange.UpstreamReset, Sent: true, Err: err}
	}
	if !clientFault(failure.Reason) {
		choice.Report(x.Record.UpstreamHead, endpoint, 0, failure)
		p.metrics.UpstreamError(failure.Reason)
		p.exhausted(x.Record.UpstreamHead, failure)
	}
	if x.Trace != nil {
		x.Trace.Attempted(x, failure)
	}
	p.log.V(1).Info("a try failed", "reason", failure.Reason, "error", failure.Err, "request_id", string(x.RequestID),
		"route", s.ID(), "endpoint", x.Record.Upstream.String(), "attempt", x.Record.Attempts)
	return failure
}

// sayExhausted is how often the log is told that this machine has run out of something.
const sayExhausted = exchange.Nanos(30 * time.Second)

// exhausted tells the log, once in a while, that connections to endpoints cannot be opened for want of something here.
func (p *Proxy) exhausted(now exchange.Nanos, failure *exchange.Failure) {
	if failure.Reason != exchange.ProxyExhausted {
		return
	}
	last := p.toldExhausted.Load()
	if last != 0 && now-exchange.Nanos(last) < sayExhausted || !p.toldExhausted.CompareAndSwap(last, int64(now)) {
		return
	}
	p.log.Error(failure.Err, "connections to endpoints cannot be opened: this machine has run out of descriptors, ports or memory")
}

// clientFault reports whether the client, and not the endpoint, ended an upload.
func clientFault(reason exchange.Reason) bool {
	switch reason {
	case exchange.ClientReset, exchange.RequestTimeout, exchange.BadRequest, exchange.HeaderTooLarge, exchange.BodyTooLarge:
		return true
	}
	return false
}

// retryable reports whether another try is safe: nothing was sent; or the request is idempotent, its body was not
// consumed, and there was no byte of a response (RFC 9110 §9.2.2), or a status that the user wants tried again.
func retryable(x *exchange.Exchange, s *snapshot.Route, failure *exchange.Failure) bool {
	r := &x.Request
	if failure == nil {
		return len(s.Retry.Codes) > 0 && r.Method.Idempotent() && again(r.Body) && slices.Contains(s.Retry.Codes, x.Response.Status)
	}
	switch failure.Reason {
	case exchange.ConnectFailed, exchange.ConnectTimeout, exchange.UpstreamTLS, exchange.AddressNotAllowed, exchange.UpstreamReset,
		exchange.UpstreamTimeout, exchange.ProxyExhausted:
		return !failure.BodyRead && (!failure.Sent || r.Method.Idempotent())
	}
	return false
}

// again reports whether a body can be sent once more: there is none, or it lies in memory.
func again(body exchange.Body) bool {
	_, ok := body.(*exchange.Bytes)
	return ok || body == nil
}

// answerFailure makes the answer of a request that no endpoint answered.
func answerFailure(x *exchange.Exchange, failure *exchange.Failure) {
	status := 502
	switch failure.Reason {
	case exchange.UpstreamTimeout, exchange.ConnectTimeout:
		status = 504
	case exchange.ProxyExhausted:
		turnAway(x, failure.Reason, time.Second)
		return
	case exchange.RequestTimeout:
		status = 408
	case exchange.BadRequest:
		status = 400
	case exchange.HeaderTooLarge:
		status = 431
	case exchange.BodyTooLarge:
		status = 413
	case exchange.ClientReset:
		x.ResetResponse()
		x.Response.Status, x.Record.Reason = statusClientGone, exchange.ClientReset
		return
	}
	x.Answer(status, failure.Reason)
	x.Response.Close = clientFault(failure.Reason)
}
