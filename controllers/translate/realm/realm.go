package realm

import (
	"net/netip"
	"slices"

	"github.com/pingora-proxy/pingora-proxy/api/optional"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// A World is what custom resources live in: what they may name, and what they may want. It is plain data, so that it can
// be kept in a file.
type World struct {
	Services  map[string]KubeService         // by namespace/name
	Endpoints map[string][]snapshot.Endpoint // of the ports that are named; by OriginKey
	Grants    []Grant
	Policy    Policy
}

// A KubeService is a Service of the cluster.
type KubeService struct {
	Ports        []KubePort
	ExternalName string // of a Service of this type: a DNS name
}

// A KubePort is a port of a Service.
type KubePort struct {
	Name   string
	Number int32
}

// A Grant lets objects of one namespace name objects of another.
type Grant struct {
	From string // namespace of the ProxyServices
	Kind string // Service or Secret
	To   string // namespace of what is named
	Name string // empty: all of the kind
}

// A Policy bounds what objects may want.
type Policy struct {
	Ports              []PortRange // that may be bound; none: all
	StrictHosts        bool        // a host belongs to the namespace that had it first
	AllowLocal         bool        // static addresses of this machine and its link
	AllowExternalNames bool        // Services of type ExternalName
	ClusterDomain      string      // what the names of Services end in
}

// A PortRange is a range of ports, both ends included.
type PortRange struct{ First, Last uint16 }

// OriginKey names a port of a Service.
func OriginKey(o snapshot.Origin) string { return o.Namespace + "/" + o.Name + ":" + o.Port }

// Granted says whether an object of one namespace may name an object of another.
func (w *World) Granted(from, kind, to, name string) bool {
	return from == to || slices.ContainsFunc(w.Grants, func(g Grant) bool {
		return g.From == from && g.Kind == kind && g.To == to && (g.Name == "" || g.Name == name)
	})
}

// MayUse says whether a service of a namespace may have a Secret.
func (w *World) MayUse(namespace string, ref *v1alpha1.SecretReference) bool {
	return ref == nil || optional.Value(ref.Namespace) == "" || w == nil || w.Granted(namespace, "Secret", *ref.Namespace, ref.Name)
}

// MayRead says whether a service of a namespace may have the content that a reference names.
func (w *World) MayRead(namespace string, ref *v1alpha1.Reference) bool {
	return ref == nil || optional.Value(ref.Namespace) == "" || w == nil || w.Granted(namespace, string(optional.Value(ref.Kind)), *ref.Namespace, optional.Value(ref.Name))
}

// AllowsPort says whether the policy lets a service have a port.
func (w *World) AllowsPort(port uint16) bool {
	return w == nil || len(w.Policy.Ports) == 0 ||
		slices.ContainsFunc(w.Policy.Ports, func(r PortRange) bool { return r.First <= port && port <= r.Last })
}

// Local says whether an address is this machine, its link, or where clouds serve the credentials of a machine: what no
// object of a cluster is to reach through the proxy. An IPv6 address that stands for an IPv4 one counts as that.
func Local(ip netip.Addr) bool {
	ip = embedded(ip.Unmap().WithZone("")) // a zone makes no other address of these
	return ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() || ip.IsMulticast() ||
		ip.Is4() && ip.As4()[0] == 0 ||
		slices.ContainsFunc(metadataServices(), func(p netip.Prefix) bool { return p.Contains(ip) })
}

// metadataServices are those of clouds that are not link-local: of AWS and of Google over IPv6, of Alibaba Cloud, of Azure
// (its WireServer), and of Oracle Cloud.
func metadataServices() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("fd00:ec2::/32"), netip.MustParsePrefix("fd20:ce::254/128"), netip.MustParsePrefix("100.100.100.200/32"),
		netip.MustParsePrefix("168.63.129.16/32"), netip.MustParsePrefix("192.0.0.192/32"),
	}
}

// embedded is the IPv4 address that an IPv6 one is translated to on its way, or the address itself: NAT64 (RFC 6052, RFC
// 8215), 6to4 (RFC 3056), and the IPv4-compatible addresses of old (RFC 4291, section 2.5.5.1).
func embedded(ip netip.Addr) netip.Addr {
	b := ip.As16()
	at := -1
	switch {
	case ip.Is4():
	case netip.MustParsePrefix("64:ff9b::/96").Contains(ip), netip.MustParsePrefix("64:ff9b:1::/48").Contains(ip):
		at = 12
	case netip.MustParsePrefix("2002::/16").Contains(ip):
		at = 2
	case netip.MustParsePrefix("::/96").Contains(ip) && !ip.IsLoopback() && !ip.IsUnspecified():
		at = 12
	}
	if at < 0 {
		return ip
	}
	return netip.AddrFrom4([4]byte(b[at : at+4]))
}
