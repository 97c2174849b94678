package upstream

import (
	"net/netip"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/digest"
)

// An event is a change, to be logged and told to the Observer when no lock is held any more.
type event struct {
	endpoint *Endpoint
	change   digest.Change
	tell     func(log logr.Logger, o Observer, cluster string, addr netip.AddrPort)
}

// emit tells events: each one to the Observer, and to the log what the digest does not keep.
func (cs *Clusters) emit(events []event) {
	for _, v := range events {
		c, addr := v.endpoint.cluster, v.endpoint.addr
		serving, total := c.Counts()
		log := logr.Discard()
		if cs.digest.Admits(v.change, serving == 0) {
			log = cs.options.Log.WithValues("service", c.Settings().Service, "cluster", c.id, "endpoint", addr.String(),
				"serving", serving, "endpoints", total)
		}
		v.tell(log, cs.options.Observer, c.id, addr)
	}
}

// summarise logs what had no lines in the last round, in one.
func (cs *Clusters) summarise() {
	kept := cs.digest.Next()
	if kept == (digest.Counts{}) {
		return
	}
	empty, all := 0, cs.All()
	for _, c := range all {
		if !c.CanServe() {
			empty++
		}
	}
	cs.options.Log.Info("more endpoints changed than are logged one by one; the admin API has the state of each",
		"unhealthy", kept[digest.BecameUnhealthy], "healthy_again", kept[digest.BecameHealthy], "ejected", kept[digest.WasEjected], "returned", kept[digest.HasReturned],
		"clusters", len(all), "clusters_that_cannot_serve", empty)
}
