package translate_test

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/api/defaults"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone/certificates"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/material"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/realm"
)

// securedSpec is an object that terminates TLS with Secrets of these names; one of another namespace has it in front.
func securedSpec(name, address string, secrets ...string) translate.Service {
	s := spec(name, address)
	yes := true
	s.Spec.TLS, s.Spec.TLSConfig = &yes, &v1alpha1.TLSConfig{}
	for _, secret := range secrets {
		ref := &v1alpha1.SecretReference{Name: secret}
		if namespace, inner, found := strings.Cut(secret, "/"); found {
			ref.Namespace, ref.Name = &namespace, inner
		}
		s.Spec.TLSConfig.Certificates = append(s.Spec.TLSConfig.Certificates, v1alpha1.CertificateSource{SecretRef: ref})
	}
	defaults.Service(&s.Spec, v1alpha1.FromCluster)
	return s
}

// TestCertificateProblems: a certificate that cannot be used is reported where it is named, and leaves the service and the
// others as they are.
func TestCertificateProblems(t *testing.T) {
	var none *certificates.SelfSigned
	good, other := none.Of("a", []string{"a.example"}), none.Of("b", []string{"b.example"})
	service := securedSpec("shop", "0.0.0.0:8443", "good", "bad", "gone", "mixed", "unseen", "else/granted", "else/secret")
	service.Namespace, service.Spec.Hosts = "team", []string{"a.example"}
	service.Certificates = []material.Certificate{
		good,
		{Name: "team/bad", Chain: []byte("no PEM"), Key: good.Key},
		{Name: "team/gone", Problem: "Secret `team/gone` does not exist"},
		{Name: "team/mixed", Chain: good.Chain, Key: other.Key},
		{},
		other,
		other,
	}
	world := &realm.World{Grants: []realm.Grant{{From: "team", Kind: "Secret", To: "else", Name: "granted"}}}
	in := input(service, securedSpec("empty", "0.0.0.0:8443"))
	in.World = world
	s, problems := translate.Translate(in)
	want := []struct {
		field  string
		reason string
		words  string
	}{
		{"tlsConfig.certificates[1]", v1alpha1.ReasonInvalidCertificateRef, "team/bad: tls: failed to find any PEM data"},
		{"tlsConfig.certificates[2]", v1alpha1.ReasonInvalidCertificateRef, "Secret `team/gone` does not exist"},
		{"tlsConfig.certificates[3]", v1alpha1.ReasonInvalidCertificateRef, "team/mixed: tls: private key does not match public key"},
		{"tlsConfig.certificates[4]", v1alpha1.ReasonInvalidCertificateRef, "was not found"},
		{"tlsConfig.certificates[6]", v1alpha1.ReasonRefNotPermitted, "`else/secret` belongs to another namespace"},
		{"tlsConfig", v1alpha1.ReasonInvalidCertificateRef, "set `tlsConfig.certificates`"},
	}
	if len(problems) != len(want) {
		t.Fatalf("the problems are %+v", problems)
	}
	for i, w := range want {
		if p := problems[i]; p.Field != w.field || p.Reason != w.reason || !strings.Contains(p.Message, w.words) {
			t.Errorf("problem %d is %+v, want %+v", i, p, w)
		}
	}
	if len(s.Listeners) != 1 || !s.Listeners[0].TLS || len(s.Listeners[0].Services) != 2 || len(s.Listeners[0].Routes) != 2 {
		t.Fatalf("the listeners are %+v", s.Listeners)
	}
	shop := s.Listeners[0].Services[0].TLS
	if shop.MinVersion != tls.VersionTLS12 || len(shop.Certificates) != 7 {
		t.Fatalf("%+v", shop)
	}
	for i, c := range shop.Certificates {
		if usable := i == 0 || i == 5; (len(c.Chain) > 0) != usable || (len(c.Key) > 0) != usable {
			t.Errorf("certificate %d: %d bytes, and %d of the key", i, len(c.Chain), len(c.Key))
		}
	}
}

// TestTLSAndPlainShareNoAddress: the older one keeps it.
func TestTLSAndPlainShareNoAddress(t *testing.T) {
	for _, address := range []string{"0.0.0.0:8443", "127.0.0.1:0"} {
		tlsAndPlain(t, address)
	}
}

func tlsAndPlain(t *testing.T, address string) {
	t.Helper()
	s, problems := translate.Translate(input(spec("old", address), securedSpec("new", address, "a"), spec("plain", address)))
	if len(problems) != 2 { // the other is the route that both plain ones have
		t.Fatalf("the problems are %+v", problems)
	}
	p := problems[0]
	if p.Service != 1 || p.Field != "bindAddress" || p.Reason != v1alpha1.ReasonListenerConflict || p.Holder != 0 ||
		!strings.Contains(p.Message, "service `ns/old`") {
		t.Errorf("the problem is %+v", p)
	}
	if l := s.Listeners; len(l) != 1 || l[0].TLS || l[0].Services[0].TLS != nil {
		t.Errorf("the listeners are %+v", l)
	}
}

// TestHashIsNoWordOfKeys: a configuration with another certificate is the same configuration.
func TestHashIsNoWordOfKeys(t *testing.T) {
	var none *certificates.SelfSigned
	hashes := map[string]bool{}
	for range 2 {
		service := securedSpec("shop", "0.0.0.0:8443", "a")
		service.Certificates = []material.Certificate{none.Of("shop", nil)}
		s, _ := translate.Translate(input(service))
		hashes[s.Hash] = true
		if service.Certificates == nil {
			t.Error("Translate has changed its input")
		}
	}
	if len(hashes) != 1 {
		t.Errorf("the hashes are %v", hashes)
	}
}
