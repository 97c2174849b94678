package translate

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/api/syntax"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// A holder has an address that others cannot have.
type holder struct {
	address netip.AddrPort
	front   front
	service int    // whose, if it is a service's
	field   string // of the service
	global  string // which of the globals, if it is not a service's
}

// claims gives every address to the first who wants it. The same address is shared; one that overlaps it is not.
func (t *translation) claims(in Input) {
	t.refused = map[int]bool{}
	t.redirects = map[int]netip.AddrPort{}
	t.requests = map[request]claim{}
	t.yields = map[*snapshot.Route]bool{}
	for _, g := range []struct {
		name    string
		address *string
	}{{"admin", in.Globals.Admin.BindAddress}, {"metrics", in.Globals.Metrics.BindAddress}} {
		if a, err := syntax.ParseBindAddress(deref(g.address)); err == nil {
			t.holders = append(t.holders, holder{address: a, global: g.name})
		}
	}
	hosts := newHosts()
	for i := range in.Services {
		if t.faults[i].refused {
			t.refused[i] = true
			continue
		}
		a, err := syntax.ParseBindAddress(in.Services[i].Spec.BindAddress)
		if err != nil {
			continue // reported when the service is built
		}
		if !t.permitted(in, i, a, hosts) || !t.claim(in, i, a, frontOf(&in.Services[i]), "bindAddress") {
			t.refused[i] = true
			continue
		}
		if a, ok := redirectsFrom(&in.Services[i], &t.faults[i]); ok && t.permittedPort(i, a, redirectField) &&
			t.claim(in, i, a, frontOf(&in.Services[i]).plain(), redirectField) {
			t.redirects[i] = a
		}
	}
}

// permittedPort says whether the policy lets a service have a port.
func (t *translation) permittedPort(i int, a netip.AddrPort, field string) bool {
	if t.world == nil || t.world.Policy.allowsPort(a.Port()) {
		return true
	}
	t.problem(Problem{
		Service: i, Field: field, Reason: ReasonPortNotAllowed,
		Message: fmt.Sprintf("port %d is not among those that this installation allows", a.Port()),
	})
	return false
}

// permitted says whether the policy lets a service have its port and its hosts.
func (t *translation) permitted(in Input, i int, a netip.AddrPort, hosts *hosts) bool {
	if t.world == nil {
		return true
	}
	s := &in.Services[i]
	if !t.permittedPort(i, a, "bindAddress") {
		return false
	}
	if !t.world.Policy.StrictHosts {
		return true
	}
	wanted := map[string]string{} // fields, by the hosts that they name
	for j, h := range s.Spec.Hosts {
		wanted[strings.ToLower(h)] = index("hosts", j)
	}
	if len(wanted) == 0 { // then nothing else bounds those of its routes
		wanted["*"] = "hosts"
		for j := range s.Spec.Routes {
			field := index("routes", j) + ".hosts"
			if t.faults[i].at(field) {
				continue // they are not used
			}
			for k, h := range s.Spec.Routes[j].Hosts {
				wanted[strings.ToLower(h)] = index(field, k)
			}
		}
	}
	for _, h := range slices.Sorted(maps.Keys(wanted)) {
		if by, owner, taken := hosts.taken(h, s.Namespace); taken {
			t.problem(Problem{
				Service: i, Field: wanted[h], Reason: ReasonHostNotOwned,
				Message: fmt.Sprintf("host `%s` belongs to namespace `%s`, which had `%s` first", h, owner, by), Holder: -1,
			})
			return false
		}
	}
	for h := range wanted {
		hosts.claim(h, s.Namespace)
	}
	return true
}

func (t *translation) claim(in Input, i int, a netip.AddrPort, f front, field string) bool {
	for _, h := range t.holders {
		same := a == h.address && h.global == "" // also with port 0, which overlaps nothing
		if !same && !syntax.Overlap(a, h.address) {
			continue
		}
		difference := ""
		if same {
			if difference = f.difference(h.front); difference == "" {
				return true // shared, as virtual hosts
			}
		}
		p := Problem{Service: i, Field: field, Reason: ReasonListenerConflict, Holder: h.service, HolderField: h.field}
		wanted := spelt(&in.Services[i], field)
		switch {
		case h.global != "":
			p.Message = fmt.Sprintf("`%s` is taken by the %s address `%s`", wanted, h.global, h.address)
			p.Holder = -1
			p.HolderField = h.global + ".bindAddress"
		case same:
			p.Message = fmt.Sprintf("`%s` is an address of service `%s`, and %s", wanted, in.Services[h.service].Owner(), difference)
		default:
			p.Message = fmt.Sprintf("`%s` overlaps `%s` of service `%s`", wanted, spelt(&in.Services[h.service], h.field), in.Services[h.service].Owner())
		}
		t.problem(p)
		return false
	}
	t.holders = append(t.holders, holder{address: a, front: f, service: i, field: field})
	return true
}

// spelt is an address of a service as it was written.
func spelt(in *Service, field string) string {
	if field == redirectField {
		return deref(in.Spec.TLSConfig.RedirectHTTPFrom)
	}
	return in.Spec.BindAddress
}

// A request is what one match of one host takes, spelt so that equal ones are equal.
type request struct {
	address string
	host    string
	match   string
}

type claim struct {
	service int
	field   string
	route   string // its name; empty: what no route of the service takes
	of      *Service

	// weak, if it is set, is a route that cannot be built and takes more than it was meant to. It yields to what others want.
	weak *snapshot.Route
}

// name is for messages. It is not made before there is one: most claims are never contested.
func (c *claim) name() string {
	if c.field == "" {
		return fmt.Sprintf("service `%s`", c.of.Owner())
	}
	return fmt.Sprintf("route `%s` of service `%s`", c.route, c.of.Owner())
}

// shadowed says whether a part or all of the requests of this match are taken already, and by whom; what is new belongs
// to it from now on.
func (t *translation) shadowed(address string, hosts []string, m snapshot.Match, mine claim) (other claim, part, all bool) {
	if len(hosts) == 0 {
		hosts = []string{"*"}
	}
	all = true
	spelt := spell(m)
	for _, h := range hosts {
		key := request{address, h, spelt}
		if c, ok := t.requests[key]; ok {
			if c.weak == nil || mine.weak != nil || c.service == mine.service {
				other, part = c, true
				continue
			}
			t.yields[c.weak] = true
		}
		all = false
		t.requests[key] = mine
	}
	return other, part, all
}

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
