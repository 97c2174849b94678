package translate

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/pingora-proxy/pingora-proxy/api/syntax"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// A destination is what a backend means; exactly one of its fields is set.
type destination struct {
	origin *snapshot.Origin
	dns    *snapshot.DNSName
	plain  netip.AddrPort
}

// name tells clusters of one owner apart. A Service is told apart from a DNS name by its slash.
func (d *destination) name() string {
	switch {
	case d.origin != nil:
		return OriginKey(*d.origin)
	case d.dns != nil:
		return net.JoinHostPort(d.dns.Host, strconv.Itoa(int(d.dns.Port)))
	}
	return "addresses"
}

// destination resolves a backend, as far as the configuration tells. With a reason it cannot be used.
func (t *translation) destination(in *Service, b *v1alpha1.Backend) (d destination, reason Reason, message string) {
	if b.Service != nil {
		return t.kubeService(in, b.Service)
	}
	host, port, err := syntax.SplitAddress(b.Address)
	if err != nil {
		return d, ReasonInvalid, err.Error()
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if t.world != nil && !t.world.Policy.AllowLocal && Local(ip) {
			return d, ReasonAddressNotAllowed,
				fmt.Sprintf("`%s` is an address of the proxy's own machine or its link, which objects may not name", b.Address)
		}
		d.plain = netip.AddrPortFrom(ip, port)
		return d, "", ""
	}
	if t.world == nil {
		d.dns = &snapshot.DNSName{Host: host, Port: port}
		return d, "", ""
	}
	return t.dnsName(in, host, port)
}

func (t *translation) kubeService(in *Service, ref *v1alpha1.BackendService) (d destination, reason Reason, message string) {
	if t.world == nil {
		return d, ReasonBackendNotFound, "a Service is known in a cluster alone; set `address`, or run `pingora-proxy controller` there"
	}
	namespace := deref(ref.Namespace)
	if namespace == "" {
		namespace = in.Namespace
	}
	key := namespace + "/" + ref.Name
	if !t.world.Granted(in.Namespace, "Service", namespace, ref.Name) {
		return d, ReasonRefNotPermitted, notGranted("Service", key, in.Namespace)
	}
	s, ok := t.world.Services[key]
	if !ok {
		return d, ReasonBackendNotFound, fmt.Sprintf("Service `%s` does not exist", key)
	}
	if s.ExternalName != "" {
		if !t.world.Policy.AllowExternalNames {
			return d, ReasonRefNotPermitted, fmt.Sprintf("Service `%s` is of type ExternalName, which this installation does not allow", key)
		}
		port, ok := s.number(ref.Port)
		if !ok {
			return d, ReasonBackendNotFound, fmt.Sprintf("Service `%s` has no port %s", key, ref.Port.String())
		}
		host, _, err := syntax.SplitAddress(net.JoinHostPort(s.ExternalName, "1"))
		if err != nil {
			return d, ReasonBackendNotFound, fmt.Sprintf("the external name of Service `%s`: %v", key, err)
		}
		if _, err := netip.ParseAddr(host); err == nil {
			return d, ReasonBackendNotFound, fmt.Sprintf("the external name of Service `%s` is an IP address; it must be a DNS name", key)
		}
		return t.dnsName(in, host, port)
	}
	for _, p := range s.Ports {
		if ref.Port.Type == intstr.Int && p.Number == ref.Port.IntVal || ref.Port.Type == intstr.String && p.Name == ref.Port.StrVal {
			d.origin = &snapshot.Origin{Namespace: namespace, Name: ref.Name, Port: p.Name}
			return d, "", ""
		}
	}
	return d, ReasonBackendNotFound, fmt.Sprintf("Service `%s` has no port %s", key, ref.Port.String())
}

// number is the port that an ExternalName Service is asked at. It need not list its ports.
func (s *KubeService) number(port intstr.IntOrString) (uint16, bool) {
	if port.Type == intstr.Int {
		return uint16(port.IntVal), true
	}
	for _, p := range s.Ports {
		if p.Name == port.StrVal {
			return uint16(p.Number), true
		}
	}
	return 0, false
}

// dnsName makes a name absolute, so that no search list leads it into the cluster, and refuses the names of Services and
// Pods that the object could not name otherwise.
func (t *translation) dnsName(in *Service, host string, port uint16) (d destination, reason Reason, message string) {
	name := strings.TrimSuffix(host, ".")
	domain := strings.ToLower(strings.Trim(t.world.Policy.ClusterDomain, "."))
	if strings.HasSuffix(name, ".svc") {
		name += "." + domain
	}
	inner, inside := strings.CutSuffix("."+name, "."+domain)
	switch {
	case !t.world.Policy.AllowLocal && (name == "localhost" || strings.HasSuffix(name, ".localhost")):
		return d, ReasonAddressNotAllowed, fmt.Sprintf("`%s` is the proxy's own machine, which objects may not name", name)
	case inside:
		labels := strings.Split(strings.Trim(inner, "."), ".")
		kind, n := labels[len(labels)-1], len(labels)
		switch {
		case kind == "svc" && n >= 3:
			if to, service := labels[n-2], labels[n-3]; !t.world.Granted(in.Namespace, "Service", to, service) {
				return d, ReasonRefNotPermitted, notGranted("Service", to+"/"+service, in.Namespace)
			}
		case kind == "pod" && n >= 3 && labels[n-2] == in.Namespace:
		default:
			return d, ReasonRefNotPermitted, fmt.Sprintf("`%s` is a name of the cluster that namespace `%s` may not use", name, in.Namespace)
		}
	}
	d.dns = &snapshot.DNSName{Host: name + ".", Port: port}
	return d, "", ""
}

func notGranted(kind, key, namespace string) string {
	to, _, _ := strings.Cut(key, "/")
	return fmt.Sprintf("%s `%s` is in another namespace; a ReferenceGrant in `%s` must allow ProxyServices of `%s` to name it", kind, key, to, namespace)
}
