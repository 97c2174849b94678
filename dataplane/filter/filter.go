package filter

import (
	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// A Verdict says what happens to a request after a filter has seen it.
type Verdict uint8

// The verdicts.
const (
	Continue Verdict = iota // to the next filter
	Respond                 // the filter has filled in x.Response: it is sent, no endpoint is asked
)

// A Filter is one feature. One instance serves many exchanges at once, each on the goroutine of its connection; a
// method may block (the goroutine waits, nobody else does). Embed Nop for the hooks that a feature does not need.
type Filter interface {
	// Request runs once a request, after the route was found and before an endpoint is picked.
	Request(x *exchange.Exchange) Verdict
	// Attempt runs before each try, when the endpoint is known.
	Attempt(x *exchange.Exchange)
	// Response runs once, when the response that will be sent is known: an endpoint's, or one made here.
	Response(x *exchange.Exchange)
	// Done runs when the exchange is over, also after a Respond of an earlier filter.
	Done(x *exchange.Exchange)
	// Close runs after the last exchange, when no configuration names the filter any more.
	Close()
}

// A Config describes a filter. Equal keys mean one instance: Key holds the owner (service and route) and every
// setting.
type Config interface {
	Key() string
	New(env Env) (Filter, error)
}

// Env is what a filter gets of the process around it.
type Env struct {
	Log logr.Logger
}

// Nop is a Filter that does nothing.
type Nop struct{}

// Request implements Filter.
func (Nop) Request(*exchange.Exchange) Verdict { return Continue }

// Attempt implements Filter.
func (Nop) Attempt(*exchange.Exchange) {}

// Response implements Filter.
func (Nop) Response(*exchange.Exchange) {}

// Done implements Filter.
func (Nop) Done(*exchange.Exchange) {}

// Close implements Filter.
func (Nop) Close() {}
