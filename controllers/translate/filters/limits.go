package filters

import (
	"fmt"
	"time"

	"github.com/pingora-proxy/pingora-proxy/api/optional"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/ratelimit"
)

// limits adds the rate limits of the service, which all of its routes share, and those of the route: the ones that know the
// client by its token, or all others.
func (l *list) limits(byToken bool) {
	l.limitsOf(l.Service.RateLimits, l.service(), "rateLimits", byToken)
	if l.Route != nil {
		l.limitsOf(l.Route.RateLimits, l.Snapshot.ID(), l.Field+".rateLimits", byToken)
	}
}

func (l *list) limitsOf(limits []v1alpha1.RateLimit, owner, field string, byToken bool) {
	for i := range limits {
		r := &limits[i]
		by := limitedBy(optional.Value(r.Key))
		if (by == ratelimit.JWTClaim) != byToken {
			continue
		}
		l.add(ratelimit.Config{
			Owner: owner, Namespace: l.Snapshot.Service.Namespace, Service: l.Snapshot.Service.Name,
			Name: r.Name, By: by, Field: optional.Value(r.KeyName),
			Requests: int(optional.Value(r.Requests)), Burst: int(optional.Value(r.Burst)), Period: time.Duration(optional.Value(r.PeriodSecs)) * time.Second,
			Shared: optional.Value(r.Scope) == v1alpha1.ScopeShared, Observe: optional.Value(r.Mode) == v1alpha1.LimitObserve,
		}, fmt.Sprintf("%s[%d]", field, i))
	}
}

func limitedBy(key v1alpha1.RateLimitKey) ratelimit.By {
	switch key {
	case v1alpha1.LimitClientIP:
		return ratelimit.ClientIP
	case v1alpha1.LimitHeader:
		return ratelimit.Header
	case v1alpha1.LimitCookie:
		return ratelimit.Cookie
	case v1alpha1.LimitJWTClaim:
		return ratelimit.JWTClaim
	}
	return ratelimit.Service
}
