package endpoints

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/pingora-proxy/pingora-proxy/api/optional"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/realm"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// Of lists the endpoints of one port of a Service, sorted: those that are ready, or, where none is, those that still
// serve while they terminate. A Service of two address families lists every Pod twice: only the endpoints of its first
// family count, unless there are none.
func Of(s *corev1.Service, port string, list []*discoveryv1.EndpointSlice) []snapshot.Endpoint {
	for _, family := range families(s) {
		for _, counts := range []func(discoveryv1.EndpointConditions) bool{ready, terminating} {
			if list := collect(port, list, family, counts); len(list) > 0 {
				return list
			}
		}
	}
	return nil
}

// families are the address families of a Service, the preferred one first, then what else there may be: slices without
// a selector can hold any.
func families(s *corev1.Service) []discoveryv1.AddressType {
	out := []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6}
	if f := s.Spec.IPFamilies; len(f) > 0 && f[0] == corev1.IPv6Protocol {
		slices.Reverse(out)
	}
	return out
}

// ready: a missing condition counts as true, as the API says.
func ready(c discoveryv1.EndpointConditions) bool {
	return c.Ready == nil || *c.Ready
}

func terminating(c discoveryv1.EndpointConditions) bool {
	return c.Serving != nil && *c.Serving && c.Terminating != nil && *c.Terminating
}

func collect(
	port string, list []*discoveryv1.EndpointSlice, family discoveryv1.AddressType, counts func(discoveryv1.EndpointConditions) bool,
) []snapshot.Endpoint {
	var out []snapshot.Endpoint
	for _, s := range list {
		if s.AddressType != family {
			continue
		}
		number, ok := number(s.Ports, port)
		if !ok {
			continue
		}
		for _, e := range s.Endpoints {
			// All addresses of an entry are the same Pod: the API asks consumers for the first alone.
			if len(e.Addresses) == 0 || !counts(e.Conditions) {
				continue
			}
			ip, err := netip.ParseAddr(e.Addresses[0])
			if err != nil {
				continue // the API server lets none pass
			}
			out = append(out, snapshot.Endpoint{Addr: netip.AddrPortFrom(ip.Unmap(), number), Weight: 1, Zones: zones(e.Hints)})
		}
	}
	slices.SortFunc(out, func(a, b snapshot.Endpoint) int {
		return cmp.Or(a.Addr.Compare(b.Addr), strings.Compare(a.Zones, b.Zones))
	})
	// One that moves from slice to slice may be in both.
	return slices.CompactFunc(out, func(a, b snapshot.Endpoint) bool { return a.Addr == b.Addr })
}

// zones are those that an endpoint is meant for, sorted. More than eight are never hinted at.
func zones(h *discoveryv1.EndpointHints) string {
	if h == nil || len(h.ForZones) == 0 {
		return ""
	}
	names := make([]string, 0, len(h.ForZones))
	for _, z := range h.ForZones {
		names = append(names, z.Name)
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}

func number(ports []discoveryv1.EndpointPort, name string) (uint16, bool) {
	for _, p := range ports {
		if optional.Value(p.Name) == name && p.Port != nil && (p.Protocol == nil || *p.Protocol == corev1.ProtocolTCP) {
			return uint16(*p.Port), true //nolint:gosec // the API server takes 1 to 65535
		}
	}
	return 0, false
}

// Service is what the translation knows of a Service.
func Service(s *corev1.Service) realm.KubeService {
	var out realm.KubeService
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		out.ExternalName = s.Spec.ExternalName
	}
	for _, p := range s.Spec.Ports {
		if p.Protocol == "" || p.Protocol == corev1.ProtocolTCP {
			out.Ports = append(out.Ports, realm.KubePort{Name: p.Name, Number: p.Port})
		}
	}
	return out
}
