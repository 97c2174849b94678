package filters

import (
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/access"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/redirect"
)

// ToHTTPS is the filter that sends clients from plain HTTP to the same address over TLS, at a port. 0 is one that is
// not known before it is bound: then the usual one is meant.
func ToHTTPS(owner string, port uint16) filter.Config {
	return redirect.Config{Owner: owner, Scheme: "https", Port: port, Code: 308}
}

// Access is the filter that lets clients of a TCP service pass by their address; nil: all may.
func Access(owner string, a *v1alpha1.Access) (filter.Config, error) {
	if a == nil {
		return nil, nil
	}
	c := access.Config{Owner: owner, Allow: a.Allow, Deny: a.Deny}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return c, nil
}
