package replica

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/validation"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

const (
	// ClassLabel is on the Lease of every replica; its value is the class that the replica serves.
	ClassLabel = "pingora-proxy.dev/replica-of"
	// VersionAnnotation holds the resourceVersion that the replica serves, in decimal.
	VersionAnnotation = "pingora-proxy.dev/resource-version"
	// ReadyAnnotation is "true" while the replica takes traffic.
	ReadyAnnotation = "pingora-proxy.dev/ready"
	// UnboundAnnotation lists the addresses that the replica could not bind, with commas between them.
	UnboundAnnotation = "pingora-proxy.dev/unbound"
)

// ElectionName is the name of the Lease by which the replicas of the class choose their leader.
func ElectionName(class string) string { return "pingora-proxy-" + class }

// A Config says who this replica is.
type Config struct {
	Client    coordinationv1client.LeasesGetter
	Namespace string // where the Leases are
	Class     string
	Name      string // of this replica, unique in the namespace

	// PodName and PodUID name the Pod that the process runs in, or are empty. Kubernetes removes the replica's Lease together
	// with that Pod.
	PodName, PodUID string

	Log logr.Logger
}

func (c Config) check() error {
	for _, f := range []struct{ what, value, fix string }{
		{"namespace", c.Namespace, "set --namespace or POD_NAMESPACE"},
		{"replica name", c.Name, "set --replica-name or POD_NAME"},
		{"class", c.Class, "set --class"},
	} {
		problems := validation.IsDNS1123Subdomain(f.value)
		if f.what != "replica name" {
			problems = validation.IsDNS1123Label(f.value) // as part of a name and as the value of a label
		}
		if len(problems) > 0 {
			return fmt.Errorf("%s %q: %s; %s", f.what, f.value, strings.Join(problems, "; "), f.fix)
		}
	}
	if c.Name == ElectionName(c.Class) {
		return fmt.Errorf("replica name %q: is the name of the Lease for the election of class %q; set --replica-name to another",
			c.Name, c.Class)
	}
	return nil
}

// identity is different for any two processes that may run at the same time. It stays the same when a container restarts, so
// that a leader leads on at once.
func (c Config) identity(random func() string) string {
	return c.Name + "_" + cmp.Or(c.PodUID, random())
}
