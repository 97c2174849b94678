package translate

import (
	"strconv"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
)

// A Problem is something that keeps a part of the input from being served.
type Problem struct {
	Service int    // index of the service that it is about
	Route   string // name of the route that it is about; empty: the service as a whole
	Field   string // within its spec, such as routes[0].matches[1]; empty: the service itself
	Reason  string // in the words of the status conditions: one of v1alpha1
	Message string

	// What stands in the way, for conflicts. Holder is the index of the service it belongs to; -1: a global.
	Holder      int
	HolderRoute string
	HolderField string
}

// Conflict says whether something else stands in the way.
func (p Problem) Conflict() bool {
	return p.Reason == v1alpha1.ReasonListenerConflict || p.Reason == v1alpha1.ReasonRouteShadowed || p.Reason == v1alpha1.ReasonHostNotOwned
}

// Reference says whether something that the object names is missing, or may not be used.
func (p Problem) Reference() bool {
	return p.Reason == v1alpha1.ReasonBackendNotFound || p.Reason == v1alpha1.ReasonRefNotPermitted || p.Reason == v1alpha1.ReasonInvalidCertificateRef
}

// problem notes a problem, once: what several routes share has its problems but once.
func (t *translation) problem(p Problem) {
	if !t.reported[p] {
		t.reported[p] = true
		t.problems = append(t.problems, p)
	}
}

func index(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }
