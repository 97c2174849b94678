package upstream

import (
	"strings"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/balance"
)

// A set is the endpoints of a cluster. It is immutable.
type set struct {
	members []member
	choices []*Endpoint // that can serve, by their places in balance
	balance *balance.Balance
	others  []*Endpoint // that can serve too, and are meant for other zones
}

type member struct {
	endpoint *Endpoint
	weight   uint32
	zones    string // see snapshot.Endpoint
}

// newSet makes the set of members. The caller holds c.mu; old may be nil.
func (c *Cluster) newSet(members []member, old *set) *set {
	settings := c.settings.Load()
	s := &set{members: members}
	near := c.near(settings, members)
	list := make([]balance.Member, 0, len(members))
	for _, m := range members {
		e := m.endpoint
		switch {
		case m.weight == 0 || !e.available():
		case near && !meantFor(m.zones, c.owner.options.Zone):
			s.others = append(s.others, e)
		default:
			s.choices = append(s.choices, e)
			list = append(list, balance.Member{Load: &e.inFlight, Weight: m.weight, Key: e.key, Since: e.since})
		}
	}
	var before *balance.Balance
	if old != nil {
		before = old.balance
	}
	s.balance = balance.New(settings.Algorithm, settings.SlowStart, list, &c.balancing, before)
	return s
}

// near reports whether the endpoints that are meant for our zone are enough: at least half of them can serve. Where one
// endpoint says nothing about zones, nobody has divided them up.
func (c *Cluster) near(s *snapshot.Cluster, members []member) bool {
	zone := c.owner.options.Zone
	if !s.ZoneAware || zone == "" {
		return false
	}
	ours, serving := 0, 0
	for _, m := range members {
		switch {
		case m.weight == 0:
		case m.zones == "":
			return false
		case meantFor(m.zones, zone):
			ours++
			if m.endpoint.available() {
				serving++
			}
		}
	}
	return serving > 0 && 2*serving >= ours
}

// meantFor reports whether zones, with commas between them, hold zone.
func meantFor(zones, zone string) bool {
	for z := range strings.SplitSeq(zones, ",") {
		if z == zone {
			return true
		}
	}
	return false
}

// pick returns an endpoint that w, which may be nil, has not tried, or nil.
func (s *set) pick(w *Choice) *Endpoint {
	if w == nil {
		if at := s.balance.Pick(nil, 0); at >= 0 {
			return s.choices[at]
		}
	} else if at := s.balance.Pick(&w.tried, w.Hash); at >= 0 {
		return s.choices[at]
	}
	for _, e := range s.others {
		if w == nil || !w.tried.Has(&e.inFlight) {
			return e
		}
	}
	return nil
}

// serving is how many endpoints can serve.
func (s *set) serving() int { return len(s.choices) + len(s.others) }

func (s *set) reason() exchange.Reason {
	for _, m := range s.members {
		if m.weight > 0 {
			return exchange.NoHealthyUpstream
		}
	}
	return exchange.NoEndpoints
}
