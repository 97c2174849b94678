package controlside

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pingora-proxy/pingora-proxy/api/defaults"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
)

// A Fleet is generated services that share one address. Each has a host of its own, a list of endpoints and a route beside
// its default one.
type Fleet struct {
	Services  int
	Endpoints int    // of each
	Bind      string // where they all listen
	Port      uint16 // of every endpoint
	Checks    bool   // active health checks, as they are by default
}

// Name is the name of a service.
func (Fleet) Name(service int) string { return fmt.Sprintf("service-%05d", service) }

// Host is what its requests ask for.
func (f Fleet) Host(service int) string { return f.Name(service) + ".example.com" }

// Upstreams are its endpoints: addresses of 127.0.0.0/8, each of which is one service's alone. Another version has the
// last of them elsewhere.
func (f Fleet) Upstreams(service, version int) []string {
	out := make([]string, f.Endpoints)
	for i := range out {
		n := service*f.Endpoints + i
		if i == len(out)-1 && version > 0 {
			n = f.Services*f.Endpoints + version
		}
		out[i] = fmt.Sprintf("127.%d.%d.%d:%d", 1+n>>16&0x7f, n>>8&0xff, n&0xff, f.Port)
	}
	return out
}

// VersionHost is a host that a version of a service alone has.
func (f Fleet) VersionHost(service, version int) string {
	return fmt.Sprintf("v%d.%s", version, f.Host(service))
}

// YAML is a version of the service as an entry of a file.
func (f Fleet) YAML(service, version int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "- name: %s\n  bind_address: %s\n  hosts: [%s, %s]\n  upstreams:\n",
		f.Name(service), f.Bind, f.Host(service), f.VersionHost(service, version))
	for _, u := range f.Upstreams(service, 0) {
		b.WriteString("  - " + u + "\n")
	}
	if !f.Checks {
		b.WriteString("  health_check: {type: Disabled}\n")
	}
	b.WriteString("  routes:\n  - name: api\n    matches:\n    - path: {type: Prefix, value: /api}\n    timeouts: {request_ms: 5000}\n")
	return b.String()
}

// File is the content of a file with some of the services, all of one version.
func (f Fleet) File(first, n, version int) string {
	var b strings.Builder
	b.WriteString("services:\n")
	for i := first; i < min(first+n, f.Services); i++ {
		b.WriteString(f.YAML(i, version))
	}
	return b.String()
}

// Write writes the services into a folder, some a file, and returns the names of the files.
func (f Fleet) Write(folder string, perFile int) ([]string, error) {
	var names []string
	for first := 0; first < f.Services; first += perFile {
		name := filepath.Join(folder, fmt.Sprintf("services-%05d.yaml", first/perFile))
		if err := os.WriteFile(name, []byte(f.File(first, perFile, 0)), 0o600); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

// Object is the service as an object of a cluster.
func (f Fleet) Object(service int, path string, version int) *v1alpha1.ProxyService {
	p := &v1alpha1.ProxyService{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "team-" + strconv.Itoa(service%100), Name: f.Name(service), UID: types.UID(f.Name(service)), Generation: 1,
			ResourceVersion: "1", CreationTimestamp: metav1.NewTime(time.Unix(1_700_000_000+int64(service), 0)),
		},
		Spec: v1alpha1.ProxyServiceSpec{BindAddress: f.Bind, Hosts: []string{f.Host(service)}, Upstreams: f.Upstreams(service, version)},
	}
	if !f.Checks {
		disabled := v1alpha1.HealthCheckDisabled
		p.Spec.HealthCheck = &v1alpha1.HealthCheck{Type: &disabled}
	}
	prefix, after := v1alpha1.PathMatchPrefix, int32(5000)
	p.Spec.Routes = []v1alpha1.Route{{
		Name: "api", Matches: []v1alpha1.Match{{Path: &v1alpha1.PathMatch{Type: &prefix, Value: &path}}},
		Timeouts: &v1alpha1.Timeouts{RequestMs: &after},
	}}
	return p
}

// Service is the service in the form that is translated.
func (f Fleet) Service(service int, path string, version int) *translate.Service {
	p := f.Object(service, path, version)
	s := &translate.Service{Namespace: p.Namespace, Name: p.Name, Spec: p.Spec, Seed: []byte(p.UID)}
	s.Spec.Name = p.Name
	defaults.Service(&s.Spec, v1alpha1.FromCluster)
	s.Seal()
	return s
}
