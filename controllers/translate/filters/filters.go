package filters

import (
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// A Source is what the filters of a route are made of.
type Source struct {
	Snapshot *snapshot.Route // with everything but its Filters and Clusters
	Service  *v1alpha1.ProxyServiceSpec
	Route    *v1alpha1.Route // nil: the route that takes what no other one of the service takes
	Field    string          // of Route below Service: "routes[2]"

	// Content returns what the reference in a field names, such as "auth.jwt[0].jwksRef".
	Content func(field string) ([]byte, error)
	// Cluster returns the ID of the cluster that a backend in a field stands for, beside those that the route forwards to.
	Cluster func(field string, b *v1alpha1.Backend) (string, error)
	// URL returns a URL as it is to be fetched from, or says why the service may not do that.
	URL func(text string) (string, error)
}

// A config is a filter.Config that knows whether New will take it.
type config interface {
	filter.Config
	Validate() error
}

// A list is what List has found so far.
type list struct {
	Source
	out     []filter.Config
	answers bool
	err     error
}

// add appends the filter of a field.
func (l *list) add(c config, field string) {
	if err := c.Validate(); err != nil {
		l.fail(field, err)
	}
	l.out = append(l.out, c)
}

// fail says why a field cannot be made a filter. The route then answers 503: without the filter it would let pass what
// must not.
func (l *list) fail(field string, err error) {
	if l.err == nil {
		l.err = &Fault{Field: field, Err: err}
	}
}

// A Fault is a setting that cannot be made a filter.
type Fault struct {
	Field string // below the service, or the name of one of the route's filters
	Err   error
}

// Error implements error.
func (f *Fault) Error() string { return f.Field + ": " + f.Err.Error() }

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Err }

// List lists a route's filters in the order in which they run: this function is that order. It also says whether one of
// them answers every request, so that the route needs no endpoints.
func List(s Source) (out []filter.Config, answers bool, err error) {
	l := &list{Source: s}
	var user []v1alpha1.Filter
	if s.Route != nil {
		user = s.Route.Filters
	}

	// What every answer tells browsers, also one that a filter below makes.
	l.security(user)
	// What other clients may not even learn: who may come at all.
	l.access()
	// Pages of other origins ask before they may send credentials.
	l.cors(user)
	// Redirects come before everything that may cost more.
	l.redirect(user)
	// Limits by address, before authentication is paid for.
	l.limits(false)
	// Who asks.
	l.auth()
	// Limits by identity.
	l.limits(true)
	// What is too long, and what is removed from requests and responses.
	l.bodyLimit()
	l.sanitize()
	// The user's filters, in their order.
	l.user(user)
	l.respond(user)
	// Signatures are made of what the endpoint gets.
	l.signing()
	if l.err != nil {
		return nil, l.answers, l.err
	}
	return l.out, l.answers, nil
}
