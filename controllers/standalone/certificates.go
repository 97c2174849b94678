package standalone

import (
	"fmt"
	"slices"

	"github.com/pingora-proxy/pingora-proxy/api/optional"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/material"
)

// certificates finds the certificates of a service.
func (l *loader) certificates(s *translate.Service) []material.Certificate {
	if s.Spec.TLS == nil || !*s.Spec.TLS {
		return nil
	}
	var named []v1alpha1.CertificateSource
	if c := s.Spec.TLSConfig; c != nil {
		if *c.Mode == v1alpha1.TLSPassthrough {
			return nil
		}
		named = c.Certificates
	}
	if len(named) == 0 {
		l.selfSigned = true
		return []material.Certificate{l.options.selfSigned.Of(s.Owner(), s.Spec.Hosts)}
	}
	out := make([]material.Certificate, len(named))
	for i := range named {
		out[i] = l.certificate(&named[i])
	}
	return out
}

func (l *loader) certificate(source *v1alpha1.CertificateSource) material.Certificate {
	if ref := source.SecretRef; ref != nil {
		return material.Certificate{Name: ref.Name, Problem: fmt.Sprintf(
			"Secret `%s` cannot be read: Secrets exist in a cluster alone", ref.Name,
		)}
	}
	return l.files.Pair(*source.CertFile, *source.KeyFile)
}

// complete finds everything that a service names and that is kept elsewhere.
func (l *loader) complete(s *translate.Service) {
	s.Certificates = l.certificates(s)
	if u := s.Spec.UpstreamTLS; u != nil && u.Certificate != nil {
		s.UpstreamCertificate = l.certificate(u.Certificate)
	}
	s.Contents = l.contents(&s.Spec)
	if sticky(&s.Spec) {
		s.Seed = l.options.selfSigned.Seed()
	}
}

// sticky says whether a service signs cookies with a key that is made of the installation's seed.
func sticky(spec *v1alpha1.ProxyServiceSpec) bool {
	keyless := func(b *v1alpha1.LoadBalancing) bool { return b != nil && b.Sticky != nil && b.Sticky.KeyRef == nil }
	return keyless(spec.LoadBalancing) || slices.ContainsFunc(spec.Routes, func(r v1alpha1.Route) bool { return keyless(r.LoadBalancing) })
}

// refers says whether there is anything for complete to find.
func refers(spec *v1alpha1.ProxyServiceSpec) bool {
	if optional.Value(spec.TLS) || spec.UpstreamTLS != nil || sticky(spec) {
		return true
	}
	found := false
	v1alpha1.References(spec, func(string, *v1alpha1.Reference) { found = true })
	return found
}

// contents reads the files of every reference below v, by the paths of their fields.
func (l *loader) contents(v any) map[string]material.Content {
	out := map[string]material.Content{}
	v1alpha1.References(v, func(path string, r *v1alpha1.Reference) {
		if r.File == nil {
			out[path] = material.Content{Name: optional.Value(r.Name), Problem: fmt.Sprintf(
				"%s `%s` cannot be read: it exists in a cluster alone", optional.Value(r.Kind), optional.Value(r.Name),
			)}
			return
		}
		out[path] = l.files.Content(*r.File)
	})
	return out
}
