package controllers

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pingora-proxy/pingora-proxy/api/defaults"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/api/validation"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
)

// A prepared is an object in the form that is translated. It is made once a generation.
type prepared struct {
	uid        types.UID
	generation int64
	version    uint64 // the smallest resourceVersion that this process saw the generation at
	hash       string
	routes     []string
	named      []types.NamespacedName // Services
	service    translate.Service
}

// prepare reads an object. It changes nothing of it.
func prepare(p *v1alpha1.ProxyService) *prepared {
	out := &prepared{uid: p.UID, generation: p.Generation, version: version(p.ResourceVersion), hash: specHash(&p.Spec)}
	spec := p.Spec.DeepCopy()
	for _, r := range spec.Routes {
		out.routes = append(out.routes, r.Name)
	}
	out.service = translate.Service{Namespace: p.Namespace, Name: p.Name, Seed: []byte(p.UID)}
	out.service.Faults = check(spec, p.Name)
	out.service.Spec = *spec
	out.named = serviceNames(spec, p.Namespace)
	out.service.Seal()
	return out
}

// check completes a spec and lists what is wrong with it. The API server has checked the most of it; what it could not, or an
// older CRD did not, is found here. Whatever an object holds must not end the process.
func check(spec *v1alpha1.ProxyServiceSpec, name string) (faults field.ErrorList) {
	defer func() {
		if r := recover(); r != nil {
			*spec = v1alpha1.ProxyServiceSpec{Name: name}
			defaults.Service(spec, v1alpha1.FromCluster)
			faults = field.ErrorList{field.InternalError(field.NewPath("spec").Child("bindAddress"), fmt.Errorf("cannot be read: %v", r))}
		}
	}()
	if spec.Name == "" {
		spec.Name = name
	}
	defaults.Service(spec, v1alpha1.FromCluster)
	return validation.Service(spec, field.NewPath("spec"), v1alpha1.FromCluster)
}

func specHash(spec *v1alpha1.ProxyServiceSpec) string {
	text, err := json.Marshal(spec)
	if err != nil {
		return "" // plain data always marshals
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:4])
}

// version reads a resourceVersion; they can be compared, as the API says since 1.35.
func version(resourceVersion string) uint64 {
	n, err := strconv.ParseUint(resourceVersion, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
