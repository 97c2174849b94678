package translate

import (
	"crypto/tls"
	"fmt"

	"github.com/pingora-proxy/pingora-proxy/api/optional"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/material"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// terminates says whether TLS of a service's clients ends here.
func terminates(in *Service) bool { return optional.Value(in.Spec.TLS) && !passes(in) }

// passes says whether TLS of a service's clients goes on to its endpoints.
func passes(in *Service) bool {
	return optional.Value(in.Spec.TLS) && in.Spec.TLSConfig != nil && optional.Value(in.Spec.TLSConfig.Mode) == v1alpha1.TLSPassthrough
}

// tls makes the certificates of a service that terminates TLS, and is nil for others. One that cannot be used is there
// without its content: the handshakes that would need it fail.
func (t *translation) tls(service int, in *Service) *snapshot.TLS {
	if !terminates(in) {
		return nil
	}
	out := &snapshot.TLS{MinVersion: tls.VersionTLS12}
	var named []v1alpha1.CertificateSource
	if c := in.Spec.TLSConfig; c != nil {
		named = c.Certificates
		if optional.Value(c.MinVersion) == v1alpha1.TLS13 {
			out.MinVersion = tls.VersionTLS13
		}
		out.ClientAuth = t.clientAuth(service, in)
	}
	if len(named) == 0 && len(in.Certificates) == 0 {
		t.problem(Problem{
			Service: service, Field: "tlsConfig", Reason: v1alpha1.ReasonInvalidCertificateRef,
			Message: "`tls: true` needs a certificate: set `tlsConfig.certificates`",
		})
	}
	for i := range max(len(named), len(in.Certificates)) {
		var c material.Certificate
		if i < len(in.Certificates) {
			c = in.Certificates[i]
		}
		if c.Name == "" && c.Problem == "" {
			c.Problem = "the certificate was not found"
		}
		reason := v1alpha1.ReasonInvalidCertificateRef
		if i < len(named) && !t.world.MayUse(in.Namespace, named[i].SecretRef) {
			c = material.Certificate{Name: c.Name, Problem: fmt.Sprintf(
				"Secret `%s/%s` belongs to another namespace, which has no ReferenceGrant for it", *named[i].SecretRef.Namespace, named[i].SecretRef.Name,
			)}
			reason = v1alpha1.ReasonRefNotPermitted
		}
		c.Check()
		one := snapshot.Certificate{Name: c.Name}
		if c.Problem == "" {
			one.Chain, one.Key = c.Chain, c.Key
		} else {
			t.problem(Problem{
				Service: service, Field: "tlsConfig." + index("certificates", i), Reason: reason, Message: c.Problem,
			})
		}
		out.Certificates = append(out.Certificates, one)
	}
	return out
}

// clientAuth says how the clients of a service are asked for certificates. Where they cannot be verified no handshake of the
// service succeeds.
func (t *translation) clientAuth(service int, in *Service) *snapshot.ClientAuth {
	c := in.Spec.TLSConfig.ClientAuth
	if c == nil {
		return nil
	}
	const at = "tlsConfig.clientAuth.caRef"
	out := &snapshot.ClientAuth{Required: optional.Value(c.Mode) != v1alpha1.ClientAuthOptional}
	bundle, err := in.content(at)
	if err == nil {
		err = material.CheckBundle(bundle)
	}
	if err != nil {
		out.Invalid = err.Error()
		t.problem(Problem{Service: service, Field: at, Reason: t.referenceReason(in, c.CARef), Message: err.Error()})
		return out
	}
	out.CA = bundle
	return out
}

// referenceReason says why a content that holds certificates cannot be had.
func (t *translation) referenceReason(in *Service, ref *v1alpha1.Reference) string {
	if !t.world.MayRead(in.Namespace, ref) {
		return v1alpha1.ReasonRefNotPermitted
	}
	return v1alpha1.ReasonInvalidCertificateRef
}
