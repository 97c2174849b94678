package translate

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/api/optional"
	"github.com/pingora-proxy/pingora-proxy/api/syntax"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/claims"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/filters"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/parts"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// redirectField is the field of the address where a service redirects plain HTTP from.
const redirectField = "tlsConfig.redirectHTTPFrom"

// isTCP says whether a service passes bytes on.
func isTCP(in *Service) bool { return optional.Value(in.Spec.Protocol) == v1alpha1.ProtocolTCP }

// A front is what is spoken at an address. Services that share one have the same.
type front struct {
	tcp     bool
	ends    bool   // TLS ends there
	passes  bool   // TLS goes on to the endpoints
	proxied bool   // connections begin with a PROXY header
	trusted string // from whom
}

func frontOf(in *Service) front {
	f := front{tcp: isTCP(in), ends: terminates(in), passes: passes(in)}
	if c := in.Spec.ClientIP; c != nil && optional.Value(c.ProxyProtocol) {
		f.proxied = true
		var all []string
		for _, text := range c.TrustedProxies {
			if network, err := syntax.ParseNetwork(text); err == nil {
				all = append(all, network.String())
			}
		}
		slices.Sort(all)
		f.trusted = strings.Join(slices.Compact(all), " ")
	}
	return f
}

// plain is what is spoken where the service redirects from.
func (f front) plain() front { return front{proxied: f.proxied, trusted: f.trusted} }

// difference says why two fronts cannot share an address; empty: they can.
func (f front) difference(o front) string {
	switch {
	case f.tcp != o.tcp:
		return "only one of both has `protocol: TCP`"
	case f.ends != o.ends && f.passes == o.passes:
		return "only one of both has `tls: true`"
	case f.passes != o.passes:
		return "only one of both passes TLS through"
	case f.proxied != o.proxied:
		return "only one of both has `proxyProtocol: true`"
	case f.trusted != o.trusted:
		return "both do not expect PROXY headers from the same `trustedProxies`"
	case f.tcp && !f.ends && !f.passes:
		return "without `tls` nothing tells which of two TCP services a client wants"
	}
	return ""
}

// listener is the listener of an address, which is made for the first service that has it.
func (t *translation) listener(service int, in *Service, a netip.AddrPort, f front) *snapshot.Listener {
	l := t.listeners[a]
	if l == nil {
		l = &snapshot.Listener{Address: a.String(), TLS: f.ends}
		if f.proxied {
			l.ProxyProtocol = append([]netip.Prefix{}, t.trusted(service, in)...) // none: nobody may connect
		}
		t.listeners[a] = l
		t.out.Listeners = append(t.out.Listeners, l)
	}
	return l
}

// trusted are the proxies that a service believes.
func (t *translation) trusted(service int, in *Service) []netip.Prefix {
	if in.Spec.ClientIP == nil {
		return nil
	}
	var out []netip.Prefix
	for _, text := range in.Spec.ClientIP.TrustedProxies {
		network, err := syntax.ParseNetwork(text)
		if err != nil {
			t.problem(Problem{Service: service, Field: "clientIP.trustedProxies", Reason: v1alpha1.ReasonInvalid, Message: err.Error()})
			continue // fewer are trusted
		}
		out = append(out, network)
	}
	return out
}

// redirectsFrom is the address where a service redirects plain HTTP from, if there is one.
func redirectsFrom(in *Service, f *faults) (netip.AddrPort, bool) {
	c := in.Spec.TLSConfig
	if c == nil || c.RedirectHTTPFrom == nil || isTCP(in) || !terminates(in) || f.at(redirectField) {
		return netip.AddrPort{}, false
	}
	a, err := syntax.ParseBindAddress(*c.RedirectHTTPFrom)
	return a, err == nil
}

// redirectRoute is the name of the route that sends clients from plain HTTP to TLS. No user's name begins with an
// underscore.
const redirectRoute = "_https"

// toHTTPS sends the clients of a service's hosts from an address of plain HTTP to the service.
func (t *translation) toHTTPS(service int, in *Service, at netip.AddrPort, port uint16) {
	l := t.listener(service, in, at, frontOf(in).plain())
	s := &snapshot.Service{
		Namespace: in.Namespace, Name: in.Name, Hosts: parts.Lower(in.Spec.Hosts),
		IdleTimeout: parts.Secs(in.Spec.Timeouts.IdleSecs), TrustedProxies: t.trusted(service, in),
	}
	r := t.newRoute(in, s, redirectRoute)
	r.Filters = []filter.Config{filters.ToHTTPS(r.ID(), port)}
	mine := claims.Claim{Service: service, Field: redirectField, Route: redirectRoute}
	hosts, ok := t.free(service, l.Address, s.Hosts, mine)
	if !ok {
		return
	}
	r.Hosts = hosts
	l.Services, l.Routes = append(l.Services, s), append(l.Routes, r)
}

// free are those of hosts that nobody has taken as a whole at an address; nil: all of them, whatever they are. What is taken
// is a problem. ok says whether anything is left.
func (t *translation) free(service int, address string, hosts []string, mine claims.Claim) (left []string, ok bool) {
	all := hosts
	if len(all) == 0 {
		all = []string{"*"}
	}
	for _, h := range all {
		other, taken, _ := t.requests.Take(address, []string{h}, snapshot.Match{}, mine)
		if !taken {
			left = append(left, h)
			continue
		}
		if other.Service == service {
			continue
		}
		t.problem(Problem{
			Service: service, Field: mine.Field, Reason: v1alpha1.ReasonRouteShadowed,
			Message: "takes the same connections (host `" + h + "`) on `" + address + "` as " + t.requests.Name(&other),
			Holder:  other.Service, HolderRoute: other.Route, HolderField: other.Field,
		})
	}
	if len(left) == len(all) {
		return nil, true
	}
	return left, len(left) > 0
}
