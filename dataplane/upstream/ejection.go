package upstream

import (
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/digest"
)

// maxEjectionFactor bounds how much longer than the first an ejection may take.
const maxEjectionFactor = 10

// An ejection takes an endpoint out for a while that fails real requests. Guarded by the cluster's mutex.
type ejection struct {
	timer    *time.Timer // brings the endpoint back; nil: it is not ejected
	until    time.Time
	count    int       // recent ejections; each makes the next one longer
	returned time.Time // when the last one ended
}

// Report tells how an attempt on the endpoint ended: with RoundTrip's failure, or, where that is nil, with a response of
// that status. Failures to connect, resets, time-outs, invalid responses and the statuses 502, 503 and 504 count against
// the endpoint; any other response clears its name. A client that went away says nothing about the endpoint.
func (e *Endpoint) Report(status int, f *exchange.Failure) {
	if f == nil && !failing(status) {
		if e.errors.Load() != 0 {
			e.errors.Store(0)
		}
		return
	}
	reason := strconv.Itoa(status)
	if f != nil {
		if f.Reason == exchange.ProxyExhausted { // it says nothing about the endpoint
			e.noteError(f.Error())
		}
		if !theirs(f.Reason) {
			return
		}
		e.noteError(f.Error())
		reason = string(f.Reason)
	}
	passive := e.cluster.settings.Load().Passive
	if passive == nil {
		return
	}
	// Where the endpoint may not be ejected, its next errors are counted anew before all others are looked at again.
	if int(e.errors.Add(1))%max(passive.ConsecutiveErrors, 1) == 0 {
		e.eject(reason)
	}
}

// failing reports whether a response says that the endpoint, or what it needs, is not well.
func failing(status int) bool { return status >= 502 && status <= 504 }

// theirs reports whether the endpoint, or the way to it, is to blame.
func theirs(reason exchange.Reason) bool {
	switch reason {
	case exchange.ConnectFailed, exchange.ConnectTimeout, exchange.UpstreamTLS, exchange.AddressNotAllowed, exchange.UpstreamReset,
		exchange.UpstreamTimeout, exchange.UpstreamProtocol, exchange.UpstreamTruncated, exchange.UpstreamIdle:
		return true
	}
	return false
}

func (e *Endpoint) eject(reason string) {
	c := e.cluster
	c.mu.Lock()
	passive := c.settings.Load().Passive
	if passive == nil || e.gone || e.ejection.timer != nil || !c.mayEject(e, passive.MaxEjectionPercent) {
		c.mu.Unlock()
		return
	}
	e.errors.Store(0)
	now := time.Now()
	j := &e.ejection
	if !j.returned.IsZero() { // each good stretch as long as a first ejection forgives one
		j.count = max(0, j.count-int(now.Sub(j.returned)/max(passive.Ejection, 1)))
	}
	j.count++
	d := passive.Ejection * time.Duration(min(j.count, maxEjectionFactor))
	j.until = now.Add(d)
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		c.mu.Lock()
		var events []event
		if e.ejection.timer == timer {
			events = append(e.endEjection(), c.refresh()...)
		}
		c.mu.Unlock()
		c.owner.emit(events)
	})
	j.timer = timer
	count := j.count
	events := []event{{e, digest.WasEjected, func(log logr.Logger, o Observer, cluster string, addr netip.AddrPort) {
		log.Info("endpoint is ejected: it failed too many requests in a row", "reason", reason,
			"seconds", d.Seconds(), "ejections", count)
		o.EndpointEjected(cluster, addr, reason, d)
	}}}
	events = append(events, c.refresh()...)
	c.mu.Unlock()
	c.owner.emit(events)
}

// A census is how many of the endpoints that have a weight are in which state.
type census struct{ total, serving, ejected int }

func count(members []member) (n census) {
	for _, m := range members {
		if m.weight == 0 {
			continue
		}
		n.total++
		if m.endpoint.available() {
			n.serving++
		}
		if m.endpoint.ejection.timer != nil {
			n.ejected++
		}
	}
	return n
}

// tolerable reports whether so many may be ejected: no more than the percentage and, unless that is 100, never so that
// none can serve.
func (n census) tolerable(percent int) bool {
	return n.ejected*100 <= percent*n.total && (n.serving > 0 || percent >= 100)
}

// mayEject reports whether e may be ejected too. The caller holds c.mu.
func (c *Cluster) mayEject(e *Endpoint, percent int) bool {
	members := c.set.Load().members
	if slices.ContainsFunc(members, func(m member) bool { return m.endpoint == e && m.weight == 0 }) {
		return false // it gets nothing anyway
	}
	n := count(members)
	n.ejected++
	if e.available() {
		n.serving--
	}
	return n.tolerable(percent)
}

// pardon ends ejections, those that are over first, until what remains is tolerable: endpoints that left, or that their
// checks took out, may have made the ejected ones too large a share. The caller holds c.mu and publishes members.
func (c *Cluster) pardon(members []member) (events []event) {
	passive := c.settings.Load().Passive
	if passive == nil {
		return nil
	}
	for n := count(members); n.ejected > 0 && !n.tolerable(passive.MaxEjectionPercent); n = count(members) {
		var first *Endpoint
		for _, m := range members {
			if e := m.endpoint; m.weight > 0 && e.ejection.timer != nil &&
				(first == nil || e.ejection.until.Before(first.ejection.until)) {
				first = e
			}
		}
		events = append(events, first.endEjection()...)
	}
	return events
}

// endEjection brings an ejected endpoint back. The caller holds cluster.mu and refreshes the cluster.
func (e *Endpoint) endEjection() []event {
	if e.ejection.timer == nil {
		return nil
	}
	e.stopEjection()
	e.ejection.returned = time.Now()
	e.since = exchange.Now()
	return []event{{e, digest.HasReturned, func(log logr.Logger, o Observer, cluster string, addr netip.AddrPort) {
		log.Info("ejection is over: endpoint gets requests again")
		o.EndpointReturned(cluster, addr)
	}}}
}

// stopEjection ends an ejection without a word. The caller holds cluster.mu.
func (e *Endpoint) stopEjection() {
	if j := &e.ejection; j.timer != nil {
		j.timer.Stop()
		j.timer, j.until = nil, time.Time{}
	}
}
