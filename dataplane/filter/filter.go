package filter

import (
	"context"
	"errors"
	"net/http"
	"time"

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

// An Heir is a Config whose filter can go on with what an earlier one has counted, though settings have changed since.
type Heir interface {
	Config
	// Lineage is the same for all whose counts mean the same.
	Lineage() string
	// Inherit makes a filter that goes on with the counts of one of the same Lineage, which serves on until it is closed.
	Inherit(env Env, from Filter) (Filter, error)
}

// Env is what a filter gets of the process around it.
type Env struct {
	Log     logr.Logger
	Metrics Metrics
	// Send asks an endpoint of a cluster and fills in x.Response, which the caller releases with x.ResetResponse. It needs
	// nothing of x but the Request. An error, an *exchange.Failure, says that there is no response. The cluster is one of
	// the snapshot that the filter's Config came with.
	Send func(cluster string, x *exchange.Exchange, timeout time.Duration) error
	// Fetch asks for a URL. The address policy holds for it, redirections included.
	Fetch *http.Client
	// Replicas is how many replicas serve, this one included, where shared limits are divided between them; 1 at least.
	Replicas func() int
	// Shared counts limits for all replicas together; nil where there is no store.
	Shared Shared
	// Background runs f on a goroutine of its own, with a context that ends before Close of the filter returns.
	Background func(f func(ctx context.Context))
}

// Metrics are what filters count.
type Metrics interface {
	// RateLimited counts a request that was above a limit.
	RateLimited(namespace, service, limit, mode string)
	// SharedLimitError counts a request for which the store of shared limits had no answer.
	SharedLimitError()
	// JWKSRefresh counts a fetch of a provider's keys.
	JWKSRefresh(provider string, ok bool)
	// Mirrored counts a copy of a request: sent, dropped or failed.
	Mirrored(result string)
}

// ErrNoStore is what Shared.Take says where no store is configured.
var ErrNoStore = errors.New("there is no store of shared limits")

// Shared counts rate limits for all replicas together.
type Shared interface {
	// Take asks for one request of a limit that allows burst at once and one every interval on average (GCRA). allowed says
	// whether there was one; retry, after which time there will be; remaining, how many there are now; reset, when all of
	// burst are there again if nobody comes. An error says that nobody knows: the caller counts for itself.
	Take(ctx context.Context, key string, burst int, interval time.Duration) (allowed bool, remaining int, retry, reset time.Duration, err error)
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
