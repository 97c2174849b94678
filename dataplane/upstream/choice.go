package upstream

import (
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/balance"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/breaker"
)

// A Choice is what one exchange says about the endpoint that it goes to, and what it has tried. The zero value says
// nothing; it is made to lie on the caller's stack. Who has given one to Choose calls Release when the exchange is over:
// until then it may hold a place among the requests that a circuit breaker lets run.
type Choice struct {
	Patience   time.Duration // for how long Choose may wait for such a place
	RetryAfter time.Duration // where Choose said CircuitOpen: after which it is worth while to ask again

	Exchange *exchange.Exchange // that waits; nil where nobody need be told

	Hash uint64 // of the key for consistent hashing; 0: the exchange has none

	tried balance.Tried
	pass  breaker.Pass
}

// Add remembers an endpoint that was tried. What comes after 16 replaces the last one.
func (w *Choice) Add(e *Endpoint) { w.tried.Add(&e.inFlight) }

// Tried reports whether an endpoint was tried.
func (w *Choice) Tried(e *Endpoint) bool { return w.tried.Has(&e.inFlight) }

// Tries is how many endpoints were tried.
func (w *Choice) Tries() int { return w.tried.Len() }

// Release says that the exchange is over. It may be called again, and on the zero value.
func (w *Choice) Release() { w.pass.Release() }

// Report tells how an attempt on e, which was chosen, ended: the endpoint (see Endpoint.Report), and its cluster's
// circuit breaker, which takes the same for failures.
func (w *Choice) Report(now exchange.Nanos, e *Endpoint, status int, f *exchange.Failure) {
	e.Report(status, f)
	switch {
	case f == nil:
		w.pass.Report(now, failing(status))
	case theirs(f.Reason):
		w.pass.Report(now, true)
	}
}

// Enter asks the cluster's circuit breaker for leave, which w, that holds none, then holds. Without w nothing is held.
func (c *Cluster) Enter(w *Choice, patience time.Duration) bool {
	if !c.breaker.On() {
		return true
	}
	now := exchange.Now()
	if w == nil {
		return !c.breaker.Refuses(now)
	}
	if w.Exchange != nil && patience > 0 && c.breaker.Full() {
		w.Exchange.Leave()
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

// Choose is Pick behind the circuit breaker, for whose leave it waits up to patience: it may also say CircuitOpen.
func (c *Cluster) Choose(w *Choice, patience time.Duration) (*Endpoint, exchange.Reason) {
	if !c.Enter(w, patience) {
		return nil, exchange.CircuitOpen
	}
	e, reason := c.Pick(w)
	if e == nil && w != nil {
		w.pass.Release()
	}
	return e, reason
}
