package translate

import (
	"errors"
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
	switch p.Reason {
	case v1alpha1.ReasonBackendNotFound, v1alpha1.ReasonRefNotFound, v1alpha1.ReasonRefNotPermitted, v1alpha1.ReasonInvalidCertificateRef:
		return true
	default:
		return false
	}
}

// A refusal is why something that is named cannot be used.
type refusal struct {
	reason, message string
	told            bool // there is a Problem already
}

// Error implements error.
func (r *refusal) Error() string { return r.message }

// because sets the reason of a problem that an error is the cause of, and says whether there is one already.
func (p *Problem) because(err error) (told bool) {
	var r *refusal
	if errors.As(err, &r) {
		p.Reason, told = r.reason, r.told
	}
	return told
}

// problem notes a problem, once: what several routes share has its problems but once.
func (t *translation) problem(p Problem) {
	if !t.reported[p] {
		t.reported[p] = true
		t.problems = append(t.problems, p)
	}
}

func index(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }
