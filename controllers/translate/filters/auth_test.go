package filters

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/api/defaults"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/apikey"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/basic"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/forward"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/identity"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter/jwt"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

const (
	users   = "bob:$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n"
	jwkSet  = `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"a"}]}`
	jwksURL = "https://id.example.com/keys"
)

// source is a service with a route of its own; what references name is found by the end of their fields.
func source(service, route *v1alpha1.Auth) Source {
	s := Source{
		Snapshot: &snapshot.Route{Service: &snapshot.Service{Namespace: "shop", Name: "web"}, Name: "r"},
		Service:  &v1alpha1.ProxyServiceSpec{Auth: service},
		Route:    &v1alpha1.Route{Auth: route}, Field: "routes[2]",
		Content: func(field string) ([]byte, error) {
			switch {
			case strings.HasSuffix(field, "auth.basic.usersRef"):
				return []byte(users), nil
			case strings.HasSuffix(field, "auth.apiKey.keysRef"):
				return fmt.Appendf(nil, "acme:sha256:%x\n", sha256.Sum256([]byte("k"))), nil
			case strings.HasSuffix(field, "auth.jwt[1].jwksRef"):
				return []byte(jwkSet), nil
			}
			return nil, errors.New("nothing was found there")
		},
		Cluster: func(field string, _ *v1alpha1.Backend) (string, error) { return "cluster of " + field, nil },
		URL:     func(text string) (string, error) { return text + "?asked", nil },
	}
	defaults.Auth(service)
	defaults.Auth(route)
	return s
}

func ptr[T any](v T) *T { return &v }

// writing is an auth that tells the endpoint something in these fields.
func writing(fields ...string) *v1alpha1.Auth {
	return &v1alpha1.Auth{Forward: &v1alpha1.ForwardAuth{Backend: &v1alpha1.Backend{Address: "auth:80"}, ResponseHeaders: fields}}
}

func basicAuth() *v1alpha1.Auth {
	return &v1alpha1.Auth{Basic: &v1alpha1.BasicAuth{UsersRef: &v1alpha1.Reference{}, UserHeader: ptr("X-User")}}
}

func tokenAuth() *v1alpha1.Auth {
	return &v1alpha1.Auth{JWT: []v1alpha1.JWTProvider{
		{
			Name: "corp", Issuer: "https://id", JWKSURL: ptr(jwksURL), Audiences: []string{"shop"}, Algorithms: []v1alpha1.JWTAlgorithm{"ES256"},
			RequiredClaims: map[string]string{"scope": "a", "b": "c"}, ClaimsToHeaders: map[string]string{"sub": "X-User", "email": "X-Mail"},
			FromCookie: ptr("session"), ForwardToken: ptr(false), LeewaySecs: ptr(int32(5)),
		},
		{Name: "file", Issuer: "https://file", JWKSRef: &v1alpha1.Reference{}},
		{Name: "inline", Issuer: "https://inline", JWKS: ptr(jwkSet)},
	}}
}

func tokenConfig(owner string) jwt.Config {
	return jwt.Config{Owner: owner, Providers: []jwt.Provider{
		{
			Name: "corp", Issuer: "https://id", URL: jwksURL + "?asked", Audiences: []string{"shop"}, Algorithms: []string{"ES256"},
			Required: []jwt.Requirement{{Claim: "b", Value: "c"}, {Claim: "scope", Value: "a"}},
			Headers:  []jwt.ClaimHeader{{Claim: "email", Header: "X-Mail"}, {Claim: "sub", Header: "X-User"}},
			Cookie:   "session", Leeway: 5 * time.Second,
		},
		{Name: "file", Issuer: "https://file", Keys: []byte(jwkSet), Forward: true, Leeway: 30 * time.Second},
		{Name: "inline", Issuer: "https://inline", Keys: []byte(jwkSet), Forward: true, Leeway: 30 * time.Second},
	}}
}

