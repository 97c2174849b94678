package v1alpha1

import (
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pingora-proxy/pingora-proxy/api/syntax"
)

func (s *ProxyServiceSpec) checkTLS(path *field.Path, from Origin) field.ErrorList {
	c := s.TLSConfig
	if c == nil {
		return nil
	}
	at := child(path, "tlsConfig")
	if !deref(s.TLS) {
		return field.ErrorList{invalid(at, "", "`tls` must be true when `tlsConfig` is set")}
	}
	var errs field.ErrorList
	for i := range c.Certificates {
		errs = append(errs, c.Certificates[i].validate(at.Child("certificates").Index(i), from)...)
	}
	return errs
}

func (c *CertificateSource) validate(path *field.Path, from Origin) field.ErrorList {
	files := c.CertFile != nil || c.KeyFile != nil
	switch {
	case from == FromCluster && files:
		return field.ErrorList{invalid(path, "", "file paths are only allowed in the standalone file; set `secretRef`")}
	case from == FromCluster && c.SecretRef == nil:
		return field.ErrorList{field.Required(path, "set `secretRef`")}
	case from == FromCluster:
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
