package controllers

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
)

// A certificates reads the Secrets that objects name. The cache holds the metadata of all Secrets, which is little; their
// content is read once a version, and only of those that are named and may be.
type certificates struct {
	forbidden     bool // none may be read
	cache, direct client.Reader
	known         map[types.NamespacedName]*secret
}

type secret struct {
	version     string
	certificate translate.Certificate
	ends        time.Time // zero: it cannot be read
}

// errStale says that a Secret has changed and cannot be read now.
var errStale = errors.New("the Secret cannot be read now")

func newCertificates(cache, direct client.Reader, forbidden bool) *certificates {
	return &certificates{forbidden: forbidden, cache: cache, direct: direct, known: map[types.NamespacedName]*secret{}}
}

// of reads the certificates of a service, and notes the Secrets that it names.
func (c *certificates) of(ctx context.Context, s *translate.Service, v *view) []translate.Certificate {
	if s.Spec.TLSConfig == nil {
		return nil
	}
	out := make([]translate.Certificate, len(s.Spec.TLSConfig.Certificates))
	for i, source := range s.Spec.TLSConfig.Certificates {
		if source.SecretRef == nil {
			continue // a fault of the object
		}
		name := reference(source.SecretRef.Namespace, s.Namespace, source.SecretRef.Name)
		out[i].Name = name.String()
		v.secrets[name] = true
		if !v.input.World.Granted(s.Namespace, "Secret", name.Namespace, name.Name) {
			continue // the translation says so, and nothing of the Secret is read
		}
		if c.forbidden {
			out[i].Problem = fmt.Sprintf("Secret `%s` cannot be read: this installation of the proxy may not read Secrets (--no-secrets)", name)
			continue
		}
		found, err := c.read(ctx, name)
		switch {
		case apierrors.IsNotFound(err):
			out[i].Problem = fmt.Sprintf("Secret `%s` does not exist", name)
		case errors.Is(err, errStale):
			out[i] = found.certificate
			v.again = bindAgain
		case err != nil:
			out[i].Problem = fmt.Sprintf("Secret `%s` cannot be read", name)
			v.again = bindAgain
		default:
			out[i] = found.certificate
			if !found.ends.IsZero() && time.Until(found.ends) < expiryNotice {
				v.expiring[name] = found.ends
			}
		}
	}
	return out
}

func (c *certificates) read(ctx context.Context, name types.NamespacedName) (*secret, error) {
	meta := metadata("Secret")
	if err := c.cache.Get(ctx, name, meta); err != nil {
		return nil, err
	}
	known := c.known[name]
	if known != nil && known.version == meta.ResourceVersion {
		return known, nil
	}
	var s corev1.Secret
	if err := c.direct.Get(ctx, name, &s); err != nil {
		if known != nil && !apierrors.IsNotFound(err) {
			return known, errStale // what was read serves on
		}
		return nil, err
	}
	fresh := &secret{version: meta.ResourceVersion}
	chain, key := s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]
	if len(chain) == 0 || len(key) == 0 {
		fresh.certificate.Name = name.String()
		fresh.certificate.Problem = fmt.Sprintf("Secret `%s` has no `%s` and `%s`", name, corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
	} else {
		fresh.certificate = translate.NewCertificate(name.String(), chain, key)
	}
	if block, _ := pem.Decode(chain); block != nil {
		if leaf, err := x509.ParseCertificate(block.Bytes); err == nil {
			fresh.ends = leaf.NotAfter
		}
	}
	c.known[name] = fresh
	return fresh, nil
}

// forget drops the Secrets that nobody names any more.
func (c *certificates) forget(named map[types.NamespacedName]bool) {
	for name := range c.known {
		if !named[name] {
			delete(c.known, name)
		}
	}
}
