package parts

import (
	"github.com/pingora-proxy/pingora-proxy/api/optional"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// HealthCheck says how endpoints are asked whether they are well.
func HealthCheck(h *v1alpha1.HealthCheck) snapshot.HealthCheck {
	c := snapshot.HealthCheck{
		Timeout:            ms(h.TimeoutMs),
		Interval:           Secs(h.FrequencySecs),
		Path:               optional.Value(h.Path),
		Service:            optional.Value(h.Service),
		HealthyThreshold:   int(optional.Value(h.HealthyThreshold)),
		UnhealthyThreshold: int(optional.Value(h.UnhealthyThreshold)),
	}
	switch optional.Value(h.Type) {
	case v1alpha1.HealthCheckHTTP:
		c.Type = snapshot.CheckHTTP
	case v1alpha1.HealthCheckGRPC:
		c.Type = snapshot.CheckGRPC
	case v1alpha1.HealthCheckDisabled:
		c.Type = snapshot.CheckDisabled
	}
	return c
}

// Passive says which endpoints are taken out for what they answer.
func Passive(p *v1alpha1.PassiveHealthCheck) *snapshot.Passive {
	if p == nil {
		return nil
	}
	return &snapshot.Passive{
		ConsecutiveErrors:  int(optional.Value(p.ConsecutiveErrors)),
		Ejection:           Secs(p.EjectionSecs),
		MaxEjectionPercent: int(optional.Value(p.MaxEjectionPercent)),
	}
}

// Breaker bounds what runs and waits at a cluster.
func Breaker(b *v1alpha1.CircuitBreaker) *snapshot.Breaker {
	if b == nil {
		return nil
	}
	return &snapshot.Breaker{
		MaxConnections: int(optional.Value(b.MaxConnections)),
		MaxPending:     int(optional.Value(b.MaxPending)),
		ErrorPercent:   int(optional.Value(b.ErrorPercent)),
		MinRequests:    int(optional.Value(b.MinRequests)),
		Open:           Secs(b.OpenSecs),
	}
}

// Algorithm says how endpoints take turns.
func Algorithm(b *v1alpha1.LoadBalancing) snapshot.Algorithm {
	switch optional.Value(b.Algorithm) {
	case v1alpha1.AlgorithmLeastRequest:
		return snapshot.LeastRequest
	case v1alpha1.AlgorithmRandom:
		return snapshot.Random
	case v1alpha1.AlgorithmConsistentHash:
		return snapshot.ConsistentHash
	}
	return snapshot.RoundRobin
}

// SameBalancing reports whether clusters are balanced alike. What requests say about their endpoints is not the cluster's.
func SameBalancing(a, b *v1alpha1.LoadBalancing) bool {
	return Algorithm(a) == Algorithm(b) && optional.Value(a.SlowStartSecs) == optional.Value(b.SlowStartSecs) && optional.Value(a.ZoneAware) == optional.Value(b.ZoneAware)
}

// HashOn says what of a request leads to the same endpoint.
func HashOn(h *v1alpha1.HashOn) (snapshot.HashOn, string) {
	if h == nil {
		return snapshot.HashClientIP, ""
	}
	switch optional.Value(h.Type) {
	case v1alpha1.HashHeader:
		return snapshot.HashHeader, optional.Value(h.Name)
	case v1alpha1.HashCookie:
		return snapshot.HashCookie, optional.Value(h.Name)
	case v1alpha1.HashPath:
		return snapshot.HashPath, ""
	}
	return snapshot.HashClientIP, ""
}

// Override says which requests ask for a cluster themselves.
func Override(b *v1alpha1.Backend) snapshot.Override {
	if b.Override == nil {
		return snapshot.Override{}
	}
	return snapshot.Override{Header: optional.Value(b.Override.Header), Cookie: optional.Value(b.Override.Cookie), Value: b.Override.Value}
}
