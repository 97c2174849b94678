package dataplane

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream"
)

// A liveFilter is an instance with what runs for it in the background.
type liveFilter struct {
	filter  filter.Filter
	lineage string // of a filter.Heir
	end     context.CancelFunc
	running sync.WaitGroup
}

// newFilter makes the instance of a Config, which goes on with what one of its lineage has counted.
func (d *DataPlane) newFilter(config filter.Config, lineages map[string]filter.Filter) (*liveFilter, error) {
	ctx, cancel := context.WithCancel(context.Background())
	l := &liveFilter{end: cancel}
	create := config.New
	if heir, ok := config.(filter.Heir); ok {
		l.lineage = heir.Lineage()
		if from := lineages[l.lineage]; from != nil {
			create = func(env filter.Env) (filter.Filter, error) { return heir.Inherit(env, from) }
		}
	}
	made, err := create(filter.Env{
		Log:      d.log.WithName("filter"),
		Metrics:  d.metrics,
		Send:     d.send,
		Fetch:    d.fetch,
		Replicas: func() int { return int(max(d.replicas.Load(), 1)) },
		Shared:   d.store,
		Background: func(f func(ctx context.Context)) {
			l.running.Go(func() { f(ctx) })
		},
	})
	if err != nil {
		cancel()
		l.running.Wait()
		return nil, err
	}
	l.filter = made
	return l, nil
}

// lineages are the live filters that heirs may go on from.
func (d *DataPlane) lineages() map[string]filter.Filter {
	all := map[string]filter.Filter{}
	for _, f := range d.filters {
		if f.lineage != "" {
			all[f.lineage] = f.filter
		}
	}
	return all
}

// close ends what runs in the background, then the filter.
func (l *liveFilter) close() {
	l.end()
	l.running.Wait()
	l.filter.Close()
}

// SetReplicas says how many replicas serve, this one included: shared limits without a store are divided between them.
func (d *DataPlane) SetReplicas(n int) { d.replicas.Store(int64(n)) }

// sendTries is how many endpoints are asked for a filter.
const sendTries = 2

// send implements filter.Env.Send: an exchange of the proxy's own.
func (d *DataPlane) send(cluster string, x *exchange.Exchange, timeout time.Duration) error {
	c := d.clusters.Get(cluster)
	if c == nil {
		return &exchange.Failure{Reason: exchange.NoEndpoints, Err: fmt.Errorf("there is no cluster %q", cluster)}
	}
	if x.Downstream == nil {
		x.Downstream = &caller{ctx: d.calls}
	}
	if c, ok := x.Downstream.(*caller); ok {
		defer context.AfterFunc(c.ctx, c.wake)()
	}
	deadline := exchange.Now() + exchange.Nanos(timeout)
	var tried upstream.Choice
	for n := 1; ; n++ {
		endpoint, reason := c.Pick(&tried)
		if endpoint == nil {
			return &exchange.Failure{Reason: reason, Err: errors.New("no endpoint can serve")}
		}
		err := endpoint.RoundTrip(x, upstream.Try{Connect: timeout, Deadline: deadline, Idle: timeout})
		if err == nil {
			endpoint.Report(x.Response.Status, nil)
			return nil
		}
		var failure *exchange.Failure
		if !errors.As(err, &failure) {
			failure = &exchange.Failure{Reason: exchange.UpstreamReset, Sent: true, Err: err}
		}
		if d.calls.Err() != nil { // it is not the endpoint that has failed
			return failure
		}
		endpoint.Report(0, failure)
		if n == sendTries || failure.Sent || failure.BodyRead || exchange.Now() >= deadline {
			return failure
		}
		tried.Add(endpoint)
		x.ResetResponse()
	}
}

// A caller is the client of an exchange that the proxy itself asks for. It is gone when its context ends.
type caller struct {
	ctx     context.Context
	waiting atomic.Pointer[wire.Timer]
}

// Interim implements exchange.Downstream.
func (*caller) Interim(*exchange.Exchange, int, *exchange.Header) error { return nil }

// Respond implements exchange.Downstream.
func (*caller) Respond(*exchange.Exchange) error { return nil }

// Attach implements wire.Client.
func (c *caller) Attach(t *wire.Timer) { c.waiting.Store(t) }

// Aborted implements wire.Client.
func (c *caller) Aborted() bool { return c.ctx.Err() != nil }

// Context is what the endpoint's connection is opened with.
func (c *caller) Context() context.Context { return c.ctx }

func (c *caller) wake() {
	if t := c.waiting.Load(); t != nil {
		t.Owner.Wake() // one that carries another exchange by now takes no notice
	}
}