func TestAuth(t *testing.T) {
	none := &v1alpha1.Auth{Mode: ptr(v1alpha1.AuthNone)}
	forwardAuth := &v1alpha1.Auth{Forward: &v1alpha1.ForwardAuth{
		Backend: &v1alpha1.Backend{Address: "oauth2-proxy:4180"}, Path: ptr("/auth"), TimeoutMs: ptr(int32(100)), RequestHeaders: []string{"X-A"}, ResponseHeaders: []string{"X-B"},
	}}
	inCluster := &v1alpha1.Auth{Forward: &v1alpha1.ForwardAuth{Backend: &v1alpha1.Backend{Service: &v1alpha1.BackendService{Name: "oauth2-proxy"}}}}
	keys := &v1alpha1.Auth{APIKey: &v1alpha1.APIKeyAuth{KeysRef: &v1alpha1.Reference{}, UserHeader: ptr("X-Client")}}
	keyConfig := apikey.Config{
		Owner: "shop/web/r", Keys: fmt.Appendf(nil, "acme:sha256:%x\n", sha256.Sum256([]byte("k"))), Header: "X-API-Key", UserHeader: "X-Client",
	}
	for name, test := range map[string]struct {
		service, route *v1alpha1.Auth
		want           []filter.Config
	}{
		"nothing":  {nil, nil, nil},
		"service":  {basicAuth(), nil, []filter.Config{basic.Config{Owner: "shop/web", Users: []byte(users), Realm: "restricted", Header: "X-User"}}},
		"route":    {nil, basicAuth(), []filter.Config{basic.Config{Owner: "shop/web/r", Users: []byte(users), Realm: "restricted", Header: "X-User"}}},
		"tokens":   {tokenAuth(), nil, []filter.Config{tokenConfig("shop/web")}},
		"replaced": {tokenAuth(), keys, []filter.Config{identity.Config{Owner: "shop/web", Fields: []string{"X-Mail", "X-User"}}, keyConfig}},
		"opted out": {
			basicAuth(), none, []filter.Config{identity.Config{Owner: "shop/web", Fields: []string{"X-User"}}},
		},
		"credentials that the service's auth writes": {writing("authorization", "X-B"), basicAuth(), []filter.Config{
			identity.Config{Owner: "shop/web", Fields: []string{"X-B"}},
			basic.Config{Owner: "shop/web/r", Users: []byte(users), Realm: "restricted", Header: "X-User"},
		}},
		"they are nobody's where nobody judges them": {writing("Authorization"), none, []filter.Config{
			identity.Config{Owner: "shop/web", Fields: []string{"Authorization"}},
		}},
		"nothing to opt out of": {nil, none, nil},
		"nobody for the whole":  {none, basicAuth(), []filter.Config{basic.Config{Owner: "shop/web/r", Users: []byte(users), Realm: "restricted", Header: "X-User"}}},
		"another service": {forwardAuth, nil, []filter.Config{forward.Config{
			Owner: "shop/web", Cluster: "cluster of auth.forward.backend", Host: "oauth2-proxy:4180", Path: "/auth", Timeout: 100 * time.Millisecond,
			Request: []string{"X-A"}, Response: []string{"X-B"},
		}}},
		"another service of Kubernetes": {nil, inCluster, []filter.Config{forward.Config{
			Owner: "shop/web/r", Cluster: "cluster of routes[2].auth.forward.backend", Host: "oauth2-proxy.shop", Path: "/", Timeout: 5 * time.Second,
		}}},
	} {
		l := &list{Source: source(test.service, test.route)}
		l.auth()
		if diff := cmp.Diff(test.want, l.out); diff != "" || l.err != nil {
			t.Errorf("%s: %v %s", name, l.err, diff)
		}
	}
}

// Whatever is missing or wrong, the route has an error, so that it answers 503 to everybody.
func TestAuthFailsClosed(t *testing.T) {
	gone := errors.New("the Secret is gone")
	for name, test := range map[string]struct {
		auth   *v1alpha1.Auth
		change func(*Source)
		want   string
	}{
		"no users": {basicAuth(), func(s *Source) { s.Content = func(string) ([]byte, error) { return nil, gone } }, "routes[2].auth.basic.usersRef: the Secret is gone"},
		"bad users": {
			basicAuth(), func(s *Source) { s.Content = func(string) ([]byte, error) { return []byte("bob:canary"), nil } }, "routes[2].auth.basic: users: line 1: the hash",
		},
		"no keys": {
			&v1alpha1.Auth{APIKey: &v1alpha1.APIKeyAuth{}}, func(s *Source) { s.Content = func(string) ([]byte, error) { return nil, gone } },
			"routes[2].auth.apiKey.keysRef: the Secret is gone",
		},
		"empty keys": {
			&v1alpha1.Auth{APIKey: &v1alpha1.APIKeyAuth{}}, func(s *Source) { s.Content = func(string) ([]byte, error) { return nil, nil } }, "routes[2].auth.apiKey: keys: there is no key",
		},
		"no set":       {tokenAuth(), func(s *Source) { s.Content = func(string) ([]byte, error) { return nil, gone } }, "routes[2].auth.jwt[1].jwksRef: the Secret is gone"},
		"refused URL":  {tokenAuth(), func(s *Source) { s.URL = func(string) (string, error) { return "", gone } }, "routes[2].auth.jwt[0].jwksURL: the Secret is gone"},
		"no cluster":   {&v1alpha1.Auth{Forward: &v1alpha1.ForwardAuth{Backend: &v1alpha1.Backend{}}}, func(s *Source) { s.Cluster = func(string, *v1alpha1.Backend) (string, error) { return "", gone } }, "routes[2].auth.forward.backend: the Secret"},
		"no backend":   {&v1alpha1.Auth{Forward: &v1alpha1.ForwardAuth{}}, nil, "routes[2].auth.forward: there is no backend"},
		"nothing set":  {&v1alpha1.Auth{}, nil, "routes[2].auth: exactly one of"},
		"bad JWK Set":  {&v1alpha1.Auth{JWT: []v1alpha1.JWTProvider{{Name: "a", Issuer: "b", JWKS: ptr("canary")}}}, nil, "routes[2].auth.jwt: provider \"a\": keys: this is no set"},
		"a bad header": {&v1alpha1.Auth{Basic: &v1alpha1.BasicAuth{UserHeader: ptr("Host")}}, nil, "routes[2].auth.basic: header \"Host\""},
	} {
		s := source(nil, test.auth)
		if test.change != nil {
			test.change(&s)
		}
		out, _, err := List(s)
		if err == nil || !strings.Contains(err.Error(), test.want) || out != nil {
			t.Errorf("%s: %v; want %q", name, err, test.want)
		} else if strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: a secret is told: %v", name, err)
		}
	}
}
