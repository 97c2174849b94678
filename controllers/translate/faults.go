package translate

import (
	"fmt"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/api/defaults"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/parts"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// A faults is what is wrong with a service, by what it keeps from being served.
type faults struct {
	refused bool            // its address or its hosts: there is no telling which requests are its own
	whole   string          // something that every route needs
	routes  map[int]string  // something of one route
	fields  map[string]bool // that are wrong, and, being false, those that they are below
}

// sort reports the faults of a service, and says what they spoil.
func (t *translation) sort(index int, in *Service) faults {
	if len(in.Faults) == 0 {
		return faults{}
	}
	f := faults{routes: map[int]string{}, fields: map[string]bool{}}
	for _, e := range in.Faults {
		at := strings.TrimPrefix(strings.TrimPrefix(e.Field, "spec"), ".")
		p := Problem{Service: index, Field: at, Reason: v1alpha1.ReasonInvalid, Message: e.Detail}
		f.fields[at] = true
		for outer := range enclosing(at) {
			if !f.fields[outer] {
				f.fields[outer] = false
			}
		}
		message := fmt.Sprintf("%s: %s", at, e.Detail)
		var route int
		switch n, _ := fmt.Sscanf(at, "routes[%d]", &route); {
		case n == 1 && route < len(in.Spec.Routes):
			p.Route = in.Spec.Routes[route].Name
			if f.routes[route] == "" {
				f.routes[route] = message
			}
		case under(at, "bindAddress") || under(at, "hosts"):
			f.refused = true
		case f.whole == "":
			f.whole = message
		}
		t.problem(p)
	}
	return f
}

// of says why a route cannot be built.
func (f *faults) of(route int) string {
	if f.whole != "" {
		return f.whole
	}
	return f.routes[route]
}

// at says whether something is wrong with a field, below it, or with a list that it is in: nobody looks at the items of one
// that is too long.
func (f *faults) at(field string) bool {
	if len(f.fields) == 0 {
		return false
	}
	if _, found := f.fields[field]; found {
		return true
	}
	for outer := range enclosing(field) {
		if f.fields[outer] {
			return true
		}
	}
	return false
}

// enclosing are the fields that a field is below.
func enclosing(field string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for i := len(field) - 1; i > 0; i-- {
			if (field[i] == '.' || field[i] == '[') && !yield(field[:i]) {
				return
			}
		}
	}
}

func under(field, outer string) bool {
	rest, ok := strings.CutPrefix(field, outer)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// sound returns the service without what is wrong with every route of it: its address, its hosts and its routes' matches
// stay, all of which answer 503.
func sound(in *Service) *Service {
	out := *in
	out.Spec = v1alpha1.ProxyServiceSpec{
		Name: in.Spec.Name, BindAddress: in.Spec.BindAddress, Hosts: in.Spec.Hosts,
		TLS: in.Spec.TLS, TLSConfig: in.Spec.TLSConfig, Routes: in.Spec.Routes,
		Protocol: in.Spec.Protocol, ClientIP: in.Spec.ClientIP, // what its address speaks
	}
	defaults.Service(&out.Spec, v1alpha1.FromCluster)
	return &out
}

// widened is a match of a route that cannot be built: without the conditions that make no sense. It takes more requests
// than it was meant to, and refuses them, rather than leave some to a route that was not meant for them.
func widened(m *v1alpha1.Match, f *faults, at string) snapshot.Match {
	wide := *m
	if f.at(at + ".path") {
		wide.Path = nil
	}
	if f.at(at + ".methods") {
		wide.Methods = nil
	}
	if f.at(at + ".headers") {
		wide.Headers = nil
	}
	if f.at(at + ".query") {
		wide.Query = nil
	}
	if f.at(at) && !f.at(at+".path") && !f.at(at+".methods") && !f.at(at+".headers") && !f.at(at+".query") {
		wide = v1alpha1.Match{}
	}
	return parts.Match(&wide)
}
