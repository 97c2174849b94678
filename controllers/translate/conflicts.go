package translate

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/api/optional"
	"github.com/pingora-proxy/pingora-proxy/api/syntax"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/claims"
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
	t.requests = claims.NewRequests(4*len(in.Services), func(service int) string { return in.Services[service].Owner() })
	for _, g := range []struct {
		name    string
		address *string
	}{{"admin", in.Globals.Admin.BindAddress}, {"metrics", in.Globals.Metrics.BindAddress}} {
		if a, err := syntax.ParseBindAddress(optional.Value(g.address)); err == nil {
			t.hold(holder{address: a, global: g.name})
		}
	}
	hosts := claims.NewHosts()
	for i := range in.Services {
		if t.faults[i].refused {
			t.refused[i] = true
			continue
		}
		at := in.Services[i].bound()
		if at.err != nil {
			continue // reported when the service is built
		}
		if !t.permitted(in, i, at.address, hosts) || !t.claim(in, i, at.address, at.front, "bindAddress") {
			t.refused[i] = true
			continue
		}
		if a, ok := redirectsFrom(in.Services[i], &t.faults[i]); ok && t.permittedPort(i, a, redirectField) &&
			t.claim(in, i, a, at.front.plain(), redirectField) {
			t.redirects[i] = a
		}
	}
}

// permittedPort says whether the policy lets a service have a port.
func (t *translation) permittedPort(i int, a netip.AddrPort, field string) bool {
	if t.world.AllowsPort(a.Port()) {
		return true
	}
	t.problem(Problem{
		Service: i, Field: field, Reason: v1alpha1.ReasonPortNotAllowed,
		Message: fmt.Sprintf("port %d is not among those that this installation allows", a.Port()),
	})
	return false
}

// permitted says whether the policy lets a service have its port and its hosts.
func (t *translation) permitted(in Input, i int, a netip.AddrPort, hosts *claims.Hosts) bool {
	if t.world == nil {
		return true
	}
	s := in.Services[i]
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
	names := slices.Sorted(maps.Keys(wanted)) // who is refused is told the same each time, and by each replica
	for _, h := range names {
		if by, owner, taken := hosts.Taken(h, s.Namespace); taken {
			t.problem(Problem{
				Service: i, Field: wanted[h], Reason: v1alpha1.ReasonHostNotOwned,
				Message: fmt.Sprintf("host `%s` belongs to namespace `%s`, which had `%s` first", h, owner, by), Holder: -1,
			})
			return false
		}
	}
	for _, h := range names {
		hosts.Claim(h, s.Namespace)
	}
	return true
}

func (t *translation) claim(in Input, i int, a netip.AddrPort, f front, field string) bool {
	for _, at := range t.holding[a.Port()] { // other ports overlap nothing
		h := t.holders[at]
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
		p := Problem{Service: i, Field: field, Reason: v1alpha1.ReasonListenerConflict, Holder: h.service, HolderField: h.field}
		wanted := spelt(in.Services[i], field)
		switch {
		case h.global != "":
			p.Message = fmt.Sprintf("`%s` is taken by the %s address `%s`", wanted, h.global, h.address)
			p.Holder = -1
			p.HolderField = h.global + ".bindAddress"
		case same:
			p.Message = fmt.Sprintf("`%s` is an address of service `%s`, and %s", wanted, in.Services[h.service].Owner(), difference)
		default:
			p.Message = fmt.Sprintf("`%s` overlaps `%s` of service `%s`", wanted, spelt(in.Services[h.service], h.field), in.Services[h.service].Owner())
		}
		t.problem(p)
		return false
	}
	t.hold(holder{address: a, front: f, service: i, field: field})
	return true
}

func (t *translation) hold(h holder) {
	port := h.address.Port()
	t.holding[port] = append(t.holding[port], len(t.holders))
	t.holders = append(t.holders, h)
}

// spelt is an address of a service as it was written.
func spelt(in *Service, field string) string {
	if field == redirectField {
		return optional.Value(in.Spec.TLSConfig.RedirectHTTPFrom)
	}
	return in.Spec.BindAddress
}
