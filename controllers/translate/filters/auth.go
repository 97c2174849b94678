package filters

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pingora-proxy/pingora-proxy/api/optional"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/apikey"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/basic"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/forward"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/identity"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/jwt"
)

// auth adds what finds out who asks: the route's own takes the place of the service's. What cannot be built is an error, so
// that the route answers nobody instead of everybody.
func (l *list) auth() {
	a, owner, field := l.Service.Auth, l.service(), "auth"
	if l.Route != nil && l.Route.Auth != nil {
		// The endpoints believe the fields that the service's auth fills in, whichever route a request comes by.
		asked := credentialFields(l.Route.Auth)
		fields := slices.DeleteFunc(identityFields(a), func(name string) bool {
			return slices.ContainsFunc(asked, func(other string) bool { return strings.EqualFold(name, other) })
		})
		if len(fields) > 0 {
			l.add(identity.Config{Owner: owner, Fields: fields}, field)
		}
		a, owner, field = l.Route.Auth, l.Snapshot.ID(), l.Field+".auth"
	}
	switch {
	case a == nil || optional.Value(a.Mode) == v1alpha1.AuthNone:
	case len(a.JWT) > 0:
		l.jwt(a.JWT, owner, field+".jwt")
	case a.Basic != nil:
		at := field + ".basic"
		users, err := l.Content(at + ".usersRef")
		if err != nil {
			l.fail(at+".usersRef", err)
			return
		}
		l.add(basic.Config{Owner: owner, Users: users, Realm: optional.Value(a.Basic.Realm), Header: optional.Value(a.Basic.UserHeader)}, at)
	case a.APIKey != nil:
		at := field + ".apiKey"
		keys, err := l.Content(at + ".keysRef")
		if err != nil {
			l.fail(at+".keysRef", err)
			return
		}
		l.add(apikey.Config{
			Owner: owner, Keys: keys, Header: optional.Value(a.APIKey.Header), Forward: optional.Value(a.APIKey.ForwardKey), UserHeader: optional.Value(a.APIKey.UserHeader),
		}, at)
	case a.Forward != nil:
		l.forward(a.Forward, owner, field+".forward")
	default:
		l.fail(field, errors.New("exactly one of `jwt`, `basic`, `apiKey` or `forward` must be set, or `mode: None`"))
	}
}

func (l *list) jwt(providers []v1alpha1.JWTProvider, owner, field string) {
	c := jwt.Config{Owner: owner}
	for i := range providers {
		from, at := &providers[i], fmt.Sprintf("%s[%d]", field, i)
		p := jwt.Provider{
			Name: from.Name, Issuer: from.Issuer, Audiences: from.Audiences, Cookie: optional.Value(from.FromCookie),
			Forward: optional.Value(from.ForwardToken), Leeway: time.Duration(optional.Value(from.LeewaySecs)) * time.Second,
		}
		for _, name := range from.Algorithms {
			p.Algorithms = append(p.Algorithms, string(name))
		}
		for _, claim := range slices.Sorted(maps.Keys(from.RequiredClaims)) {
			p.Required = append(p.Required, jwt.Requirement{Claim: claim, Value: from.RequiredClaims[claim]})
		}
		for _, claim := range slices.Sorted(maps.Keys(from.ClaimsToHeaders)) {
			p.Headers = append(p.Headers, jwt.ClaimHeader{Claim: claim, Header: from.ClaimsToHeaders[claim]})
		}
		var err error
		switch {
		case from.JWKSURL != nil:
			if p.URL, err = l.URL(*from.JWKSURL); err != nil {
				l.fail(at+".jwksURL", err)
				return
			}
		case from.JWKS != nil:
			p.Keys = []byte(*from.JWKS)
		default:
			if p.Keys, err = l.Content(at + ".jwksRef"); err != nil {
				l.fail(at+".jwksRef", err)
				return
			}
		}
		c.Providers = append(c.Providers, p)
	}
	l.add(c, field)
}

func (l *list) forward(f *v1alpha1.ForwardAuth, owner, field string) {
	if f.Backend == nil {
		l.fail(field, errors.New("there is no backend"))
		return
	}
	cluster, err := l.Cluster(field+".backend", f.Backend)
	if err != nil {
		l.fail(field+".backend", err)
		return
	}
	host := f.Backend.Address
	if s := f.Backend.Service; s != nil {
		namespace := optional.Value(s.Namespace)
		if namespace == "" {
			namespace = l.Snapshot.Service.Namespace
		}
		host = s.Name + "." + namespace
	}
	l.add(forward.Config{
		Owner: owner, Cluster: cluster, Host: host, Path: optional.Value(f.Path), Timeout: time.Duration(optional.Value(f.TimeoutMs)) * time.Millisecond,
		Request: f.RequestHeaders, Response: f.ResponseHeaders,
	}, field)
}

// credentialFields are the fields in which clients show who they are to a: it judges what they write there, although another
// auth may write it too, such as a service that answers with an Authorization for the endpoint.
func credentialFields(a *v1alpha1.Auth) []string {
	switch {
	case optional.Value(a.Mode) == v1alpha1.AuthNone:
		return nil
	case a.APIKey != nil:
		return []string{optional.Value(a.APIKey.Header)}
	case a.Forward != nil:
		return append([]string{"Authorization", "Cookie"}, a.Forward.RequestHeaders...)
	case len(a.JWT) > 0:
		return []string{"Authorization", "Cookie"}
	}
	return []string{"Authorization"}
}

// identityFields are the fields in which an endpoint is told who asks.
func identityFields(a *v1alpha1.Auth) []string {
	if a == nil {
		return nil
	}
	var out []string
	for i := range a.JWT {
		out = slices.AppendSeq(out, maps.Values(a.JWT[i].ClaimsToHeaders))
	}
	if a.Basic != nil && a.Basic.UserHeader != nil {
		out = append(out, *a.Basic.UserHeader)
	}
	if a.APIKey != nil && a.APIKey.UserHeader != nil {
		out = append(out, *a.APIKey.UserHeader)
	}
	if a.Forward != nil {
		out = append(out, a.Forward.ResponseHeaders...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
