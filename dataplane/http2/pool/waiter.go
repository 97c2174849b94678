package pool

import (
	"context"
	"net"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/wire"
)

// A waiter is an exchange that waits for a connection which another one opens.
type waiter struct {
	woken chan struct{}
	timer wire.Timer // for the client to wake it by; no sweeper looks at it
	clock *time.Timer
}

func (w *waiter) attach(x *exchange.Exchange, t Try) {
	w.timer.Owner = w
	if client, ok := x.Downstream.(wire.Client); ok {
		client.Attach(&w.timer)
		if client.Aborted() {
			w.Wake()
		}
	}
	if t.Deadline != 0 {
		w.clock = time.AfterFunc(time.Duration(t.Deadline-exchange.Now()), w.Wake)
	}
}

func (w *waiter) detach(x *exchange.Exchange) {
	if client, ok := x.Downstream.(wire.Client); ok {
		client.Attach(nil)
	}
	if w.clock != nil {
		w.clock.Stop()
	}
}

// Wake implements wire.Sleeper.
func (w *waiter) Wake() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

// over says why there is nothing to wait for any more.
func (w *waiter) over(x *exchange.Exchange, t Try) error {
	if client, ok := x.Downstream.(wire.Client); ok && client.Aborted() {
		return &exchange.Failure{Reason: exchange.ClientReset, Err: net.ErrClosed}
	}
	if t.Deadline != 0 && exchange.Now() >= t.Deadline {
		return &exchange.Failure{Reason: exchange.UpstreamTimeout, Err: context.DeadlineExceeded}
	}
	return nil
}
