package upstream

import (
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/balance"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/breaker"
)

// A Choice is what one exchange says about the endpoint that it goes to, and what it has tried. The zero value says
// nothing; it is made to lie on the caller's stack. Who has given one to Group.Pick calls Release when the exchange is
// over: until then it may hold a place among the requests that a circuit breaker lets run.
type Choice struct {
	Patience   time.Duration // for how long Pick may wait for such a place
	RetryAfter time.Duration // where Pick said CircuitOpen: after which it is worth while to ask again

	tried    balance.Tried
	hash     uint64    // 0: the exchange has no key
	directed bool      // one of the following is set
	override *Cluster  // that the exchange asks for
	stuck    *Endpoint // that the client's cookie names
	renew    bool      // the cookie is about to end
	pass     breaker.Pass
}

// Add remembers an endpoint that was tried. What comes after 16 replaces the last one.
func (w *Choice) Add(e *Endpoint) { w.tried.Add(&e.inFlight) }

// Release says that the exchange is over. It may be called again, and on the zero value.
func (w *Choice) Release() { w.pass.Release() }

// Report tells how an attempt on e, which Pick returned, ended: the endpoint (see Endpoint.Report), and its cluster's
// circuit breaker, which takes the same for failures.
func (w *Choice) Report(now exchange.Nanos, e *Endpoint, status int, f *exchange.Failure) {
	e.Report(status, f)
	switch {
	case f == nil:
		w.pass.Report(now, failing(status))
	case theirs(f.Reason) && !ours(f):
		w.pass.Report(now, true)
	}
}

// enter asks the cluster's circuit breaker for leave, which w then holds. Without w nothing is held.
func (c *Cluster) enter(w *Choice, patience time.Duration) bool {
	if !c.breaker.On() {
		return true
	}
	now := exchange.Now()
	if w == nil {
		return !c.breaker.Refuses(now)
	}
	pass, wait, ok := c.breaker.Enter(now, patience)
	if !ok {
		if w.RetryAfter == 0 || wait < w.RetryAfter {
			w.RetryAfter = wait
		}
		return false
	}
	w.pass = pass
	return true
}

// choose is Pick behind the circuit breaker.
func (c *Cluster) choose(w *Choice, patience time.Duration) (*Endpoint, exchange.Reason) {
	if !c.enter(w, patience) {
		return nil, exchange.CircuitOpen
	}
	e, reason := c.Pick(w)
	if e == nil && w != nil {
		w.pass.Release()
	}
	return e, reason
}
