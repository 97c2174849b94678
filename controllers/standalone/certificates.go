package standalone

import (
	"fmt"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
)

// certificates finds the certificates of a service.
func (l *loader) certificates(s *translate.Service) []translate.Certificate {
	if s.Spec.TLS == nil || !*s.Spec.TLS {
		return nil
	}
	var named []v1alpha1.CertificateSource
	if c := s.Spec.TLSConfig; c != nil {
		named = c.Certificates
	}
	if len(named) == 0 {
		l.selfSigned = true
		return []translate.Certificate{l.options.selfSigned.Of(s.Owner(), s.Spec.Hosts)}
	}
	out := make([]translate.Certificate, len(named))
	for i, source := range named {
		if ref := source.SecretRef; ref != nil {
			out[i] = translate.Certificate{Name: ref.Name, Problem: fmt.Sprintf(
				"Secret `%s` cannot be read: Secrets exist in a cluster alone", ref.Name,
			)}
		} else {
			out[i] = l.files.Pair(*source.CertFile, *source.KeyFile)
		}
	}
	return out
}
