package controllers

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/pingora-proxy/pingora-proxy/api/settings"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/contents"
	"github.com/pingora-proxy/pingora-proxy/controllers/endpoints"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/material"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/realm"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// byService is the index of EndpointSlices by the Service that they belong to.
const byService = "service"

// A world reads the objects that a configuration is made of from the caches. It belongs to one goroutine, but for grants.
type world struct {
	options  *Options
	settings atomic.Pointer[own]
	reader   client.Reader
	grants   *grants
	contents *contents.Reader
	objects  map[types.UID]*prepared

	translation translate.Memory
}

func newWorld(m manager.Manager, d discovery.DiscoveryInterface, o *Options) *world {
	w := &world{
		options: o, reader: m.GetCache(), contents: contents.New(m.GetCache(), m.GetAPIReader(), o.NoSecrets), objects: map[types.UID]*prepared{},
		grants: &grants{cache: m.GetCache(), discovery: d, log: o.Log.WithName("grants"), changed: func() {}},
	}
	w.settings.Store(&own{o.Globals, o.Contents})
	return w
}

// own are the settings of the process itself.
type own struct {
	globals  settings.Globals
	contents map[string]material.Content
}

// A view is the objects at one moment.
type view struct {
	input    translate.Input
	objects  []*prepared                   // parallel to input.Services
	services map[types.NamespacedName]bool // Services that are named, there or not
	contents contents.Found                // Secrets and ConfigMaps likewise
	version  uint64                        // the largest resourceVersion of all ProxyServices
	again    time.Duration                 // something could not be read: when to try again; 0: all was
}

// look lists everything.
func (w *world) look(ctx context.Context) (*view, error) {
	var list v1alpha1.ProxyServiceList
	if err := w.reader.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing ProxyServices: %w", err)
	}
	granted, err := w.grants.list(ctx, w.reader)
	if err != nil {
		return nil, fmt.Errorf("listing ReferenceGrants: %w", err)
	}
	process := w.settings.Load()
	v := &view{
		services: map[types.NamespacedName]bool{},
		contents: contents.Found{Named: map[contents.Object]bool{}, Expiring: map[types.NamespacedName]time.Time{}},
		input: translate.Input{Globals: process.globals, Contents: process.contents, World: &realm.World{
			Services: map[string]realm.KubeService{}, Endpoints: map[string][]snapshot.Endpoint{}, Grants: granted, Policy: w.options.Policy,
		}},
	}
	items := slices.DeleteFunc(slices.Collect(pointers(list.Items)), func(p *v1alpha1.ProxyService) bool {
		v.version = max(v.version, version(p.ResourceVersion))
		return p.Class() != w.options.Class || !p.DeletionTimestamp.IsZero()
	})
	// The oldest first: it wins where two of them want the same, and every replica must see the same winner.
	slices.SortFunc(items, func(a, b *v1alpha1.ProxyService) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	kept := make(map[types.UID]*prepared, len(items))
	for _, p := range items {
		object := w.objects[p.UID]
		if object == nil || object.generation != p.Generation {
			object = prepare(p)
		}
		kept[p.UID] = object
		v.objects = append(v.objects, object)
	}
	w.objects = kept
	return v, w.surroundings(ctx, v)
}

func pointers[T any](list []T) func(yield func(*T) bool) {
	return func(yield func(*T) bool) {
		for i := range list {
			if !yield(&list[i]) {
				return
			}
		}
	}
}

// surroundings adds what the objects name.
func (w *world) surroundings(ctx context.Context, v *view) error {
	// All Secrets and ConfigMaps together get the time of one answer: endpoints wait for this.
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	services := make([]translate.Service, len(v.objects))
	v.input.Services = slices.Collect(pointers(services))
	for i, object := range v.objects {
		s := &services[i]
		*s = object.service
		for _, name := range object.named {
			v.services[name] = true
		}
		w.contents.Complete(asking, s, v.input.World, &v.contents)
	}
	w.contents.Forget(v.contents.Named)
	if v.contents.Again {
		v.again = bindAgain
	}
	for name := range v.services {
		if watched := w.options.Namespaces; len(watched) > 0 && !slices.Contains(watched, name.Namespace) {
			continue // nothing is known of other namespaces, and no grant of theirs: the translation refuses it
		}
		var s corev1.Service
		err := w.reader.Get(ctx, name, &s, client.UnsafeDisableDeepCopy)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading Service %s: %w", name, err)
		}
		known := endpoints.Service(&s)
		v.input.World.Services[name.String()] = known
		lists, err := w.slices(ctx, name)
		if err != nil {
			return err
		}
		for _, p := range known.Ports {
			origin := snapshot.Origin{Namespace: name.Namespace, Name: name.Name, Port: p.Name}
			v.input.World.Endpoints[realm.OriginKey(origin)] = endpoints.Of(&s, p.Name, lists)
		}
	}
	return nil
}

// slices lists the EndpointSlices of a Service.
func (w *world) slices(ctx context.Context, service types.NamespacedName) ([]*discoveryv1.EndpointSlice, error) {
	var list discoveryv1.EndpointSliceList
	err := w.reader.List(ctx, &list, client.InNamespace(service.Namespace), client.MatchingFields{byService: service.Name}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("listing EndpointSlices of Service %s: %w", service, err)
	}
	return slices.Collect(pointers(list.Items)), nil
}

// serviceNames lists the Services that a spec names.
func serviceNames(spec *v1alpha1.ProxyServiceSpec, namespace string) []types.NamespacedName {
	found := map[types.NamespacedName]bool{}
	add := func(list []v1alpha1.Backend) {
		for _, b := range list {
			if b.Service != nil {
				found[reference(b.Service.Namespace, namespace, b.Service.Name)] = true
			}
		}
	}
	aside := func(b *v1alpha1.Backend) {
		if b != nil {
			add([]v1alpha1.Backend{*b})
		}
	}
	asks := func(a *v1alpha1.Auth) {
		if a != nil && a.Forward != nil {
			aside(a.Forward.Backend)
		}
	}
	add(spec.Backends)
	asks(spec.Auth)
	for _, r := range spec.Routes {
		add(r.Backends)
		asks(r.Auth)
		for _, f := range r.Filters {
			if f.Mirror != nil {
				aside(f.Mirror.Backend)
			}
		}
	}
	return slices.Collect(maps.Keys(found))
}

func reference(namespace *string, own, name string) types.NamespacedName {
	if namespace != nil && *namespace != "" {
		own = *namespace
	}
	return types.NamespacedName{Namespace: own, Name: name}
}
