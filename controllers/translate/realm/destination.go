package realm

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/pingora-proxy/pingora-proxy/api/optional"
	"github.com/pingora-proxy/pingora-proxy/api/syntax"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// A Destination is what a backend means; exactly one of its fields is set.
type Destination struct {
	Origin *snapshot.Origin
	DNS    *snapshot.DNSName
	Plain  netip.AddrPort
}

// Name tells clusters of one owner apart. A Service is told apart from a DNS name by its slash.
func (d *Destination) Name() string {
	switch {
	case d.Origin != nil:
		return OriginKey(*d.Origin)
	case d.DNS != nil:
		return net.JoinHostPort(d.DNS.Host, strconv.Itoa(int(d.DNS.Port)))
	}
	return "addresses"
}

// Equal says whether both mean the same.
func (d Destination) Equal(o Destination) bool {
	return d.Plain == o.Plain && (d.Origin == o.Origin || d.Origin != nil && o.Origin != nil && *d.Origin == *o.Origin) &&
		(d.DNS == o.DNS || d.DNS != nil && o.DNS != nil && *d.DNS == *o.DNS)
}

// Resolve says what a backend of a namespace means, as far as the configuration tells. With a reason, one of v1alpha1, it
// cannot be used.
func (w *World) Resolve(namespace string, b *v1alpha1.Backend) (d Destination, reason, message string) {
	if b.Service != nil {
		return w.service(namespace, b.Service)
	}
	host, port, err := syntax.SplitAddress(b.Address)
	if err != nil {
		return d, v1alpha1.ReasonInvalid, err.Error()
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if w != nil && !w.Policy.AllowLocal && Local(ip) {
			return d, v1alpha1.ReasonAddressNotAllowed,
				fmt.Sprintf("`%s` is an address of the proxy's own machine or its link, which objects may not name", b.Address)
		}
		d.Plain = netip.AddrPortFrom(ip, port)
		return d, "", ""
	}
	if w == nil {
		d.DNS = &snapshot.DNSName{Host: host, Port: port}
		return d, "", ""
	}
	return w.dnsName(namespace, host, port)
}

func (w *World) service(from string, ref *v1alpha1.BackendService) (d Destination, reason, message string) {
	if w == nil {
		return d, v1alpha1.ReasonBackendNotFound, "a Service is known in a cluster alone; set `address`, or run `pingora-proxy controller` there"
	}
	namespace := optional.Value(ref.Namespace)
	if namespace == "" {
		namespace = from
	}
	key := namespace + "/" + ref.Name
	if !w.Granted(from, "Service", namespace, ref.Name) {
		return d, v1alpha1.ReasonRefNotPermitted, NotGranted("Service", key, from)
	}
	s, ok := w.Services[key]
	if !ok {
		return d, v1alpha1.ReasonBackendNotFound, fmt.Sprintf("Service `%s` does not exist", key)
	}
	if s.ExternalName != "" {
		if !w.Policy.AllowExternalNames {
			return d, v1alpha1.ReasonRefNotPermitted, fmt.Sprintf("Service `%s` is of type ExternalName, which this installation does not allow", key)
		}
		port, ok := s.number(ref.Port)
		if !ok {
			return d, v1alpha1.ReasonBackendNotFound, fmt.Sprintf("Service `%s` has no port %s", key, ref.Port.String())
		}
		host, _, err := syntax.SplitAddress(net.JoinHostPort(s.ExternalName, "1"))
		if err != nil {
			return d, v1alpha1.ReasonBackendNotFound, fmt.Sprintf("the external name of Service `%s`: %v", key, err)
		}
		if _, err := netip.ParseAddr(host); err == nil {
			return d, v1alpha1.ReasonBackendNotFound, fmt.Sprintf("the external name of Service `%s` is an IP address; it must be a DNS name", key)
		}
		return w.dnsName(from, host, port)
	}
	for _, p := range s.Ports {
		if ref.Port.Type == intstr.Int && p.Number == ref.Port.IntVal || ref.Port.Type == intstr.String && p.Name == ref.Port.StrVal {
			d.Origin = &snapshot.Origin{Namespace: namespace, Name: ref.Name, Port: p.Name}
			return d, "", ""
		}
	}
	return d, v1alpha1.ReasonBackendNotFound, fmt.Sprintf("Service `%s` has no port %s", key, ref.Port.String())
}

// number is the port that an ExternalName Service is asked at. It need not list its ports.
func (s *KubeService) number(port intstr.IntOrString) (uint16, bool) {
	if port.Type == intstr.Int {
		return uint16(port.IntVal), true //nolint:gosec // 1 to 65535, by validation
	}
	for _, p := range s.Ports {
		if p.Name == port.StrVal {
			return uint16(p.Number), true //nolint:gosec // as the API server has it, 1 to 65535
		}
	}
	return 0, false
}

// dnsName makes a name absolute, so that no search list leads it into the cluster, and refuses the names of Services and
// Pods that the object could not name otherwise.
func (w *World) dnsName(from, host string, port uint16) (d Destination, reason, message string) {
	name := strings.TrimSuffix(host, ".")
	domain := strings.ToLower(strings.Trim(w.Policy.ClusterDomain, "."))
	if strings.HasSuffix(name, ".svc") {
		name += "." + domain
	}
	inner, inside := strings.CutSuffix("."+name, "."+domain)
	switch {
	case !w.Policy.AllowLocal && (name == "localhost" || strings.HasSuffix(name, ".localhost")):
		return d, v1alpha1.ReasonAddressNotAllowed, fmt.Sprintf("`%s` is the proxy's own machine, which objects may not name", name)
	case inside:
		labels := strings.Split(strings.Trim(inner, "."), ".")
		kind, n := labels[len(labels)-1], len(labels)
		switch {
		case kind == "svc" && n >= 3:
			if to, service := labels[n-2], labels[n-3]; !w.Granted(from, "Service", to, service) {
				return d, v1alpha1.ReasonRefNotPermitted, NotGranted("Service", to+"/"+service, from)
			}
		case kind == "pod" && n >= 3 && labels[n-2] == from:
		default:
			return d, v1alpha1.ReasonRefNotPermitted, fmt.Sprintf("`%s` is a name of the cluster that namespace `%s` may not use", name, from)
		}
	}
	d.DNS = &snapshot.DNSName{Host: name + ".", Port: port}
	return d, "", ""
}

// NotGranted says that a namespace may not name an object of another one.
func NotGranted(kind, key, namespace string) string {
	to, _, _ := strings.Cut(key, "/")
	return fmt.Sprintf("%s `%s` is in another namespace; a ReferenceGrant in `%s` must allow ProxyServices of `%s` to name it", kind, key, to, namespace)
}
