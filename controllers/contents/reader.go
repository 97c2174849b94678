package contents

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/material"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/realm"
)

// expiryNotice is how long before its end a certificate is told of.
const expiryNotice = 14 * 24 * time.Hour

// The kinds of objects that hold contents.
const (
	Secret    = "Secret"
	ConfigMap = "ConfigMap"
)

// An Object is one that holds contents.
type Object struct {
	Kind string
	types.NamespacedName
}

// Found is what a look at all objects has found.
type Found struct {
	Named    map[Object]bool                    // there or not
	Expiring map[types.NamespacedName]time.Time // Secrets whose certificates end soon
	Again    bool                               // something could not be read now
}

// A Reader reads what objects refer to. It belongs to one goroutine.
type Reader struct {
	noSecrets     bool // none may be read
	cache, direct client.Reader
	known         map[Object]*object
}

// An object is what was read of one.
type object struct {
	version     string
	data        map[string][]byte
	certificate material.Certificate // of a Secret of that kind
	ends        time.Time            // of the certificate; zero: there is none
}

// errStale says that an object has changed and cannot be read now.
var errStale = errors.New("it cannot be read now")

// New returns a Reader. cache holds the metadata of Secrets and ConfigMaps, direct asks the API server.
func New(cache, direct client.Reader, noSecrets bool) *Reader {
	return &Reader{noSecrets: noSecrets, cache: cache, direct: direct, known: map[Object]*object{}}
}

// Complete finds what a service refers to, and notes the objects that it names.
func (r *Reader) Complete(ctx context.Context, s *translate.Service, w *realm.World, found *Found) {
	s.Certificates, s.Contents, s.UpstreamCertificate = nil, map[string]material.Content{}, material.Certificate{}
	if c := s.Spec.TLSConfig; c != nil {
		s.Certificates = make([]material.Certificate, len(c.Certificates))
		for i := range c.Certificates {
			s.Certificates[i] = r.certificate(ctx, s, &c.Certificates[i], w, found)
		}
	}
	if u := s.Spec.UpstreamTLS; u != nil && u.Certificate != nil {
		s.UpstreamCertificate = r.certificate(ctx, s, u.Certificate, w, found)
	}
	v1alpha1.References(&s.Spec, func(path string, ref *v1alpha1.Reference) {
		if ref.Name != nil && ref.Key != nil { // else it is a fault of the object
			s.Contents[path] = r.content(ctx, s, ref, w, found)
		}
	})
}

func (r *Reader) certificate(
	ctx context.Context, s *translate.Service, source *v1alpha1.CertificateSource, w *realm.World, found *Found,
) (c material.Certificate) {
	if source.SecretRef == nil {
		return c // a fault of the object
	}
	o := Object{Secret, name(source.SecretRef.Namespace, s.Namespace, source.SecretRef.Name)}
	c.Name = o.String()
	read, problem := r.look(ctx, s, o, w, found)
	switch {
	case problem != "":
		c.Problem = problem
	case read != nil:
		c = read.certificate
		if !read.ends.IsZero() && time.Until(read.ends) < expiryNotice {
			found.Expiring[o.NamespacedName] = read.ends
		}
	}
	return c
}

func (r *Reader) content(
	ctx context.Context, s *translate.Service, ref *v1alpha1.Reference, w *realm.World, found *Found,
) material.Content {
	o := Object{Secret, name(ref.Namespace, s.Namespace, *ref.Name)}
	if ref.Kind != nil && *ref.Kind == v1alpha1.ReferenceConfigMap {
		o.Kind = ConfigMap
	}
	c := material.Content{Name: fmt.Sprintf("%s `%s`, key `%s`", o.Kind, o.NamespacedName, *ref.Key)}
	read, problem := r.look(ctx, s, o, w, found)
	switch {
	case problem != "":
		c.Problem = problem
	case read == nil:
		c.Problem = fmt.Sprintf("%s `%s` belongs to another namespace, which has no ReferenceGrant for it", o.Kind, o.NamespacedName)
		c.Reason = v1alpha1.ReasonRefNotPermitted
	default:
		data, ok := read.data[*ref.Key]
		if !ok {
			c.Problem = fmt.Sprintf("%s `%s` has no key `%s`", o.Kind, o.NamespacedName, *ref.Key)
		}
		c.Data = data
	}
	return c
}

