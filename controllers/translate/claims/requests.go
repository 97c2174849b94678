package claims

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// Requests knows who takes which requests at which address.
type Requests struct {
	claims map[uint64]*Claim        // by the hashes of their requests: an installation may have 100,000 that hardly ever change
	yields map[*snapshot.Route]bool // weak routes of whose requests others want some
	owner  func(service int) string // names a service

	// Entered are the claims that were new since it was set to nil.
	Entered []*Claim
}

// NewRequests returns one in which nobody takes any. There will be about so many claims. owner names a service, for messages.
func NewRequests(expected int, owner func(service int) string) *Requests {
	return &Requests{claims: make(map[uint64]*Claim, expected), yields: map[*snapshot.Route]bool{}, owner: owner}
}

// A request is what one match of one host takes, spelt so that equal ones are equal.
type request struct {
	address string
	host    string
	match   string
}

// A Claim is who takes requests.
type Claim struct {
	Service int
	Field   string
	Route   string // its name; empty: what no route of the service takes

	// Weak, if it is set, is a route that cannot be built and takes more than it was meant to. It yields to what others want.
	Weak *snapshot.Route

	request request
	hash    uint64
	next    *Claim // of the same hash
}

// seed is of the hashes of requests: nobody can choose those that collide.
var seed = maphash.MakeSeed()

// Name is for messages.
func (r *Requests) Name(c *Claim) string {
	if c.Field == "" {
		return fmt.Sprintf("service `%s`", r.owner(c.Service))
	}
	return fmt.Sprintf("route `%s` of service `%s`", c.Route, r.owner(c.Service))
}

// Take says whether a part or all of the requests of this match are taken already, and by whom; what is new belongs to the
// one who asks from now on.
func (r *Requests) Take(address string, hosts []string, m snapshot.Match, mine Claim) (other Claim, part, all bool) {
	if len(hosts) == 0 {
		hosts = []string{"*"}
	}
	all = true
	spelt := spell(m)
	for _, h := range hosts {
		mine.request = request{address, h, spelt}
		mine.hash = maphash.Comparable(seed, mine.request)
		if c := r.find(&mine); c != nil {
			if c.Weak == nil || mine.Weak != nil || c.Service == mine.Service {
				other, part = *c, true
				continue
			}
			r.yields[c.Weak] = true
		}
		all = false
		entered := mine
		r.enter(&entered)
		r.Entered = append(r.Entered, &entered)
	}
	return other, part, all
}

// find returns the claim that was entered last for the request of c, or nil.
func (r *Requests) find(c *Claim) *Claim {
	for other := r.claims[c.hash]; other != nil; other = other.next {
		if other.request == c.request {
			return other
		}
	}
	return nil
}

func (r *Requests) enter(c *Claim) {
	c.next = r.claims[c.hash]
	r.claims[c.hash] = c
}

// Retake makes claims again that other Requests have Entered, all of them or, where one of the requests is taken by now, none.
// They are these Requests' from then on.
func (r *Requests) Retake(list []*Claim, service int) bool {
	for _, c := range list {
		if r.find(c) != nil {
			return false
		}
	}
	for _, c := range list {
		c.Service = service
		r.enter(c)
	}
	return true
}

// Yielding says whether any route yields.
func (r *Requests) Yielding() bool { return len(r.yields) > 0 }

// Yields says whether a weak route takes requests that others want.
func (r *Requests) Yields(weak *snapshot.Route) bool { return r.yields[weak] }

func spell(m snapshot.Match) string {
	if m.Path == "" && m.PathType == snapshot.PathPrefix {
		m.Path = "/"
	}
	// A prefix is the same with and without a slash at its end: whole segments are compared.
	if m.PathType == snapshot.PathPrefix && len(m.Path) > 1 {
		m.Path = strings.TrimSuffix(m.Path, "/")
	}
	if len(m.Methods)+len(m.Headers)+len(m.Query) == 0 { // as most are
		return strconv.Itoa(int(m.PathType)) + strconv.Quote(m.Path)
	}
	methods := slices.Sorted(slices.Values(m.Methods))
	return fmt.Sprintf("%d %q %q %q %q", m.PathType, m.Path, methods, spellValues(m.Headers, true), spellValues(m.Query, false))
}

func spellValues(list []snapshot.ValueMatch, fold bool) []string {
	var out []string
	for _, v := range list {
		if fold {
			v.Name = strings.ToLower(v.Name)
		}
		out = append(out, fmt.Sprintf("%q %t %q", v.Name, v.Regex, v.Value))
	}
	slices.Sort(out)
	return out
}
