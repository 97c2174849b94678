package controllers

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/pingora-proxy/pingora-proxy/api/syntax"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// unboundError is what the error of DataPlane.Apply may be.
type unboundError interface {
	error
	Unbound() map[string]error // addresses, as they are configured, and why they cannot be bound
}

// configure makes everything that is in the caches the configuration that serves.
func (c *Controller) configure(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	if !c.world.grants.known() {
		return reconcile.Result{RequeueAfter: settle}, nil // what is granted must not be refused at first
	}
	s := &c.serving
	s.order.Lock()
	defer s.order.Unlock()
	v, err := c.world.look(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	// From now on the events of what these objects name count. What changed before is in the caches already, or comes after.
	s.mu.Lock()
	before := s.named
	s.named = v
	s.mu.Unlock()
	if before == nil || !v.within(before) {
		// Something may have changed between the look and this moment, when nobody had asked for its events.
		if v, err = c.world.look(ctx); err != nil {
			return reconcile.Result{}, err
		}
	}
	snap, problems := c.world.translation.Translate(v.input)
	unbound, err := c.apply(ctx, snap)
	c.options.Reloaded(err)
	if err != nil {
		c.log.Error(err, "the new configuration could not be applied; the last good one keeps serving")
		return reconcile.Result{}, err
	}
	c.served(v, snap, problems, unbound)
	c.acknowledged(v.version)
	c.keep(v.input)
	wake(c.facts)
	if len(unbound) > 0 {
		v.again = bindAgain
	}
	return reconcile.Result{RequeueAfter: v.again}, nil
}

// within says whether everything that v names was named before.
func (v *view) within(before *view) bool {
	for n := range v.services {
		if !before.services[n] {
			return false
		}
	}
	for n := range v.contents.Named {
		if !before.contents.Named[n] {
			return false
		}
	}
	return true
}

// apply gives the snapshot to the data plane, without the listeners whose addresses cannot be bound, which it returns.
func (c *Controller) apply(ctx context.Context, s *snapshot.Snapshot) (map[string]error, error) {
	unbound := map[string]error{}
	for {
		err := c.options.Plane.Apply(ctx, s)
		var failed unboundError
		if !errors.As(err, &failed) {
			if err != nil {
				return nil, err
			}
			break
		}
		next := *s
		next.Listeners = slices.DeleteFunc(slices.Clone(s.Listeners), func(l *snapshot.Listener) bool {
			cause, failed := failed.Unbound()[l.Address]
			if failed {
				unbound[l.Address] = cause
			}
			return failed
		})
		if len(next.Listeners) == len(s.Listeners) {
			return nil, err // it names what was not asked for
		}
		c.log.Error(err, "addresses cannot be bound; the others serve", "again_in", bindAgain.String())
		s = &next
	}
	// Clusters that lived already go on with the endpoints that they had, unless the Service changed meanwhile.
	for _, cluster := range s.Clusters {
		if cluster.Origin != nil {
			if err := c.options.Plane.SetEndpoints(cluster.ID, cluster.Endpoints); err != nil {
				return nil, fmt.Errorf("endpoints of %s: %w", cluster.ID, err)
			}
		}
	}
	return unbound, nil
}

// served notes what the data plane has now.
func (c *Controller) served(v *view, snap *snapshot.Snapshot, problems []translate.Problem, unbound map[string]error) {
	s := &c.serving
	s.mu.Lock()
	defer s.mu.Unlock()
	s.named, s.view, s.problems, s.unbound, s.applied = v, v, problems, unbound, time.Now()
	s.clusters, s.ids = map[types.NamespacedName][]snapshot.Origin{}, map[snapshot.Origin][]string{}
	for _, cluster := range snap.Clusters {
		o := cluster.Origin
		if o == nil {
			continue
		}
		if s.ids[*o] == nil {
			name := types.NamespacedName{Namespace: o.Namespace, Name: o.Name}
			s.clusters[name] = append(s.clusters[name], *o)
		}
		s.ids[*o] = append(s.ids[*o], cluster.ID)
	}
	s.listens = map[string]bool{}
	var ports []uint16 // of the oldest objects first
	published := map[uint16]bool{}
	for _, l := range snap.Listeners {
		if unbound[l.Address] != nil {
			continue
		}
		for _, service := range l.Services {
			s.listens[service.Namespace+"/"+service.Name] = true
		}
		for _, stream := range l.Streams {
			s.listens[stream.Namespace+"/"+stream.Name] = true
		}
		if a, err := netip.ParseAddrPort(l.Address); err == nil && !a.Addr().IsLoopback() && !published[a.Port()] {
			published[a.Port()] = true
			ports = append(ports, a.Port())
		}
	}
	bound := len(ports)
	ports = ports[:min(bound, maxPorts)]
	slices.Sort(ports)
	if !slices.Equal(ports, s.ports) {
		if s.ports = ports; bound > maxPorts && c.ports != nil {
			c.log.Info("more ports are bound than the proxy's own Service gets; those of the youngest objects are not published",
				"bound", bound, "published", maxPorts)
		}
		wake(c.led)
	}
	for i, object := range v.objects {
		if err := unbound[address(&v.input.Services[i].Spec)]; err != nil {
			s.problems = append(s.problems, translate.Problem{
				Service: i, Field: "bindAddress", Reason: v1alpha1.ReasonBindFailed, Message: "the address cannot be bound: " + err.Error(),
			})
			delete(s.listens, object.service.Owner())
		}
		if err := unbound[redirectAddress(&v.input.Services[i].Spec)]; err != nil {
			s.problems = append(s.problems, translate.Problem{
				Service: i, Field: "tlsConfig.redirectHTTPFrom", Reason: v1alpha1.ReasonBindFailed, Message: "the address cannot be bound: " + err.Error(),
			})
		}
	}
	s.once.Do(func() { close(s.first) })
}

// address is the address of a service as a listener spells it.
func address(spec *v1alpha1.ProxyServiceSpec) string {
	a, err := syntax.ParseBindAddress(spec.BindAddress)
	if err != nil {
		return ""
	}
	return a.String()
}

// redirectAddress is where a service redirects plain HTTP from, as a listener spells it; empty: nowhere.
func redirectAddress(spec *v1alpha1.ProxyServiceSpec) string {
	if spec.TLSConfig == nil || spec.TLSConfig.RedirectHTTPFrom == nil {
		return ""
	}
	a, err := syntax.ParseBindAddress(*spec.TLSConfig.RedirectHTTPFrom)
	if err != nil {
		return ""
	}
	return a.String()
}
