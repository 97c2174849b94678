package controllers

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/replica"
	"github.com/pingora-proxy/pingora-proxy/controllers/status"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
)

// tellStatus hands what became of every object to the writer of statuses, whenever it changes.
func (c *Controller) tellStatus(ctx context.Context) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.facts:
		case <-c.members.Changed():
		case <-ticker.C:
			c.acknowledge(ctx)
		}
		if ready := c.ready(); ready != nil {
			c.options.Plane.SetReplicas(len(ready))
		}
		if !c.election.Leading() {
			continue
		}
		select {
		case <-c.asked: // else addresses would vanish from every status, and come back
		default:
			continue
		}
		if objects := c.objects(); objects != nil {
			c.writer.Set(objects, c.ready())
			c.tellExpiries()
		}
	}
}

// acknowledge says that the newest versions are served where statuses alone have changed since the last configuration: a
// leader that comes later knows no other versions.
func (c *Controller) acknowledge(ctx context.Context) {
	s := &c.serving
	s.mu.Lock()
	v := s.view
	applied := !s.applied.IsZero()
	s.mu.Unlock()
	if !applied {
		return
	}
	var list v1alpha1.ProxyServiceList
	if err := c.world.reader.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return // the next tick tries again
	}
	generations := make(map[types.UID]int64, len(v.objects))
	for _, o := range v.objects {
		generations[o.uid] = o.generation
	}
	newest := v.version
	for i := range list.Items {
		p := &list.Items[i]
		if p.Class() == c.options.Class && p.DeletionTimestamp.IsZero() && generations[p.UID] != p.Generation {
			return // a configuration is on its way
		}
		newest = max(newest, version(p.ResourceVersion))
	}
	c.acknowledged(newest)
}

// acknowledged tells the other replicas which version is served. A version that was served once does not become older.
func (c *Controller) acknowledged(version uint64) {
	s := &c.serving
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version = max(s.version, version)
	c.lease.Unbound(slices.Collect(maps.Keys(s.unbound)))
	c.lease.Serve(s.version, c.options.Plane.Ready())
}

// ready lists the replicas that take traffic. Without this one among them nothing is known of the others either.
func (c *Controller) ready() []status.Replica {
	members := c.members.List()
	if !slices.ContainsFunc(members, func(m replica.Member) bool { return m.Name == c.options.Replica }) {
		return nil
	}
	var out []status.Replica
	for _, m := range members {
		if m.Ready {
			out = append(out, status.Replica{Name: m.Name, Version: m.ResourceVersion, Unbound: m.Unbound})
		}
	}
	return out
}

// objects says what became of every object; nil before the first configuration.
func (c *Controller) objects() []status.Object {
	health := c.options.Plane.Health()
	s := &c.serving
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.applied.IsZero() {
		return nil
	}
	services := s.view.input.Services
	out := make([]status.Object, len(s.view.objects))
	for i, o := range s.view.objects {
		owner := services[i].Owner()
		out[i] = status.Object{
			Key: types.NamespacedName{Namespace: services[i].Namespace, Name: services[i].Name}, UID: o.uid, Generation: o.generation,
			Version: o.version, Hash: o.hash, Routes: o.routes, Listening: s.listens[owner], Listener: address(&services[i].Spec),
			Healthy: health[owner].Healthy, Total: health[owner].Total,
		}
		if s.listens[owner] {
			out[i].Addresses = s.reached(services[i].Spec.BindAddress)
		}
	}
	for _, p := range s.problems {
		out[p.Service].Problems = append(out[p.Service].Problems, p)
		if p.Conflict() && p.Holder >= 0 && p.Holder != p.Service {
			out[p.Holder].Holds = append(out[p.Holder].Holds, hold(services[p.Service], p))
		}
	}
	return out
}

// hold is what the holder of something is told of one who wants it, too.
func hold(loser *translate.Service, p translate.Problem) status.Hold {
	what := fmt.Sprintf("service `%s`", loser.Owner())
	if p.Route != "" {
		what = fmt.Sprintf("route `%s` of %s", p.Route, what)
	}
	message := what + " wants the same requests, and is younger"
	if p.Reason == v1alpha1.ReasonListenerConflict {
		message = what + " wants an address that this one holds, and is younger"
	}
	return status.Hold{Route: p.HolderRoute, Message: message, Other: loser.Owner()}
}

