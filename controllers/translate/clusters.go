package translate

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"strconv"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/api/defaults"
	"github.com/pingora-proxy/pingora-proxy/api/optional"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/material"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/parts"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/realm"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// An owner is who lists backends: a service, or one of its routes.
type owner struct {
	service  int
	route    string
	id       string // what the IDs of its clusters begin with
	field    string // what the fields of its problems begin with
	shared   string // what the IDs of those begin with that several routes share: Services and DNS names
	settings clusterSettings
	aside    bool // requests are not forwarded to it
}

// clusterSettings are what clusters get of a service, or of a route in its place.
type clusterSettings struct {
	health    *v1alpha1.HealthCheck
	balancing *v1alpha1.LoadBalancing
	breaker   *v1alpha1.CircuitBreaker
}

func (s *Service) settings() clusterSettings {
	return clusterSettings{health: s.Spec.HealthCheck, balancing: s.Spec.LoadBalancing, breaker: s.Spec.CircuitBreaker}
}

// ofService is the owner of the backends that a service lists.
func ofService(service int, in *Service) owner {
	return owner{service: service, id: in.Owner(), shared: in.Owner(), settings: in.settings()}
}

// ofRoute is the owner of the backends of a route, its own or the service's. What they are checked, balanced and bounded
// with is a cluster's; so a route that has it otherwise than the service has clusters of its own.
func ofRoute(service int, in *Service, spec *v1alpha1.Route, at string) owner {
	of := ofService(service, in)
	own := false
	if b := spec.LoadBalancing; b != nil {
		own = !parts.SameBalancing(b, of.settings.balancing)
		of.settings.balancing = b
	}
	if len(spec.Backends) > 0 {
		if spec.HealthCheck != nil {
			of.settings.health, own = spec.HealthCheck, true
		}
		if spec.CircuitBreaker != nil {
			of.settings.breaker, own = spec.CircuitBreaker, true
		}
		of.route, of.field = spec.Name, at+"."
	}
	if len(spec.Backends) > 0 || own {
		of.id += "|" + spec.Name
	}
	if own {
		of.shared = of.id
	}
	return of
}

// aside is the owner of a backend that requests are not forwarded to. What the service says of its own endpoints is not
// meant for it: it gets the checks and the balancing of a service that says nothing, and no circuit breaker.
func aside(service int, in *Service, route, field string) owner {
	of := owner{service: service, route: route, id: in.Owner() + "|" + route + "|" + field, field: field + "|", aside: true}
	of.shared = of.id
	of.settings = clusterSettings{health: &v1alpha1.HealthCheck{}, balancing: &v1alpha1.LoadBalancing{}}
	defaults.HealthCheck(of.settings.health)
	defaults.LoadBalancing(of.settings.balancing)
	return of
}

