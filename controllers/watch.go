package controllers

import (
	"context"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/contents"
	"github.com/pingora-proxy/pingora-proxy/controllers/endpoints"
)

// everything is the one key of the configuration: whether two objects want the same shows only in the whole of them.
func everything() reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Name: "configuration"}}
}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// watch says which events make a new configuration, and which only new endpoints.
func (c *Controller) watch() error {
	err := c.manager.GetFieldIndexer().IndexField(context.Background(), &discoveryv1.EndpointSlice{}, byService, func(o client.Object) []string {
		return []string{o.GetLabels()[discoveryv1.LabelServiceName]}
	})
	if err != nil {
		return err
	}
	again := make(chan event.GenericEvent, 1)
	c.again = func() {
		select {
		case again <- event.GenericEvent{Object: &v1alpha1.ProxyService{}}:
		default:
		}
	}
	c.world.grants.changed = c.again
	// What arrives together is translated together: the first event waits for those behind it.
	soon := func(_ context.Context, _ client.Object, q queue) { q.AddAfter(everything(), settle) }
	all := handler.Funcs{
		CreateFunc:  func(ctx context.Context, e event.CreateEvent, q queue) { soon(ctx, e.Object, q) },
		UpdateFunc:  func(ctx context.Context, e event.UpdateEvent, q queue) { soon(ctx, e.ObjectNew, q) },
		DeleteFunc:  func(ctx context.Context, e event.DeleteEvent, q queue) { soon(ctx, e.Object, q) },
		GenericFunc: func(ctx context.Context, e event.GenericEvent, q queue) { soon(ctx, e.Object, q) },
	}
	// A status does not change the generation, and this process writes many.
	changed := predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, deleting())
	configuration := builder.ControllerManagedBy(c.manager).Named("configuration").
		WatchesRawSource(source.Func(func(_ context.Context, q queue) error {
			q.Add(everything()) // a cluster without any object is a configuration, too
			return nil
		})).
		WatchesRawSource(source.Channel(again, all)).
		Watches(&v1alpha1.ProxyService{}, all, builder.WithPredicates(changed)).
		Watches(&corev1.Service{}, all, builder.WithPredicates(c.named(c.serving.namesService), sameMeaning())).
		WatchesMetadata(contents.Metadata(contents.ConfigMap), all, builder.WithPredicates(c.named(c.serving.namesContent(contents.ConfigMap)))).
		WithOptions(controller.Options{MaxConcurrentReconciles: 1})
	if !c.options.NoSecrets { // a watch that is forbidden would never let the controller begin
		configuration.WatchesMetadata(contents.Metadata(contents.Secret), all, builder.WithPredicates(c.named(c.serving.namesContent(contents.Secret))))
	}
	if err = configuration.Complete(reconcile.Func(c.configure)); err != nil {
		return err
	}
	owner := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		name := types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetLabels()[discoveryv1.LabelServiceName]}
		return []reconcile.Request{{NamespacedName: name}}
	})
	return builder.ControllerManagedBy(c.manager).Named("endpoints").
		Watches(&discoveryv1.EndpointSlice{}, owner).
		WithOptions(controller.Options{MaxConcurrentReconciles: 1}).
		Complete(reconcile.Func(c.follow))
}

// named lets the events of what the configuration names pass.
func (c *Controller) named(is func(types.NamespacedName) bool) predicate.Predicate {
	return predicate.NewPredicateFuncs(func(o client.Object) bool { return is(client.ObjectKeyFromObject(o)) })
}

// deleting lets the event pass that an object with finalizers is about to go.
func deleting() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero()
	}}
}

// sameMeaning keeps the events of Services back that change nothing of what is read of them.
func sameMeaning() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(*corev1.Service)
		after, ok2 := e.ObjectNew.(*corev1.Service)
		return !ok1 || !ok2 || !reflect.DeepEqual(endpoints.Service(before), endpoints.Service(after)) ||
			!reflect.DeepEqual(before.Spec.IPFamilies, after.Spec.IPFamilies)
	}}
}
