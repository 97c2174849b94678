package translate

import "strconv"

// A Reason classifies a Problem, in the words of the status conditions.
type Reason string

// The reasons why something cannot be served as it stands.
const (
	ReasonInvalid           Reason = "Invalid"           // a part cannot be built
	ReasonListenerConflict  Reason = "ListenerConflict"  // another service holds the address
	ReasonPortNotAllowed    Reason = "PortNotAllowed"    // the port is not among those that objects may bind
	ReasonHostNotOwned      Reason = "HostNotOwned"      // another namespace has the host
	ReasonAddressNotAllowed Reason = "AddressNotAllowed" // a static address that the policy refuses
)

// The reasons why something that an object names cannot be used.
const (
	ReasonBackendNotFound       Reason = "BackendNotFound"
	ReasonRefNotPermitted       Reason = "RefNotPermitted"
	ReasonInvalidCertificateRef Reason = "InvalidCertificateRef"
)

// ReasonRouteShadowed says that another route takes the same requests.
const ReasonRouteShadowed Reason = "RouteShadowed"

// A Problem is something that keeps a part of the input from being served.
type Problem struct {
	Service int    // index of the service that it is about
	Route   string // name of the route that it is about; empty: the service as a whole
	Field   string // within its spec, such as routes[0].matches[1]; empty: the service itself
	Reason  Reason
	Message string

	// What stands in the way, for conflicts. Holder is the index of the service it belongs to; -1: a global.
	Holder      int
	HolderRoute string
	HolderField string
}

// Conflict says whether something else stands in the way.
func (p Problem) Conflict() bool {
	return p.Reason == ReasonListenerConflict || p.Reason == ReasonRouteShadowed || p.Reason == ReasonHostNotOwned
}

// Reference says whether something that the object names is missing, or may not be used.
func (p Problem) Reference() bool {
	return p.Reason == ReasonBackendNotFound || p.Reason == ReasonRefNotPermitted || p.Reason == ReasonInvalidCertificateRef
}

// problem notes a problem, once: what several routes share has its problems but once.
func (t *translation) problem(p Problem) {
	if !t.reported[p] {
		t.reported[p] = true
		t.problems = append(t.problems, p)
	}
}

func index(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }
