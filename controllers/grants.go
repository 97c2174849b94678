package controllers

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
)

// lookAgain is how often the API server is asked whether it serves ReferenceGrants, whose CRD may come and go.
const lookAgain = 10 * time.Second

// A grants knows the ReferenceGrants of the Gateway API, where its CRD is installed.
type grants struct {
	cache     cache.Cache
	discovery discovery.DiscoveryInterface
	changed   func()
	log       logr.Logger
	served    atomic.Pointer[schema.GroupVersionKind] // nil: not installed, or not known yet
}

// run finds out whether ReferenceGrants are served, again and again, until ctx ends.
func (g *grants) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			timer.Reset(lookAgain)
		}
		kind, err := g.find()
		if err != nil {
			continue // the API server is away: what was known stays
		}
		old := g.served.Load()
		if (old == nil) == (kind == nil) && (old == nil || *old == *kind) {
			continue
		}
		if old != nil {
			_ = g.cache.RemoveInformer(ctx, grantOf(*old))
		}
		if kind != nil {
			if err := g.follow(ctx, *kind); err != nil {
				g.log.Error(err, "ReferenceGrants cannot be watched; asked again", "in", lookAgain.String())
				continue
			}
		}
		g.served.Store(kind)
		g.changed()
	}
}

// find returns the version of ReferenceGrants that the API server serves, or nil.
func (g *grants) find() (*schema.GroupVersionKind, error) {
	groups, err := g.discovery.ServerGroups()
	if err != nil {
		return nil, err
	}
	for _, group := range groups.Groups {
		if group.Name != gatewayGroup {
			continue
		}
		for _, version := range []string{"v1", "v1beta1"} {
			for _, v := range group.Versions {
				if v.Version != version {
					continue
				}
				resources, err := g.discovery.ServerResourcesForGroupVersion(v.GroupVersion)
				if err != nil {
					return nil, err
				}
				for _, r := range resources.APIResources {
					if r.Kind == "ReferenceGrant" {
						return &schema.GroupVersionKind{Group: gatewayGroup, Version: version, Kind: r.Kind}, nil
					}
				}
			}
		}
	}
	return nil, nil
}

func (g *grants) follow(ctx context.Context, kind schema.GroupVersionKind) error {
	informer, err := g.cache.GetInformer(ctx, grantOf(kind), cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { g.changed() },
		UpdateFunc: func(any, any) { g.changed() },
		DeleteFunc: func(any) { g.changed() },
	})
	return err
}

func grantOf(kind schema.GroupVersionKind) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(kind)
	return u
}

// list returns what is granted to ProxyServices.
func (g *grants) list(ctx context.Context, reader client.Reader) ([]translate.Grant, error) {
	kind := g.served.Load()
	if kind == nil {
		return nil, nil
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	if err := reader.List(ctx, list); err != nil {
		return nil, err
	}
	var out []translate.Grant
	for i := range list.Items {
		out = append(out, granted(&list.Items[i])...)
	}
	return out, nil
}

// granted reads one ReferenceGrant. What it says of other kinds is no business of this package.
func granted(u *unstructured.Unstructured) []translate.Grant {
	from, _, _ := unstructured.NestedSlice(u.Object, "spec", "from")
	to, _, _ := unstructured.NestedSlice(u.Object, "spec", "to")
	var out []translate.Grant
	for _, f := range from {
		if text(f, "group") != v1alpha1.GroupVersion().Group || text(f, "kind") != "ProxyService" || text(f, "namespace") == "" {
			continue
		}
		for _, t := range to {
			kind := text(t, "kind")
			if text(t, "group") == "" && (kind == "Service" || kind == "Secret") {
				out = append(out, translate.Grant{From: text(f, "namespace"), Kind: kind, To: u.GetNamespace(), Name: text(t, "name")})
			}
		}
	}
	return out
}

func text(object any, key string) string {
	m, _ := object.(map[string]any)
	s, _ := m[key].(string)
	return s
}
