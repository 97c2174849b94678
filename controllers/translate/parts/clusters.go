package parts

import (
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// HealthCheck says how endpoints are asked whether they are well.
func HealthCheck(h *v1alpha1.HealthCheck) snapshot.HealthCheck {
	c := snapshot.HealthCheck{
		Timeout:            ms(h.TimeoutMs),
		Interval:           Secs(h.FrequencySecs),
		Path:               deref(h.Path),
		Service:            deref(h.Service),
		HealthyThreshold:   int(deref(h.HealthyThreshold)),
		UnhealthyThreshold: int(deref(h.UnhealthyThreshold)),
	}
	switch deref(h.Type) {
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
		ConsecutiveErrors:  int(deref(p.ConsecutiveErrors)),
		Ejection:           Secs(p.EjectionSecs),
		MaxEjectionPercent: int(deref(p.MaxEjectionPercent)),
	}
}

// Breaker bounds what runs and waits at a cluster.
func Breaker(b *v1alpha1.CircuitBreaker) *snapshot.Breaker {
	if b == nil {
		return nil
	}
	return &snapshot.Breaker{
		MaxConnections: int(deref(b.MaxConnections)),
		MaxPending:     int(deref(b.MaxPending)),
		ErrorPercent:   int(deref(b.ErrorPercent)),
		MinRequests:    int(deref(b.MinRequests)),
		Open:           Secs(b.OpenSecs),
	}
}

// Algorithm says how endpoints take turns.
func Algorithm(b *v1alpha1.LoadBalancing) snapshot.Algorithm {
	switch deref(b.Algorithm) {
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
	return Algorithm(a) == Algorithm(b) && deref(a.SlowStartSecs) == deref(b.SlowStartSecs) && deref(a.ZoneAware) == deref(b.ZoneAware)
}

// HashOn says what of a request leads to the same endpoint.
func HashOn(h *v1alpha1.HashOn) (snapshot.HashOn, string) {
	if h == nil {
		return snapshot.HashClientIP, ""
	}
	switch deref(h.Type) {
	case v1alpha1.HashHeader:
		return snapshot.HashHeader, deref(h.Name)
	case v1alpha1.HashCookie:
		return snapshot.HashCookie, deref(h.Name)
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
	return snapshot.Override{Header: deref(b.Override.Header), Cookie: deref(b.Override.Cookie), Value: b.Override.Value}
}
