package filters

import (
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/access"
)

// access adds the networks of the service and those of the route: a client must pass both.
func (l *list) access() {
	add := func(a *v1alpha1.Access, owner, field string) {
		if a != nil {
			l.add(access.Config{Owner: owner, Allow: a.Allow, Deny: a.Deny}, field)
		}
	}
	add(l.Service.Access, l.service(), "access")
	if l.Route != nil {
		add(l.Route.Access, l.Snapshot.ID(), l.Field+".access")
	}
}

// service names the owner of what all routes of a service share: one instance for all of them.
func (l *list) service() string {
	s := l.Snapshot.Service
	return s.Namespace + "/" + s.Name
}
