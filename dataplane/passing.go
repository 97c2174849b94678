package dataplane

import (
	"context"
	"errors"

	"github.com/pingora-proxy/pingora-proxy/dataplane/health"
	"github.com/pingora-proxy/pingora-proxy/dataplane/listener"
)

// Offer returns copies of the sockets that clients connect to, for a process that takes this one's place. No configuration
// must be applied until it has them, or has failed.
func (d *DataPlane) Offer() ([]listener.Socket, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	out, err := d.sockets.Offer()
	for _, l := range d.open {
		own, ownErr := l.Offer()
		out, err = append(out, own...), errors.Join(err, ownErr)
	}
	if err != nil {
		for _, s := range out {
			s.Close()
		}
		return nil, err
	}
	return out, nil
}

// Leave says that another process accepts on the sockets that Offer returned, but for those whose address left names:
// they close when Drain is called, without a word to the clients that the kernel has queued for the other one.
func (d *DataPlane) Leave(left func(address string) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.Unready()
	d.draining = true // no configuration is taken any more
	for _, l := range d.open {
		if !left(l.Address()) {
			l.Leave()
		}
	}
}

// awaitChecks returns when every endpoint was checked once, the patience is over, or this is not the first configuration.
// The caller holds d.mu.
func (d *DataPlane) awaitChecks(ctx context.Context) {
	health.Await(ctx, d.clusters, d.patience)
	d.patience = 0
}
