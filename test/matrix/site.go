package matrix

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/kube"
)

// A site is a cell's part of the API server: a namespace and a class of their own.
type site struct {
	*kube.ControlPlane
	ns string
}

// controlPlane is the one of all cells. The proxies have the rights of config/rbac and no others.
var controlPlane = sync.OnceValues(startControlPlane)

const system = "pingora-proxy-system"

func startControlPlane() (*kube.ControlPlane, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	plane, err := kube.Start(kube.Options{CRDs: []string{filepath.Join(root, "config/crd/bases")}, Scheme: scheme})
	if err != nil {
		return nil, err
	}
	roles, err := os.ReadFile(filepath.Join(root, "config/rbac/role.yaml"))
	if err != nil {
		return nil, err
	}
	if _, err := plane.TryKubectl("kind: Namespace\napiVersion: v1\nmetadata: {name: "+system+"}\n"+string(roles), "apply", "-f", "-"); err != nil {
		return nil, err
	}
	_, err = plane.TryKubectl("", "create", "clusterrolebinding", "proxy", "--clusterrole=proxy", "--serviceaccount="+system+":proxy")
	return plane, err
}

// account is the user that the proxies are.
var account = sync.OnceValues(func() (*kube.User, error) {
	plane, err := controlPlane()
	if err != nil {
		return nil, err
	}
	return plane.AddServiceAccount(system, "proxy")
})

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, missing := os.Stat(filepath.Join(dir, "go.mod")); missing == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("the tests do not run inside the module")
		}
		dir = filepath.Dir(dir)
	}
	return "", err
}

// namespace makes the cell's part of the cluster.
func (c *Cell) namespace(t testing.TB) *site {
	t.Helper()
	if c.site == nil {
		c.site = &site{ControlPlane: c.plane, ns: c.plane.Namespace(t)}
		c.site.permit(t)
	}
	return c.site
}

// permit lets the cell's proxy keep its Leases in the namespace.
func (s *site) permit(t testing.TB) {
	t.Helper()
	var role rbacv1.Role
	if err := s.Client().Get(t.Context(), client.ObjectKey{Namespace: system, Name: "proxy"}, &role); err != nil {
		t.Fatal(err)
	}
	meta := metav1.ObjectMeta{Namespace: s.ns, Name: "proxy"}
	for _, object := range []client.Object{
		&rbacv1.Role{ObjectMeta: meta, Rules: role.Rules},
		&rbacv1.RoleBinding{
			ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "proxy"},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: system, Name: "proxy"}},
		},
	} {
		if err := s.Client().Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
}

// serveObjects makes the services objects, and waits until the proxy serves them.
func (c *Cell) serveObjects(t testing.TB, services string) {
	t.Helper()
	s := c.namespace(t)
	c.apply(t, services)
	if c.Proxy == nil {
		c.startController(t)
	}
	c.awaitStatus(t, func(name string, conditions map[string]metav1.Condition) error {
		if p := conditions["Programmed"]; p.Status != metav1.ConditionTrue && conditions["Accepted"].Status != metav1.ConditionFalse {
			return fmt.Errorf("%s/%s does not serve yet: %v", s.ns, name, conditions)
		}
		return nil
	})
}

func (c *Cell) startController(t testing.TB) {
	t.Helper()
	user, err := account()
	if err != nil {
		t.Fatal(err)
	}
	arguments := []string{
		"controller", "--kubeconfig", user.Kubeconfig, "--class", c.site.ns, "--watch-namespaces", c.site.ns, "--namespace", c.site.ns,
		"--replica-name", "replica-a", "--allow-local-addresses",
	}
	if c.Globals != "" {
		path := filepath.Join(t.TempDir(), "globals.yaml")
		if err := os.WriteFile(path, []byte(c.expand(t, c.Globals)), 0o600); err != nil {
			t.Fatal(err)
		}
		arguments = append(arguments, "--config", path)
	}
	c.Proxy = harness.Start(t, "", harness.Options{Args: append(arguments, c.Args...), Env: c.Env})
}

