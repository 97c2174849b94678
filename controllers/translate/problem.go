package translate

import "fmt"

// A Reason classifies a Problem, in the words of the status conditions.
type Reason string

// The reasons.
const (
	ReasonInvalid          Reason = "Invalid"          // a part cannot be built
	ReasonListenerConflict Reason = "ListenerConflict" // another service holds the address
	ReasonRouteShadowed    Reason = "RouteShadowed"    // another route takes the same requests
)

// A Problem is something that keeps a part of the input from being served.
type Problem struct {
	Service int    // index of the service that it is about
	Field   string // within its spec, such as routes[0].matches[1]; empty: the service itself
	Reason  Reason
	Message string

	// What stands in the way, for conflicts. Holder is the index of the service it belongs to.
	Holder      int
	HolderField string
}

// Conflict says whether something else stands in the way.
func (p Problem) Conflict() bool { return p.Reason != ReasonInvalid }

func (t *translation) problem(p Problem) { t.problems = append(t.problems, p) }

func index(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }
