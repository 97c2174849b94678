package translate

import (
	"net"
	"net/netip"
	"strconv"

	"github.com/pingora-proxy/pingora-proxy/api/syntax"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// balance makes the clusters of a list of addresses and the shares that they get: each DNS name is a cluster of its own,
// whose share does not depend on how many addresses it has; all plain addresses of one role are one cluster.
func (t *translation) balance(in *Service, owner string, upstreams []string, backends []v1alpha1.Backend) []snapshot.WeightedCluster {
	var out []snapshot.WeightedCluster
	at := map[string]int{} // in out, by ID
	fresh := map[string]*snapshot.Cluster{}
	list := make([]v1alpha1.Backend, 0, len(upstreams)+len(backends))
	for _, u := range upstreams {
		one := int32(1)
		list = append(list, v1alpha1.Backend{Address: u, Weight: &one})
	}
	list = append(list, backends...)
	for _, b := range list {
		host, port, err := syntax.SplitAddress(b.Address)
		if err != nil {
			continue // Validate reports it, and the others serve
		}
		weight := uint32(max(0, deref(b.Weight)))
		backup := deref(b.Role) == v1alpha1.RoleBackup
		ip, err := netip.ParseAddr(host)
		plain := err == nil
		id := clusterID(owner, backup, plain, host, port)
		i, ok := at[id]
		if !ok {
			i = len(out)
			at[id] = i
			out = append(out, snapshot.WeightedCluster{Cluster: id, Backup: backup})
			if !t.clusters[id] {
				t.clusters[id] = true
				c := newCluster(in, id)
				if !plain {
					c.DNS = &snapshot.DNSName{Host: host, Port: port}
					c.Health.Host = authority(host, port)
				}
				fresh[id] = c
				t.out.Clusters = append(t.out.Clusters, c)
			}
		}
		out[i].Weight += weight
		if c := fresh[id]; c != nil && plain {
			c.Endpoints = append(c.Endpoints, snapshot.Endpoint{Addr: netip.AddrPortFrom(ip, port), Weight: weight})
		}
	}
	return out
}

// clusterID begins with the service, or service and route, that lists the addresses; names hold no bars. It stays the
// same across reloads for as long as the cluster means the same: what lives under it survives.
func clusterID(owner string, backup, plain bool, host string, port uint16) string {
	role, what := v1alpha1.RolePrimary, "addresses"
	if backup {
		role = v1alpha1.RoleBackup
	}
	if !plain {
		what = net.JoinHostPort(host, strconv.Itoa(int(port)))
	}
	return owner + "|" + string(role) + "|" + what + "|HTTP"
}

// authority is the Host field that asks for a name at a port, which is left out where it is the usual one.
func authority(host string, port uint16) string {
	if port == 80 {
		return host
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

func newCluster(in *Service, id string) *snapshot.Cluster {
	h := in.Spec.HealthCheck
	c := &snapshot.Cluster{
		ID:      id,
		Service: in.Owner(),
		Health: snapshot.HealthCheck{
			Timeout:            ms(h.TimeoutMs),
			Interval:           secs(h.FrequencySecs),
			Path:               deref(h.Path),
			HealthyThreshold:   int(deref(h.HealthyThreshold)),
			UnhealthyThreshold: int(deref(h.UnhealthyThreshold)),
		},
	}
	switch deref(h.Type) {
	case v1alpha1.HealthCheckHTTP:
		c.Health.Type = snapshot.CheckHTTP
	case v1alpha1.HealthCheckDisabled:
		c.Health.Type = snapshot.CheckDisabled
	}
	switch deref(in.Spec.LoadBalancing.Algorithm) {
	case v1alpha1.AlgorithmLeastRequest:
		c.Algorithm = snapshot.LeastRequest
	case v1alpha1.AlgorithmRandom:
		c.Algorithm = snapshot.Random
	}
	if p := h.Passive; p != nil {
		c.Passive = &snapshot.Passive{
			ConsecutiveErrors:  int(deref(p.ConsecutiveErrors)),
			Ejection:           secs(p.EjectionSecs),
			MaxEjectionPercent: int(deref(p.MaxEjectionPercent)),
		}
	}
	return c
}
