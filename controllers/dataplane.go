package controllers

import (
	"context"
	"net/netip"

	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// A DataPlane is what serves.
type DataPlane interface {
	// Apply makes a snapshot the one that serves, all of it or nothing. Where addresses cannot be bound the error has a
	// method Unbound() map[string]error that lists them, as they are configured.
	Apply(ctx context.Context, s *snapshot.Snapshot) error
	// SetEndpoints replaces the endpoints of one cluster.
	SetEndpoints(cluster string, endpoints []snapshot.Endpoint) error
	// Health counts the endpoints of each service, by namespace/name.
	Health() map[string]Health
	// Ready says whether traffic is taken.
	Ready() bool
	// Ejections are told of endpoints that failed too many requests.
	Ejections() <-chan Ejection
}

// Health counts endpoints.
type Health struct{ Healthy, Total int }

// An Ejection tells of an endpoint that is taken out for a while.
type Ejection struct {
	Service  string // namespace/name of the ProxyService
	Endpoint netip.AddrPort
}
