package balance

import (
	"math"
	"net/netip"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// members returns members of these weights, of the addresses 10.0.0.1, 10.0.0.2, …
func members(s *State, weights ...uint32) []Member {
	list := make([]Member, len(weights))
	for i, w := range weights {
		list[i] = member(s, i+1, w)
	}
	return list
}

func member(s *State, n int, weight uint32) Member {
	l := new(Load)
	l.Join(&s.Running)
	addr := netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)})
	return Member{Load: l, Weight: weight, Key: KeyOf(netip.AddrPortFrom(addr, 80))}
}

func newHash(s *State, list []Member, old *Balance) *Balance {
	return New(snapshot.ConsistentHash, 0, list, s, old)
}

// near reports whether a count of n draws of probability p is believable: within six standard deviations.
func near(got, n int, p float64) bool {
	return math.Abs(float64(got)-float64(n)*p) <= 6*math.Sqrt(float64(n)*p*(1-p))+1
}
