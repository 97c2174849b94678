package translate

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// A Certificate is what a source found where a service names one.
type Certificate struct {
	Name    string // the file or the Secret, for messages
	Chain   []byte // PEM, the service's own certificate first
	Key     []byte // PEM
	Problem string // why it cannot be used; empty: nothing was found to be wrong

	checked bool // NewCertificate has looked at it
}

// NewCertificate returns a certificate, with a Problem where it is not one with its key. A source that keeps what it
// returns spares every translation the look at it.
func NewCertificate(name string, chain, key []byte) Certificate {
	c := Certificate{Name: name, Chain: chain, Key: key}
	c.check()
	return c
}

func (c *Certificate) check() {
	if c.Problem == "" && !c.checked {
		if _, err := tls.X509KeyPair(c.Chain, c.Key); err != nil {
			c.Problem = fmt.Sprintf("%s: %v", c.Name, err)
		}
	}
	c.checked = true
}

// terminates says whether TLS of a service's clients ends here.
func terminates(in *Service) bool { return deref(in.Spec.TLS) && !passes(in) }

// passes says whether TLS of a service's clients goes on to its endpoints.
func passes(in *Service) bool {
	return deref(in.Spec.TLS) && in.Spec.TLSConfig != nil && deref(in.Spec.TLSConfig.Mode) == v1alpha1.TLSPassthrough
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
		if deref(c.MinVersion) == v1alpha1.TLS13 {
			out.MinVersion = tls.VersionTLS13
		}
		out.ClientAuth = t.clientAuth(service, in)
	}
	if len(named) == 0 && len(in.Certificates) == 0 {
		t.problem(Problem{
			Service: service, Field: "tlsConfig", Reason: ReasonInvalidCertificateRef,
			Message: "`tls: true` needs a certificate: set `tlsConfig.certificates`",
		})
	}
	for i := range max(len(named), len(in.Certificates)) {
		var c Certificate
		if i < len(in.Certificates) {
			c = in.Certificates[i]
		}
		if c.Name == "" && c.Problem == "" {
			c.Problem = "the certificate was not found"
		}
		reason := ReasonInvalidCertificateRef
		if i < len(named) && !t.mayUse(in, named[i].SecretRef) {
			c = Certificate{Name: c.Name, Problem: fmt.Sprintf(
				"Secret `%s/%s` belongs to another namespace, which has no ReferenceGrant for it", *named[i].SecretRef.Namespace, named[i].SecretRef.Name,
			)}
			reason = ReasonRefNotPermitted
		}
		c.check()
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
	out := &snapshot.ClientAuth{Required: deref(c.Mode) != v1alpha1.ClientAuthOptional}
	bundle, err := in.content(at)
	if err == nil {
		err = checkBundle(bundle)
	}
	reason := ReasonInvalidCertificateRef
	if ref := c.CARef; err != nil && ref != nil && t.world != nil && deref(ref.Namespace) != "" &&
		!t.world.Granted(in.Namespace, string(deref(ref.Kind)), *ref.Namespace, deref(ref.Name)) {
		reason = ReasonRefNotPermitted
	}
	if err != nil {
		out.Invalid = err.Error()
		t.problem(Problem{Service: service, Field: at, Reason: reason, Message: err.Error()})
		return out
	}
	out.CA = bundle
	return out
}

// checkBundle says what is wrong with certificates that others are verified with.
func checkBundle(bundle []byte) error {
	n := 0
	for rest := bundle; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return fmt.Errorf("a certificate of the bundle cannot be used: %w", err)
		}
		n++
	}
	if n == 0 {
		return errors.New("the bundle holds no certificate in PEM")
	}
	return nil
}

// mayUse says whether a service may have a Secret. In a file there are none.
func (t *translation) mayUse(in *Service, ref *v1alpha1.SecretReference) bool {
	return ref == nil || deref(ref.Namespace) == "" || t.world == nil || t.world.Granted(in.Namespace, "Secret", *ref.Namespace, ref.Name)
}
