package publish

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// Addresses reads the Service and returns what Addresses makes of it.
func (p *Publisher) Addresses(ctx context.Context) ([]string, error) {
	live, err := p.read(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the addresses of Service %s: %w", p.Service, err)
	}
	return Addresses(live), nil
}

// Addresses returns the IP addresses and host names, without ports, at which clients reach the Service: those of its load balancer,
// else its external IPs, else its cluster IPs. A headless Service has none.
func Addresses(s *corev1.Service) []string {
	var addresses []string
	for _, i := range s.Status.LoadBalancer.Ingress {
		if i.IP != "" {
			addresses = append(addresses, i.IP)
		}
		if i.Hostname != "" {
			addresses = append(addresses, i.Hostname)
		}
	}
	if len(addresses) > 0 {
		return addresses
	}
	if len(s.Spec.ExternalIPs) > 0 {
		return append(addresses, s.Spec.ExternalIPs...)
	}
	for _, ip := range s.Spec.ClusterIPs {
		if ip != corev1.ClusterIPNone {
			addresses = append(addresses, ip)
		}
	}
	return addresses
}