// balance makes the clusters of a list of backends and the shares that they get: each Service and each DNS name is a
// cluster of its own, whose share does not depend on how many addresses it has; all plain addresses of one role and
// protocol are one cluster, but for those that requests can ask for. A backend that cannot be used is a problem, and the
// others serve.
func (t *translation) balance(in *Service, of owner, upstreams []string, backends []v1alpha1.Backend) []snapshot.WeightedCluster {
	var out []snapshot.WeightedCluster
	at := map[string]int{} // in out, by ID
	fresh := map[string]*snapshot.Cluster{}
	add := func(b *v1alpha1.Backend, field string) {
		to, reason, message := t.resolve(in, b)
		if reason != "" {
			t.problem(Problem{Service: of.service, Route: of.route, Field: of.field + field, Reason: reason, Message: message})
			return
		}
		weight := uint32(max(0, optional.Value(b.Weight)))
		protocol := protocolOf(in, b)
		override := parts.Override(b)
		one := snapshot.WeightedCluster{Backup: optional.Value(b.Role) == v1alpha1.RoleBackup, Override: override}
		prefix := of.id
		if !to.Plain.IsValid() {
			prefix = of.shared
		}
		id := clusterID(prefix, one.Backup, to.Name(), protocol, override)
		i, ok := at[id]
		if !ok {
			i = len(out)
			at[id] = i
			one.Cluster = id
			out = append(out, one)
			if !t.clusters[id] {
				t.clusters[id] = true
				c := t.newCluster(in, of, id, protocol)
				switch {
				case to.Origin != nil:
					c.Origin = to.Origin
					c.Endpoints = t.world.Endpoints[realm.OriginKey(*to.Origin)]
					c.ZoneAware = optional.Value(of.settings.balancing.ZoneAware)
				case to.DNS != nil:
					c.DNS = to.DNS
					c.Health.Host = authority(strings.TrimSuffix(to.DNS.Host, "."), to.DNS.Port, c.TLS != nil)
				}
				fresh[id] = c
				t.out.Clusters = append(t.out.Clusters, c)
			}
		}
		out[i].Weight += weight
		if c := fresh[id]; c != nil && to.Plain.IsValid() {
			if b.Override != nil {
				weight = max(1, weight) // who asks for it gets it, also where nobody else does
			}
			c.Endpoints = append(c.Endpoints, snapshot.Endpoint{Addr: to.Plain, Weight: weight})
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
func clusterID(owner string, backup bool, what string, protocol v1alpha1.BackendProtocol, o snapshot.Override) string {
	role := v1alpha1.RolePrimary
	if backup {
		role = v1alpha1.RoleBackup
	}
	id := owner + "|" + string(role) + "|" + what + "|" + string(protocol)
	if o != (snapshot.Override{}) { // its value is not for everybody's eyes
		sum := sha256.Sum256([]byte(o.Header + "\x00" + o.Cookie + "\x00" + o.Value))
		id += "|" + hex.EncodeToString(sum[:4])
	}
	return id
}

// OwnerOf is the service that a cluster belongs to, by the cluster's ID.
func OwnerOf(clusterID string) string {
	owner, _, _ := strings.Cut(clusterID, "|")
	return owner
}

// authority is the Host field that asks for a name at a port, which is left out where it is the usual one.
func authority(host string, port uint16, secure bool) string {
	if port == 80 && !secure || port == 443 && secure {
		return host
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// protocolOf is what a backend speaks.
func protocolOf(in *Service, b *v1alpha1.Backend) v1alpha1.BackendProtocol {
	switch {
	case b.Protocol != nil:
		return *b.Protocol
	case in.Spec.UpstreamTLS != nil:
		return v1alpha1.BackendHTTPS
	}
	return v1alpha1.BackendHTTP
}

func (t *translation) newCluster(in *Service, of owner, id string, protocol v1alpha1.BackendProtocol) *snapshot.Cluster {
	h, b := of.settings.health, of.settings.balancing
	c := &snapshot.Cluster{
		ID:        id,
		Service:   in.Owner(),
		Health:    parts.HealthCheck(h),
		Algorithm: parts.Algorithm(b),
		SlowStart: parts.Secs(b.SlowStartSecs),
		Breaker:   parts.Breaker(of.settings.breaker),
		Passive:   parts.Passive(h.Passive),
	}
	if protocol == v1alpha1.BackendH2 || protocol == v1alpha1.BackendH2C {
		c.Protocol = snapshot.HTTP2
	}
	if protocol == v1alpha1.BackendHTTPS || protocol == v1alpha1.BackendH2 {
		c.TLS = t.upstreamTLS(of.service, in)
	}
	if of.aside {
		return c
	}
	switch optional.Value(in.Spec.UpstreamProxyProtocol) {
	case v1alpha1.ProxyProtocolV1:
		c.ProxyProtocol = 1
	case v1alpha1.ProxyProtocolV2:
		c.ProxyProtocol = 2
	}
	return c
}

// upstreamTLS says how the endpoints of a service are spoken to over TLS. Where something that it names is missing, no
// connection is opened: one without it could be anybody's.
func (t *translation) upstreamTLS(service int, in *Service) *snapshot.UpstreamTLS {
	out := &snapshot.UpstreamTLS{}
	u := in.Spec.UpstreamTLS
	if u == nil {
		return out
	}
	if made := t.secured[service]; made != nil {
		return made
	}
	out.ServerName, out.Insecure = optional.Value(u.ServerName), optional.Value(u.InsecureSkipVerify)
	wrong := func(field, reason, message string) {
		if out.Invalid == "" {
			out.Invalid = message
		}
		t.problem(Problem{Service: service, Field: "upstreamTLS." + field, Reason: reason, Message: message})
	}
	if ref := u.CARef; ref != nil {
		bundle, err := in.content("upstreamTLS.caRef")
		if err == nil {
			err = material.CheckBundle(bundle)
		}
		if err != nil {
			wrong("caRef", t.referenceReason(in, ref), err.Error())
		}
		out.CA = bundle
	}
	if source := u.Certificate; source != nil {
		c := in.UpstreamCertificate
		reason := v1alpha1.ReasonInvalidCertificateRef
		switch {
		case !t.world.MayUse(in.Namespace, source.SecretRef):
			c = material.Certificate{Name: c.Name, Problem: realm.NotGranted("Secret", *source.SecretRef.Namespace+"/"+source.SecretRef.Name, in.Namespace)}
			reason = v1alpha1.ReasonRefNotPermitted
		case c.Name == "" && c.Problem == "":
			c.Problem = "the certificate was not found"
		}
		c.Check()
		if c.Problem != "" {
			wrong("certificate", reason, c.Problem)
		} else {
			out.Certificate = &snapshot.Certificate{Name: c.Name, Chain: c.Chain, Key: c.Key}
		}
	}
	t.secured[service] = out
	return out
}
