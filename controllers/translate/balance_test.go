package translate_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/api/defaults"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/material"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// routeOf returns the one route of an input of one service, and the problems.
func routeOf(t *testing.T, s translate.Service) (*snapshot.Route, *snapshot.Snapshot, []translate.Problem) {
	t.Helper()
	out, problems := translate.Translate(input(s))
	if len(out.Listeners) != 1 || len(out.Listeners[0].Routes) != 1 {
		t.Fatalf("%+v", problems)
	}
	return out.Listeners[0].Routes[0], out, problems
}

func TestStickyKey(t *testing.T) {
	sticky := func(seed string, ref *v1alpha1.Reference, contents map[string]material.Content) translate.Service {
		s := spec("web", "0.0.0.0:80")
		s.Spec.LoadBalancing.Sticky = &v1alpha1.Sticky{KeyRef: ref}
		defaults.Service(&s.Spec, v1alpha1.FromCluster)
		s.Seed, s.Contents = snapshot.Secret(seed), contents
		return s
	}
	key := func(s translate.Service) []byte {
		t.Helper()
		r, _, problems := routeOf(t, s)
		if len(problems) > 0 || r.Invalid != "" {
			t.Fatalf("%v %v", r.Invalid, problems)
		}
		return r.Balance.Sticky.Key
	}
	a, again, b := key(sticky("seed-a", nil, nil)), key(sticky("seed-a", nil, nil)), key(sticky("seed-b", nil, nil))
	if len(a) != 32 || !bytes.Equal(a, again) || bytes.Equal(a, b) || bytes.Contains(a, []byte("seed")) {
		t.Errorf("derived keys: %x %x %x", a, again, b)
	}
	other := sticky("seed-a", nil, nil)
	other.Name = "other"
	if bytes.Equal(key(other), a) {
		t.Error("two services have the same key")
	}
	if k := key(sticky("", nil, nil)); k != nil {
		t.Errorf("without a seed: %x", k)
	}
	ref := &v1alpha1.Reference{Name: new("keys"), Key: new("cookie")}
	at := func(c material.Content) map[string]material.Content {
		return map[string]material.Content{"loadBalancing.sticky.keyRef": c}
	}
	if k := key(sticky("seed-a", ref, at(material.Content{Data: []byte("0123456789abcdef\n")}))); string(k) != "0123456789abcdef" {
		t.Errorf("%q", k)
	}
	for name, contents := range map[string]map[string]material.Content{
		"nothing": nil, "a problem": at(material.Content{Problem: "Secret `keys` does not exist"}), "too short": at(material.Content{Data: []byte("0123456789abcde\n")}),
	} {
		r, _, problems := routeOf(t, sticky("seed-a", ref, contents))
		if r.Invalid == "" || len(problems) != 1 || problems[0].Field != "loadBalancing.sticky.keyRef" {
			t.Errorf("%s: %q, %+v", name, r.Invalid, problems)
		}
	}
}

// Endpoints that cannot be verified as configured are not reached at all.
func TestUpstreamTLSFailsClosed(t *testing.T) {
	secure := func(change func(*translate.Service)) translate.Service {
		s := spec("web", "0.0.0.0:80")
		s.Spec.UpstreamTLS = &v1alpha1.UpstreamTLS{}
		change(&s)
		defaults.Service(&s.Spec, v1alpha1.FromCluster)
		return s
	}
	ref := &v1alpha1.Reference{Name: new("ca"), Key: new("ca.crt")}
	for name, c := range map[string]struct {
		change func(*translate.Service)
		field  string // of the problem; empty: there is none
	}{
		"the system's": {func(*translate.Service) {}, ""},
		"no CA":        {func(s *translate.Service) { s.Spec.UpstreamTLS.CARef = ref }, "upstreamTLS.caRef"},
		"a bad CA": {func(s *translate.Service) {
			s.Spec.UpstreamTLS.CARef = ref
			s.Contents = map[string]material.Content{"upstreamTLS.caRef": {Data: []byte("nonsense")}}
		}, "upstreamTLS.caRef"},
		"no certificate": {func(s *translate.Service) {
			s.Spec.UpstreamTLS.Certificate = &v1alpha1.CertificateSource{SecretRef: &v1alpha1.SecretReference{Name: "x"}}
		}, "upstreamTLS.certificate"},
	} {
		_, out, problems := routeOf(t, secure(c.change))
		tls := out.Clusters[0].TLS
		if tls == nil || (tls.Invalid != "") != (c.field != "") || tls.Insecure {
			t.Errorf("%s: %+v", name, tls)
		}
		if c.field == "" && len(problems) > 0 ||
			c.field != "" && (len(problems) != 1 || problems[0].Field != c.field || problems[0].Reason != v1alpha1.ReasonInvalidCertificateRef) {
			t.Errorf("%s: %+v", name, problems)
		}
		if !strings.HasSuffix(out.Clusters[0].ID, "|HTTPS") {
			t.Errorf("%s: %s", name, out.Clusters[0].ID)
		}
	}
}
