package status

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
)

// A difference between two statuses.
type difference int

const (
	same    difference = iota
	counted            // in numbers alone: of endpoints, of replicas
	changed
)

// compare compares what this package makes of a status, in any order of the conditions and whenever they changed.
func compare(a, b *v1alpha1.ProxyServiceStatus) difference {
	if a.ObservedGeneration != b.ObservedGeneration || a.ConfigHash != b.ConfigHash || !slices.Equal(a.Addresses, b.Addresses) ||
		!slices.EqualFunc(a.Routes, b.Routes, equalRoutes) {
		return changed
	}
	d := compareConditions(a.Conditions, b.Conditions)
	if d == same && (a.EndpointsSummary != b.EndpointsSummary || !equalValues(a.Endpoints, b.Endpoints) ||
		!equalValues(a.Replicas, b.Replicas)) {
		return counted
	}
	return d
}

func equalRoutes(a, b v1alpha1.RouteStatus) bool {
	return a.Name == b.Name && compareConditions(a.Conditions, b.Conditions) == same
}

func compareConditions(a, b []metav1.Condition) difference {
	worst, met := same, 0
	for i := range a {
		if !ours(a[i].Type) {
			continue
		}
		met++
		other := find(b, a[i].Type)
		if other == nil {
			return changed
		}
		worst = max(worst, compareCondition(&a[i], other))
	}
	for i := range b {
		if ours(b[i].Type) {
			met--
		}
	}
	if met != 0 {
		return changed
	}
	return worst
}

func compareCondition(a, b *metav1.Condition) difference {
	switch {
	case a.Status != b.Status || a.Reason != b.Reason || a.ObservedGeneration != b.ObservedGeneration:
		return changed
	case a.Message == b.Message:
		return same
	case a.Type == v1alpha1.ConditionProgrammed:
		return counted // its message counts replicas
	default:
		return changed
	}
}

func equalValues[T comparable](a, b *T) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// own is a status without the conditions of others.
func own(s v1alpha1.ProxyServiceStatus) v1alpha1.ProxyServiceStatus {
	s.Conditions = ownConditions(s.Conditions)
	s.Routes = slices.Clone(s.Routes)
	for i := range s.Routes {
		s.Routes[i].Conditions = ownConditions(s.Routes[i].Conditions)
	}
	return s
}

func ownConditions(all []metav1.Condition) []metav1.Condition {
	var out []metav1.Condition
	for _, c := range all {
		if ours(c.Type) {
			out = append(out, c)
		}
	}
	return out
}