// reached says where clients reach an address that is bound.
func (s *serving) reached(bindAddress string) []string {
	_, port, err := net.SplitHostPort(bindAddress)
	if err != nil {
		return nil
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || !slices.Contains(s.ports, uint16(n)) {
		return nil // it is not published
	}
	var out []string
	for _, host := range s.hosts {
		out = append(out, net.JoinHostPort(host, port))
	}
	return out
}

// tellExpiries tells the owners of certificates that end soon.
func (c *Controller) tellExpiries() {
	s := &c.serving
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.view.contents.Expiring) == 0 {
		return
	}
	for i, o := range s.view.objects {
		service := s.view.input.Services[i]
		var sources []v1alpha1.CertificateSource
		if tls := service.Spec.TLSConfig; tls != nil {
			sources = slices.Clone(tls.Certificates)
		}
		if tls := service.Spec.UpstreamTLS; tls != nil && tls.Certificate != nil {
			sources = append(sources, *tls.Certificate)
		}
		for _, source := range sources {
			if source.SecretRef == nil {
				continue
			}
			name := reference(source.SecretRef.Namespace, service.Namespace, source.SecretRef.Name)
			if !s.view.input.World.Granted(service.Namespace, "Secret", name.Namespace, name.Name) {
				continue // its end is no business of this object's owner
			}
			if ends, soon := s.view.contents.Expiring[name]; soon {
				c.writer.Event(types.NamespacedName{Namespace: service.Namespace, Name: service.Name}, o.uid, corev1.EventTypeWarning,
					"CertificateExpiring", fmt.Sprintf("the certificate of Secret `%s` ends at %s", name, ends.UTC().Format(time.RFC3339)))
			}
		}
	}
}

// Ejected tells the owner of a cluster that an endpoint of it is taken out. It does not wait.
func (c *Controller) Ejected(cluster string, endpoint netip.AddrPort) {
	if key, uid, ok := c.serving.find(translate.OwnerOf(cluster)); ok {
		c.writer.Event(key, uid, corev1.EventTypeWarning, "EndpointEjected",
			fmt.Sprintf("endpoint %s failed too many requests in a row and is taken out for a while", endpoint))
	}
}

// find looks a ProxyService up by namespace/name.
func (s *serving) find(owner string) (key types.NamespacedName, uid types.UID, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.view == nil {
		return key, uid, false
	}
	for i, o := range s.view.objects {
		if service := s.view.input.Services[i]; service.Owner() == owner {
			return types.NamespacedName{Namespace: service.Namespace, Name: service.Name}, o.uid, true
		}
	}
	return key, uid, false
}

// keepPorts keeps the ports of the proxy's own Service equal to those that are bound, while this replica leads. Where clients
// reach that Service every replica wants to know: it may lead next.
func (c *Controller) keepPorts(ctx context.Context) {
	if c.ports == nil {
		close(c.asked)
		return
	}
	var once sync.Once
	wake(c.led)
	ticker := time.NewTicker(lookAgain)
	defer ticker.Stop()
	failing := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.led:
		case <-ticker.C:
		}
		s := &c.serving
		s.mu.Lock()
		ports, applied := s.ports, !s.applied.IsZero()
		s.mu.Unlock()
		var err error
		if applied && c.election.Leading() {
			err = c.ports.Publish(ctx, ports)
		}
		hosts, problem := c.ports.Addresses(ctx)
		once.Do(func() { close(c.asked) })
		if err = cmp.Or(err, problem); err != nil {
			if text := err.Error(); text != failing && ctx.Err() == nil {
				failing = text
				c.log.Error(err, "the ports of the proxy's own Service are not up to date; tried again", "in", lookAgain.String())
			}
		} else {
			failing = ""
		}
		if problem == nil {
			s.mu.Lock()
			s.hosts = hosts
			s.mu.Unlock()
			wake(c.facts)
		}
	}
}

// BreakerChanged tells the owner of a cluster that its circuit breaker has changed its state. It does not wait.
func (c *Controller) BreakerChanged(cluster, state string) {
	key, uid, ok := c.serving.find(translate.OwnerOf(cluster))
	if !ok {
		return
	}
	kind, message := corev1.EventTypeWarning, "requests are refused at once until a few of them get through again"
	if state == "closed" {
		kind, message = corev1.EventTypeNormal, "requests pass again"
	}
	c.writer.Event(key, uid, kind, "CircuitBreaker", fmt.Sprintf("the circuit breaker of `%s` is %s: %s", cluster, state, message))
}
