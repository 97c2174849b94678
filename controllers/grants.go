package controllers

import (
	"context"
	"slices"
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
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/realm"
)

// lookAgain is how often the API server is asked whether it serves ReferenceGrants, whose CRD may come and go.
const lookAgain = 10 * time.Second

// askAgain is how often it is asked until it has answered once.
const askAgain = 250 * time.Millisecond

// A grants knows the ReferenceGrants of the Gateway API, where its CRD is installed.
type grants struct {
	cache     cache.Cache
	discovery discovery.DiscoveryInterface
	changed   func()
	log       logr.Logger
	served    atomic.Pointer[watched] // nil: not known yet
	began     atomic.Pointer[time.Time]
	last      []realm.Grant // as the cache had them last; of the one who lists
}

// A watched is what the API server serves of ReferenceGrants: nothing, where the informer is nil.
type watched struct {
	kind     schema.GroupVersionKind
	informer cache.Informer
}

// grantPatience is how long a start waits for the ReferenceGrants.
const grantPatience = 5 * time.Second

// known says whether it is known what is granted, or has been waited for long enough.
func (g *grants) known() bool {
	now := time.Now()
	if !g.began.CompareAndSwap(nil, &now) && now.Sub(*g.began.Load()) > grantPatience {
		return true
	}
	at := g.served.Load()
	return at != nil && (at.informer == nil || at.informer.HasSynced())
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
		old := g.served.Load()
		if err != nil {
			if old == nil {
				timer.Reset(askAgain)
			}
			continue // the API server is away: what was known stays
		}
		if old != nil && (kind == nil && old.informer == nil || kind != nil && old.informer != nil && old.kind == *kind) {
			continue
		}
		if old != nil && old.informer != nil {
			_ = g.cache.RemoveInformer(ctx, grantOf(old.kind))
		}
		next := &watched{}
		if kind != nil {
			next.kind = *kind
			if next.informer, err = g.follow(ctx, *kind); err != nil {
				g.log.Error(err, "ReferenceGrants cannot be watched; asked again", "in", lookAgain.String())
				continue
			}
		}
		g.served.Store(next)
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

func (g *grants) follow(ctx context.Context, kind schema.GroupVersionKind) (cache.Informer, error) {
	informer, err := g.cache.GetInformer(ctx, grantOf(kind), cache.BlockUntilSynced(false))
	if err != nil {
		return nil, err
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { g.changed() },
		UpdateFunc: func(any, any) { g.changed() },
		DeleteFunc: func(any) { g.changed() },
	})
	return informer, err
}

func grantOf(kind schema.GroupVersionKind) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(kind)
	return u
}

// list returns what is granted to ProxyServices, as far as the cache knows: a kind that is served and cannot be listed must
// not hold up everything else.
func (g *grants) list(ctx context.Context, reader client.Reader) ([]realm.Grant, error) {
	at := g.served.Load()
	if at == nil || at.informer == nil {
		g.last = nil
		return nil, nil
	}
	if !at.informer.HasSynced() {
		return g.last, nil
	}
	kind := at.kind
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	if err := reader.List(ctx, list); err != nil {
		return nil, err
	}
	var out []realm.Grant
	for i := range list.Items {
		out = append(out, granted(&list.Items[i])...)
	}
	g.last = out
	return out, nil
}

// granted reads one ReferenceGrant. What it says of other kinds is no business of this package.
func granted(u *unstructured.Unstructured) []realm.Grant {
	from, _, _ := unstructured.NestedSlice(u.Object, "spec", "from")
	to, _, _ := unstructured.NestedSlice(u.Object, "spec", "to")
	var out []realm.Grant
	for _, f := range from {
		if text(f, "group") != v1alpha1.GroupVersion().Group || text(f, "kind") != "ProxyService" || text(f, "namespace") == "" {
			continue
		}
		for _, t := range to {
			kind := text(t, "kind")
			if text(t, "group") == "" && slices.Contains([]string{"Service", "Secret", "ConfigMap"}, kind) {
				out = append(out, realm.Grant{From: text(f, "namespace"), Kind: kind, To: u.GetNamespace(), Name: text(t, "name")})
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
