package dataplane

import (
	"context"
	"net"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/dataplane/listener"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
)

// A BindError lists the addresses that a configuration names and that cannot be had. A configuration without them may
// be applied instead.
type BindError struct{ Failures []BindFailure }

// A BindFailure is one address, as the configuration spells it, and why it cannot be bound.
type BindFailure struct {
	Address string
	Err     error
}

// Error implements error.
func (e *BindError) Error() string {
	texts := make([]string, len(e.Failures))
	for i, f := range e.Failures {
		texts[i] = f.Err.Error()
	}
	return strings.Join(texts, "; ")
}

// Unbound lists the failures by address.
func (e *BindError) Unbound() map[string]error {
	causes := make(map[string]error, len(e.Failures))
	for _, f := range e.Failures {
		causes[f.Address] = f.Err
	}
	return causes
}

// Unwrap returns the causes.
func (e *BindError) Unwrap() []error {
	causes := make([]error, len(e.Failures))
	for i, f := range e.Failures {
		causes[i] = f.Err
	}
	return causes
}

// A listenerKey is what a listener stays open under. One whose clients are to speak TLS from now on, or no more, is
// another listener: nothing that was sent in the clear may be taken for what came over TLS. So is one that passes bytes on.
type listenerKey struct {
	address              string
	tls, stream, through bool
}

func keyOf(l *snapshot.Listener) listenerKey {
	return listenerKey{address: l.Address, tls: l.TLS, stream: len(l.Streams) > 0, through: passesThrough(l)}
}

// bind opens the addresses of s that are not open, and says which of the open ones s does not name. A new address may
// overlap one that goes (0.0.0.0:80 and 10.0.0.1:80): then that one's socket is closed first, and opened again where
// the new one cannot be had. The error is a *BindError with everything that cannot be had.
func (d *DataPlane) bind(ctx context.Context, s *snapshot.Snapshot) (all, closed map[listenerKey]*openListener, err error) {
	all, closed = make(map[listenerKey]*openListener), make(map[listenerKey]*openListener)
	for key, l := range d.open {
		closed[key] = l
	}
	for _, l := range s.Listeners {
		key := keyOf(l)
		if live := d.open[key]; live != nil {
			all[key] = live
			delete(closed, key)
		}
	}
	var failures []BindFailure
	for _, l := range s.Listeners {
		if all[keyOf(l)] != nil {
			continue
		}
		made, err := d.sockets.Open(ctx, l.Address, &d.gate, d.log)
		if err != nil {
			for _, going := range closed {
				if samePort(going.Address(), l.Address) {
					going.Close()
				}
			}
			made, err = d.sockets.Open(ctx, l.Address, &d.gate, d.log)
		}
		if err != nil {
			failures = append(failures, BindFailure{Address: l.Address, Err: err})
			continue
		}
		open := &openListener{Listener: made, slot: d.takeSlot(), gone: make(chan struct{})}
		open.running, open.stop = context.WithCancel(context.Background()) //nolint:fatcontext // one a listener, none inside another
		if l.TLS {
			open.tls = listener.NewTerminator(d.handshakes)
		}
		if len(l.Streams) > 0 {
			d.newStreams(open, l)
		}
		all[keyOf(l)] = open
	}
	if len(failures) > 0 {
		d.unbind(ctx, all, closed)
		return nil, nil, &BindError{Failures: failures}
	}
	return all, closed, nil
}

// unbind takes a bind back.
func (d *DataPlane) unbind(ctx context.Context, all, closed map[listenerKey]*openListener) {
	for key, l := range all {
		if d.open[key] != l {
			l.Close()
			l.stop()
			d.slots[l.slot] = false
		}
	}
	for _, l := range closed {
		if !l.Closed() {
			continue
		}
		again, err := d.sockets.Open(ctx, l.Address(), &d.gate, d.log)
		if err != nil {
			d.log.Error(err, "an address that was in use cannot be opened again", "address", l.Address())
			continue
		}
		l.Listener = again
		d.accept(l)
	}
}

// clientLimit returns how many clients may be connected, and says where that is not what was wished for, once for each wish.
func (d *DataPlane) clientLimit(wished int) int {
	descriptors := listener.Descriptors()
	limit, enough := listener.Fit(wished, descriptors)
	if !enough && (!d.ready.Load() || wished != d.serving.Load().snapshot.Limits.MaxConnections) {
		telemetry.Warn(d.log, "there are not descriptors enough for limits.max_connections, two for each: raise the limit of open files (ulimit -n, LimitNOFILE)",
			"max_connections", wished, "descriptors", descriptors, "clients", limit)
	}
	return limit
}

func samePort(a, b string) bool {
	_, portA, errA := net.SplitHostPort(a)
	_, portB, errB := net.SplitHostPort(b)
	return errA == nil && errB == nil && portA == portB
}

func (d *DataPlane) takeSlot() int {
	for i, taken := range d.slots {
		if !taken {
			d.slots[i] = true
			return i
		}
	}
	d.slots = append(d.slots, true)
	return len(d.slots) - 1
}
