package claims

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// Requests knows who takes which requests at which address.
type Requests struct {
	claims map[request]Claim
	yields map[*snapshot.Route]bool // weak routes of whose requests others want some

	// Entered are the claims that were new since it was set to nil.
	Entered []Taken
}

// A Taken is a claim that was new, to be made again.
type Taken struct {
	request      request
	field, route string
}

// NewRequests returns one in which nobody takes any. There will be about so many claims.
func NewRequests(expected int) *Requests {
	return &Requests{claims: make(map[request]Claim, expected), yields: map[*snapshot.Route]bool{}}
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
	Route   string                      // its name; empty: what no route of the service takes
	Of      interface{ Owner() string } // the service

	// Weak, if it is set, is a route that cannot be built and takes more than it was meant to. It yields to what others want.
	Weak *snapshot.Route
}

// Name is for messages. It is not made before there is one: most claims are never contested.
func (c *Claim) Name() string {
	if c.Field == "" {
		return fmt.Sprintf("service `%s`", c.Of.Owner())
	}
	return fmt.Sprintf("route `%s` of service `%s`", c.Route, c.Of.Owner())
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
		key := request{address, h, spelt}
		if c, ok := r.claims[key]; ok {
			if c.Weak == nil || mine.Weak != nil || c.Service == mine.Service {
				other, part = c, true
				continue
			}
			r.yields[c.Weak] = true
		}
		all = false
		r.claims[key] = mine
		r.Entered = append(r.Entered, Taken{key, mine.Field, mine.Route})
	}
	return other, part, all
}

// Retake makes claims again, all of them or, where one of the requests is taken by now, none.
func (r *Requests) Retake(list []Taken, service int, of interface{ Owner() string }) bool {
	for i := range list {
		if _, taken := r.claims[list[i].request]; taken {
			return false
		}
	}
	for i := range list {
		one := &list[i]
		r.claims[one.request] = Claim{Service: service, Field: one.field, Route: one.route, Of: of}
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
