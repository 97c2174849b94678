package scale

import (
	"errors"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	clientscheme "k8s.io/client-go/kubernetes/scheme"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/test/kube"
)

const (
	home    = "pingora-proxy-system" // the namespace of the controller
	account = "proxy"
)

// A cluster is a control plane with what the controller needs in it.
type cluster struct {
	*kube.ControlPlane
	scheme *runtime.Scheme
	user   *kube.User // that the controller is, with the rights of config/rbac and no others
	writes audit
}

// theCluster is that of all runs of the test.
var theCluster = sync.OnceValues(newCluster)

func newCluster() (*cluster, error) {
	c := &cluster{scheme: runtime.NewScheme()}
	if err := errors.Join(clientscheme.AddToScheme(c.scheme), v1alpha1.AddToScheme(c.scheme)); err != nil {
		return nil, err
	}
	var err error
	if c.writes, err = newAudit(); err != nil {
		return nil, err
	}
	c.ControlPlane, err = kube.Start(kube.Options{CRDs: []string{"../../config/crd/bases"}, Scheme: c.scheme, APIServer: c.writes.configure})
	if err != nil {
		return nil, err
	}
	for _, arguments := range [][]string{
		{"create", "namespace", home},
		{"apply", "--filename=../../config/rbac/role.yaml"},
		{"create", "clusterrolebinding", account, "--clusterrole=proxy", "--serviceaccount=" + home + ":" + account},
		{"create", "rolebinding", account, "--namespace=" + home, "--role=proxy", "--serviceaccount=" + home + ":" + account},
	} {
		if _, err := c.TryKubectl("", arguments...); err != nil {
			return nil, err
		}
	}
	c.user, err = c.AddServiceAccount(home, account)
	return c, err
}
