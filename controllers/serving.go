package controllers

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/pingora-proxy/pingora-proxy/controllers/contents"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// A serving is what the data plane was given last. Its first lock is held from the reading of endpoints to the moment when
// the data plane has them, so that older ones never follow newer ones.
type serving struct {
	order sync.Mutex

	mu       sync.Mutex
	named    *view // whose names' events count; the data plane may not have it yet, or may have refused it
	view     *view
	problems []translate.Problem
	unbound  map[string]error                           // addresses that could not be bound
	clusters map[types.NamespacedName][]snapshot.Origin // that are followed, by Service
	ids      map[snapshot.Origin][]string               // of the clusters of an origin
	listens  map[string]bool                            // services that have a listener, by namespace/name
	ports    []uint16                                   // that are bound
	hosts    []string                                   // under which clients reach the proxy's own Service
	applied  time.Time
	version  uint64 // that was acknowledged

	first chan struct{} // closed when the first configuration of the cluster serves
	once  sync.Once
}

func (s *serving) namesService(n types.NamespacedName) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.named == nil || s.named.services[n]
}

// namesContent returns what asks for objects of a kind.
func (s *serving) namesContent(kind string) func(types.NamespacedName) bool {
	return func(n types.NamespacedName) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.named == nil || s.named.contents.Named[contents.Object{Kind: kind, NamespacedName: n}]
	}
}