// look reads an object for a service. It returns nothing at all where the service may not name it: the translation says
// so, and nothing of the object is read.
func (r *Reader) look(ctx context.Context, s *translate.Service, o Object, w *realm.World, found *Found) (read *object, problem string) {
	found.Named[o] = true
	if !w.Granted(s.Namespace, o.Kind, o.Namespace, o.Name) {
		return nil, ""
	}
	if r.noSecrets && o.Kind == Secret {
		return nil, fmt.Sprintf("Secret `%s` cannot be read: this installation of the proxy may not read Secrets (--no-secrets)", o.NamespacedName)
	}
	read, err := r.read(ctx, o)
	switch {
	case apierrors.IsNotFound(err):
		return nil, fmt.Sprintf("%s `%s` does not exist", o.Kind, o.NamespacedName)
	case errors.Is(err, errStale):
		found.Again = true
		return read, ""
	case err != nil:
		found.Again = true
		return nil, fmt.Sprintf("%s `%s` cannot be read", o.Kind, o.NamespacedName)
	}
	return read, ""
}

func (r *Reader) read(ctx context.Context, o Object) (*object, error) {
	meta := Metadata(o.Kind)
	if err := r.cache.Get(ctx, o.NamespacedName, meta); err != nil {
		return nil, err
	}
	known := r.known[o]
	if known != nil && known.version == meta.ResourceVersion {
		return known, nil
	}
	fresh, err := r.fetch(ctx, o)
	if err != nil {
		if known != nil && !apierrors.IsNotFound(err) {
			return known, errStale // what was read serves on
		}
		return nil, err
	}
	fresh.version = meta.ResourceVersion
	r.known[o] = fresh
	return fresh, nil
}

func (r *Reader) fetch(ctx context.Context, o Object) (*object, error) {
	if o.Kind == ConfigMap {
		var m corev1.ConfigMap
		if err := r.direct.Get(ctx, o.NamespacedName, &m); err != nil {
			return nil, err
		}
		data := m.BinaryData
		if data == nil {
			data = map[string][]byte{}
		}
		for key, text := range m.Data {
			data[key] = []byte(text)
		}
		return &object{data: data}, nil
	}
	var s corev1.Secret
	if err := r.direct.Get(ctx, o.NamespacedName, &s); err != nil {
		return nil, err
	}
	fresh := &object{data: s.Data}
	chain, key := s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]
	if len(chain) == 0 || len(key) == 0 {
		fresh.certificate.Name = o.String()
		fresh.certificate.Problem = fmt.Sprintf("Secret `%s` has no `%s` and `%s`", o.NamespacedName, corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
	} else {
		fresh.certificate = material.NewCertificate(o.String(), chain, key)
	}
	if block, _ := pem.Decode(chain); block != nil {
		if leaf, err := x509.ParseCertificate(block.Bytes); err == nil {
			fresh.ends = leaf.NotAfter
		}
	}
	return fresh, nil
}

// Forget drops what nobody names any more.
func (r *Reader) Forget(named map[Object]bool) {
	for o := range r.known {
		if !named[o] {
			delete(r.known, o)
		}
	}
}

// Metadata is an object of which the cache holds the metadata alone.
func Metadata(kind string) *metav1.PartialObjectMetadata {
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind))
	return m
}

func name(namespace *string, own, name string) types.NamespacedName {
	if namespace != nil && *namespace != "" {
		own = *namespace
	}
	return types.NamespacedName{Namespace: own, Name: name}
}
