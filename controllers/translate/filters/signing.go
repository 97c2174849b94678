package filters

import (
	"github.com/pingora-proxy/pingora-proxy/api/optional"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/signing"
)

// signing adds the signature that the service's endpoints want.
func (l *list) signing() {
	s := l.Service.RequestSigning
	if s == nil {
		return
	}
	key, err := l.Content("requestSigning.keyRef")
	if err != nil {
		l.fail("requestSigning.keyRef", err)
		return
	}
	c := signing.Config{
		Owner: l.service(), Secret: key, KeyID: s.KeyID, Components: s.Components, Secure: l.endpointsSecured(),
	}
	if optional.Value(s.Algorithm) == v1alpha1.SignEd25519 {
		c.Algorithm = signing.Ed25519
	}
	l.add(c, "requestSigning")
}

// endpointsSecured reports whether all endpoints of the route speak TLS.
func (l *list) endpointsSecured() bool {
	secured := l.Service.UpstreamTLS != nil
	backends := l.Service.Backends
	if l.Route != nil && len(l.Route.Backends) > 0 {
		backends = l.Route.Backends
	} else if len(l.Service.Upstreams) > 0 && !secured {
		return false
	}
	for i := range backends {
		switch optional.Value(backends[i].Protocol) {
		case v1alpha1.BackendHTTP, v1alpha1.BackendH2C:
			return false
		case "":
			if !secured {
				return false
			}
		}
	}
	return true
}
