package controllers

import (
	"context"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// A DataPlane is what serves.
type DataPlane interface {
	// Apply makes a snapshot the one that serves, all of it or nothing. Where addresses cannot be bound the error has a
	// method Unbound() map[string]error that lists them, as they are configured.
	Apply(ctx context.Context, s *snapshot.Snapshot) error
	// SetEndpoints replaces the endpoints of one cluster.
	SetEndpoints(cluster string, endpoints []snapshot.Endpoint) error
	// SetReplicas says how many replicas serve, this one included.
	SetReplicas(n int)
	// Health counts the endpoints of each service, by namespace/name.
	Health() map[string]snapshot.Health
	// Ready says whether traffic is taken.
	Ready() bool
}