// apply makes the services the objects of the namespace, and removes what there was before and is not any more.
func (c *Cell) apply(t testing.TB, services string) {
	t.Helper()
	s := c.site
	wanted := map[string]bool{}
	for _, u := range objects(t, services, s.ns) {
		wanted[u.GetName()] = true
		err := s.Client().Apply(t.Context(), client.ApplyConfigurationFromUnstructured(u), client.FieldOwner("test"), client.ForceOwnership)
		if err != nil {
			t.Fatalf("%s: %v", u.GetName(), err)
		}
	}
	var list v1alpha1.ProxyServiceList
	if err := s.Client().List(t.Context(), &list, client.InNamespace(s.ns)); err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		if !wanted[list.Items[i].Name] {
			if err := s.Client().Delete(t.Context(), &list.Items[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// awaitStatus waits until every object of the namespace has a status of its generation that is as asked for.
func (c *Cell) awaitStatus(t testing.TB, check func(name string, conditions map[string]metav1.Condition) error) {
	t.Helper()
	s := c.site
	kube.Eventually(t, kube.Patience, func() error {
		var list v1alpha1.ProxyServiceList
		if err := s.Client().List(t.Context(), &list, client.InNamespace(s.ns)); err != nil {
			return err
		}
		for i := range list.Items {
			o := &list.Items[i]
			if o.DeletionTimestamp != nil {
				return fmt.Errorf("%s is still being deleted", o.Name)
			}
			conditions := map[string]metav1.Condition{}
			for _, one := range o.Status.Conditions {
				if one.ObservedGeneration == o.Generation {
					conditions[one.Type] = one
				}
			}
			if len(conditions) == 0 {
				return fmt.Errorf("%s has no status of its generation", o.Name)
			}
			if err := check(o.Name, conditions); err != nil {
				return err
			}
		}
		return nil
	})
}

// objectsRefused expects that the API server refuses the services, or that the status of one says what is wrong.
func (c *Cell) objectsRefused(t testing.TB, services, want string) {
	t.Helper()
	s := c.namespace(t)
	for _, u := range objects(t, services, s.ns) {
		err := s.Client().Apply(t.Context(), client.ApplyConfigurationFromUnstructured(u), client.FieldOwner("test"), client.ForceOwnership)
		if err != nil {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("refused with %v, want %q", err, want)
			}
			return
		}
	}
	if c.Proxy == nil {
		c.startController(t)
	}
	c.awaitStatus(t, func(name string, conditions map[string]metav1.Condition) error {
		for _, one := range conditions {
			if strings.Contains(one.Message, want) {
				return nil
			}
		}
		return fmt.Errorf("the status of %s does not say %q: %v", name, want, conditions)
	})
}

// writeSecret makes a content a Secret, and a half of a pair the pair.
func (c *Cell) writeSecret(t testing.TB, name, content string) {
	t.Helper()
	s := c.namespace(t)
	put := func(secret *corev1.Secret) {
		t.Helper()
		err := s.Client().Create(t.Context(), secret)
		if apierrors.IsAlreadyExists(err) {
			err = s.Client().Update(t.Context(), secret)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	put(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: secretName(name)}, Data: map[string][]byte{contentKey: []byte(content)},
	})
	ext := filepath.Ext(name)
	other := map[string]string{".crt": ".key", ".key": ".crt"}[ext]
	if other == "" {
		return
	}
	second, err := os.ReadFile(filepath.Join(c.dir, strings.TrimSuffix(name, ext)+other))
	if err != nil {
		return // it comes later
	}
	chain, key := []byte(content), second
	if ext == ".key" {
		chain, key = second, []byte(content)
	}
	put(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: pairName(name)}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{corev1.TLSCertKey: chain, corev1.TLSPrivateKeyKey: key},
	})
}

func (c *Cell) removeSecret(t testing.TB, name string) {
	t.Helper()
	s := c.namespace(t)
	for _, one := range []string{secretName(name), pairName(name)} {
		err := s.Client().Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: one}})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
	}
}
