package controllers

import (
	"context"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/pingora-proxy/pingora-proxy/controllers/endpoints"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/realm"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// follow gives the endpoints of one Service to the clusters that are made of it. No route is rebuilt.
func (c *Controller) follow(ctx context.Context, r reconcile.Request) (reconcile.Result, error) {
	s := &c.serving
	s.order.Lock()
	defer s.order.Unlock()
	s.mu.Lock()
	origins := s.clusters[r.NamespacedName]
	s.mu.Unlock()
	if len(origins) == 0 {
		return reconcile.Result{}, nil
	}
	var service corev1.Service
	if err := c.world.reader.Get(ctx, r.NamespacedName, &service, client.UnsafeDisableDeepCopy); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err) // its own event makes a new configuration
	}
	list, err := c.world.slices(ctx, r.NamespacedName)
	if err != nil {
		return reconcile.Result{}, err
	}
	fresh := map[string][]snapshot.Endpoint{}
	for _, o := range origins {
		all := endpoints.Of(&service, o.Port, list)
		fresh[realm.OriginKey(o)] = all
		for _, id := range s.ids[o] {
			if err := c.options.Plane.SetEndpoints(id, all); err != nil {
				return reconcile.Result{}, err
			}
		}
	}
	c.keepEndpoints(fresh)
	return reconcile.Result{}, nil
}

// keepEndpoints keeps the configuration with other endpoints. What was kept before is being written: it is not changed.
func (c *Controller) keepEndpoints(fresh map[string][]snapshot.Endpoint) {
	if c.keeper == nil {
		return
	}
	s := &c.serving
	s.mu.Lock()
	defer s.mu.Unlock()
	world := *s.view.input.World
	world.Endpoints = maps.Clone(world.Endpoints)
	maps.Copy(world.Endpoints, fresh)
	s.view.input.World = &world
	c.keep(s.view.input)
}
