package validation

import (
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pingora-proxy/pingora-proxy/api/syntax"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
)

func checkTLS(s *v1alpha1.ProxyServiceSpec, path *field.Path, from v1alpha1.Origin) field.ErrorList {
	c := s.TLSConfig
	if c == nil {
		return nil
	}
	at := child(path, "tlsConfig")
	if !deref(s.TLS) {
		return field.ErrorList{invalid(at, "", "`tls` must be true when `tlsConfig` is set")}
	}
	var errs field.ErrorList
	if deref(c.Mode) == v1alpha1.TLSPassthrough {
		if deref(s.Protocol) != v1alpha1.ProtocolTCP || len(s.Hosts) == 0 {
			errs = append(errs, invalid(at.Child("mode"), *c.Mode, "TLS passthrough needs `protocol: TCP` and `hosts`"))
		}
		if len(c.Certificates) > 0 || c.ClientAuth != nil || c.RedirectHTTPFrom != nil {
			errs = append(errs, invalid(at, "", "TLS that is passed through has no `certificates`, `clientAuth` or `redirectHTTPFrom`"))
		}
	}
	if c.RedirectHTTPFrom != nil {
		errs = append(errs, checkRedirectFrom(at.Child("redirectHTTPFrom"), s, *c.RedirectHTTPFrom, from)...)
	}
	for i := range c.Certificates {
		errs = append(errs, checkCertificate(&c.Certificates[i], at.Child("certificates").Index(i), from)...)
	}
	return errs
}

func checkCertificate(c *v1alpha1.CertificateSource, path *field.Path, from v1alpha1.Origin) field.ErrorList {
	files := c.CertFile != nil || c.KeyFile != nil
	switch {
	case from == v1alpha1.FromCluster && files:
		return field.ErrorList{invalid(path, "", "file paths are only allowed in the standalone file; set `secretRef`")}
	case from == v1alpha1.FromCluster && c.SecretRef == nil:
		return field.ErrorList{field.Required(path, "set `secretRef`")}
	case from == v1alpha1.FromCluster:
		if n := c.SecretRef.Name; n != "" && !syntax.ValidDNSName(n) {
			return field.ErrorList{invalid(path.Child("secretRef").Child("name"), n, "must be the name of a Secret")}
		}
		return nil
	case c.SecretRef != nil:
		return field.ErrorList{field.Forbidden(path.Child("secretRef"), "is only allowed in a custom resource; set `certFile` and `keyFile`")}
	}
	var errs field.ErrorList
	if deref(c.CertFile) == "" {
		errs = append(errs, field.Required(path.Child("certFile"), "must be set"))
	}
	if deref(c.KeyFile) == "" {
		errs = append(errs, field.Required(path.Child("keyFile"), "must be set"))
	}
	return errs
}

func checkRedirectFrom(path *field.Path, s *v1alpha1.ProxyServiceSpec, address string, from v1alpha1.Origin) field.ErrorList {
	a, err := syntax.ParseBindAddress(address)
	switch {
	case err != nil:
		return field.ErrorList{invalid(path, address, err.Error())}
	case a.Port() == 0 && from == v1alpha1.FromCluster:
		return field.ErrorList{invalid(path, address, "port must be between 1 and 65535")}
	case deref(s.Protocol) == v1alpha1.ProtocolTCP:
		return field.ErrorList{invalid(path, address, "may only be set when `protocol` is 'HTTP'")}
	}
	if own, err := syntax.ParseBindAddress(s.BindAddress); err == nil && syntax.Overlap(a, own) {
		return field.ErrorList{invalid(path, address, "is the service's own address, which speaks TLS; choose another port")}
	}
	return nil
}

// checkUpstreamTLS compares `upstreamTLS` with what the backends say.
func checkUpstreamTLS(path *field.Path, s *v1alpha1.ProxyServiceSpec, from v1alpha1.Origin) field.ErrorList {
	var errs field.ErrorList
	u := s.UpstreamTLS
	if u == nil {
		return nil
	}
	at := child(path, "upstreamTLS")
	if n := u.ServerName; n != nil {
		if detail := syntax.CheckHost(*n); detail != "" || strings.HasPrefix(*n, "*") {
			errs = append(errs, invalid(at.Child("serverName"), *n, "must be a host name or an IP address"))
		}
	}
	if u.Certificate != nil {
		errs = append(errs, checkCertificate(u.Certificate, at.Child("certificate"), from)...)
	}
	return errs
}

// checkReference says what is wrong with where a content is kept.
func checkReference(path *field.Path, r *v1alpha1.Reference, from v1alpha1.Origin) field.ErrorList {
	switch {
	case from == v1alpha1.FromFile && (r.Name != nil || r.Key != nil || r.Namespace != nil):
		return field.ErrorList{invalid(path, "", "Secrets and ConfigMaps are only known in a cluster; set `file`")}
	case from == v1alpha1.FromFile && deref(r.File) == "":
		return field.ErrorList{field.Required(path.Child("file"), "must be set")}
	case from == v1alpha1.FromFile:
		return nil
	case r.File != nil:
		return field.ErrorList{invalid(path, "", "file paths are only allowed in the standalone file; set `name` and `key`")}
	case deref(r.Name) == "" || deref(r.Key) == "":
		return field.ErrorList{field.Required(path, "set `name` and `key`")}
	}
	var errs field.ErrorList
	if !syntax.ValidDNSName(*r.Name) {
		errs = append(errs, invalid(path.Child("name"), *r.Name, "must be the name of a Secret or ConfigMap"))
	}
	if n := r.Namespace; n != nil && *n != "" && !syntax.ValidDNSName(*n) {
		errs = append(errs, invalid(path.Child("namespace"), *n, "must be the name of a namespace"))
	}
	return errs
}
