package translate

import (
	"net"
	"strconv"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// An owner is who lists backends: a service, or one of its routes.
type owner struct {
	service int
	route   string
	id      string // what the IDs of its clusters begin with
	field   string // what the fields of its problems begin with
}

// balance makes the clusters of a list of backends and the shares that they get: each Service and each DNS name is a
// cluster of its own, whose share does not depend on how many addresses it has; all plain addresses of one role are one
// cluster. A backend that cannot be used is a problem, and the others serve.
func (t *translation) balance(in *Service, of owner, upstreams []string, backends []v1alpha1.Backend) []snapshot.WeightedCluster {
	var out []snapshot.WeightedCluster
	at := map[string]int{} // in out, by ID
	fresh := map[string]*snapshot.Cluster{}
	add := func(b *v1alpha1.Backend, field string) {
		to, reason, message := t.destination(in, b)
		if reason != "" {
			t.problem(Problem{Service: of.service, Route: of.route, Field: of.field + field, Reason: reason, Message: message})
			return
		}
		weight := uint32(max(0, deref(b.Weight)))
		backup := deref(b.Role) == v1alpha1.RoleBackup
		id := clusterID(of.id, backup, to.name())
		if !to.plain.IsValid() { // all routes of the object share it, with its checks and connections
			id = clusterID(in.Owner(), backup, to.name())
		}
		i, ok := at[id]
		if !ok {
			i = len(out)
			at[id] = i
			out = append(out, snapshot.WeightedCluster{Cluster: id, Backup: backup})
			if !t.clusters[id] {
				t.clusters[id] = true
				c := newCluster(in, id)
				switch {
				case to.origin != nil:
					c.Origin = to.origin
					c.Endpoints = t.world.Endpoints[OriginKey(*to.origin)]
				case to.dns != nil:
					c.DNS = to.dns
					c.Health.Host = authority(strings.TrimSuffix(to.dns.Host, "."), to.dns.Port)
				}
				fresh[id] = c
				t.out.Clusters = append(t.out.Clusters, c)
			}
		}
		out[i].Weight += weight
		if c := fresh[id]; c != nil && to.plain.IsValid() {
			c.Endpoints = append(c.Endpoints, snapshot.Endpoint{Addr: to.plain, Weight: weight})
		}
	}
	one := int32(1)
	for i, u := range upstreams {
		add(&v1alpha1.Backend{Address: u, Weight: &one}, index("upstreams", i))
	}
	for i := range backends {
		add(&backends[i], index("backends", i))
	}
	return out
}

// clusterID begins with the service, or service and route, that lists the addresses; names hold no bars. It stays the
// same across reloads for as long as the cluster means the same: what lives under it survives.
func clusterID(owner string, backup bool, what string) string {
	role := v1alpha1.RolePrimary
	if backup {
		role = v1alpha1.RoleBackup
	}
	return owner + "|" + string(role) + "|" + what + "|HTTP"
}

// OwnerOf is the service that a cluster belongs to, by the cluster's ID.
func OwnerOf(clusterID string) string {
	owner, _, _ := strings.Cut(clusterID, "|")
	return owner
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
