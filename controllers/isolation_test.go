package controllers_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/realm"
	"github.com/pingora-proxy/pingora-proxy/dataplane"
	"github.com/pingora-proxy/pingora-proxy/dataplane/resolver"
	"github.com/pingora-proxy/pingora-proxy/dataplane/telemetry"
	"github.com/pingora-proxy/pingora-proxy/test/harness"
	"github.com/pingora-proxy/pingora-proxy/test/kube"
)

// What may be named and bound is decided by the translation, whose tests have the tables of addresses, names, hosts and ports.
// Here is what takes a cluster to show.

// grantCRD is as much of the Gateway API as is needed.
const grantCRD = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: referencegrants.gateway.networking.k8s.io
  annotations: {api-approved.kubernetes.io: "unapproved, of a test"}
spec:
  group: gateway.networking.k8s.io
  names: {kind: ReferenceGrant, plural: referencegrants, singular: referencegrant, listKind: ReferenceGrantList}
  scope: Namespaced
  versions:
  - name: v1beta1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, x-kubernetes-preserve-unknown-fields: true}}}}
`

func grant(from, to, kind, name string) string {
	return fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: %s, namespace: %s}
spec:
  from: [{group: pingora-proxy.dev, kind: ProxyService, namespace: %s}]
  to: [{group: "", kind: %s, name: %s}]
`, strings.ToLower(kind), to, from, kind, name)
}

// Services and Secrets of another namespace are used for as long as that namespace grants it, and its Secrets are not even
// read before. The CRD comes after the start.
func TestReferenceGrants(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	other := s.Namespace(t)
	s.Service(t, other, "api", map[string]string{"app": "api"}, kube.Port("http", 80, "http"))
	s.Pod(t, other, "api-1", map[string]string{"app": "api"}, kube.PodOptions{})
	s.tlsSecret(t, other, "cert", "secure.example")
	s.web(t, "web", 1)
	seen := &tap{}
	p := s.start(t, seen.option, func(o *controllers.Options) { o.Namespaces = nil })
	reads := func() int {
		return seen.count(func(c call) bool { return strings.Contains(c.path, "/namespaces/"+other+"/secrets") })
	}
	s.apply(t, proxyService("shop", fmt.Sprintf(`bindAddress: '${host}:80', backends: [{service: {name: web, port: 80}}],
  routes: [{name: api, matches: [{path: {value: /api}}], backends: [{service: {name: api, namespace: %s, port: 80}}]}]`, other)))
	s.apply(t, proxyService("secure", fmt.Sprintf(`bindAddress: '${host}:443', tls: true, backends: [{service: {name: web, port: 80}}],
  tlsConfig: {certificates: [{secretRef: {name: cert, namespace: %s}}]}`, other)))
	refused := func() {
		t.Helper()
		s.awaitStatus(t, "shop", "ResolvedRefs=False/RefNotPermitted", "api:ResolvedRefs=False/RefNotPermitted", "Programmed=True/Programmed")
		s.awaitStatus(t, "secure", "ResolvedRefs=False/RefNotPermitted", "Accepted=True/Accepted")
		awaitAnswer(t, s.at(80), "any/api", "503")
		kube.Eventually(t, kube.Patience, func() error {
			if got := presented(s.at(443), "secure.example"); !strings.Contains(got, "tls") {
				return fmt.Errorf("the handshake: %s", got)
			}
			return nil
		})
		if got := ask(s.at(80), "any/"); got != "200 web-1" {
			t.Errorf("the other route answers %q", got)
		}
	}
	refused()

	install := func() {
		t.Helper()
		if _, err := s.TryKubectl(grantCRD, "apply", "-f", "-"); err != nil {
			t.Fatal(err)
		}
		s.Kubectl(t, "wait", "--for=condition=Established", "--timeout=60s", "crd/referencegrants.gateway.networking.k8s.io")
	}
	t.Cleanup(func() {
		if _, err := s.TryKubectl("", "delete", "crd", "referencegrants.gateway.networking.k8s.io", "--ignore-not-found", "--timeout=60s"); err != nil {
			t.Error(err)
		}
	})
	install()
	// Grants for others, and the wrong way round.
	give := func(text string) {
		t.Helper()
		kube.Eventually(t, kube.Patience, func() error { return s.tryApply(t.Context(), text) }) // its discovery may lag
	}
	give(grant("else", other, "Service", "api"))
	give(grant(other, s.ns, "Secret", "cert"))
	if n := reads(); n != 0 {
		t.Errorf("the Secret was asked for %d times before anybody granted it", n)
	}
	give(grant(s.ns, other, "Service", "api"))
	awaitAnswer(t, s.at(80), "any/api", "200 api-1")
	s.awaitProgrammed(t, "shop")
	if n := reads(); n != 0 {
		t.Errorf("the Secret was asked for %d times before anybody granted it", n)
	}
	give(grant(s.ns, other, "Secret", "cert"))
	awaitPresented(t, s.at(443), "secure.example")
	s.awaitProgrammed(t, "secure")

	// Withdrawn: what was read is not used any more.
	s.Kubectl(t, "-n", other, "delete", "referencegrant", "service", "secret")
	refused()
	if !p.plane.Ready() {
		t.Error("the replica is not ready")
	}
}

// A name that leads to the proxy's own machine leads nowhere, and neither do health checks.
func TestNamesThatLeadHome(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	hosts := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(hosts, []byte("127.0.0.1 home.example\n::1 six.example\n169.254.169.254 metadata.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	home := harness.StartOrigin(t, harness.Echo("home"))
	_, port, _ := strings.Cut(home.Addr, ":")
	asked := make(chan netip.Addr, 1000)
	s.start(t, func(o *controllers.Options) {
		log, _ := quiet()
		plane := o.Plane.(*spy) //nolint:forcetypeassert // the rig says so
		plane.Close()
		plane.DataPlane = dataplane.New(dataplane.Options{
			Log: log, Metrics: telemetry.NewMetrics("test"), Resolver: resolver.Options{Hosts: hosts, ResolvConf: os.DevNull},
			Permit: func(a netip.Addr) error { // as the program has it
				if !realm.Local(a) {
					return nil
				}
				select {
				case asked <- a:
				default:
				}
				return errors.New("an address of the proxy's own machine")
			},
		})
	})
	s.web(t, "web", 1)
	for i, name := range []string{"home", "six", "metadata"} {
		s.apply(t, proxyService(name, fmt.Sprintf("bindAddress: '${host}:80', hosts: [%s], upstreams: ['%s.example:%s']", name, name, port)))
		s.awaitStatus(t, name, "Accepted=True/Accepted") // nobody knows better before it is asked
		kube.Eventually(t, kube.Patience, func() error {
			if got := ask(s.at(80), name+"/"); got != "502 address_not_allowed" && got != "503 no_healthy_upstream" {
				return errors.New(got)
			}
			return nil
		})
		if i == 0 {
			s.await(t, name, counted(0, 1)) // its health check is refused as well
		}
	}
	if n := home.Requests.Load(); n != 0 || len(asked) == 0 {
		t.Errorf("%d requests have arrived, %d were refused", n, len(asked))
	}
}

// forbidden lists what the API server has refused to a replica.
func (p *tap) forbidden() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []string
	for _, c := range p.calls {
		if c.code == http.StatusForbidden || c.code == http.StatusUnauthorized {
			all = append(all, c.method+" "+c.path)
		}
	}
	return all
}

// everything makes a replica do all that it can do with the API server: read what there is, write statuses, Events and
// Leases, and keep the ports of its own Service.
func (s *site) everything(t *testing.T) {
	t.Helper()
	s.tlsSecret(t, s.ns, "cert", "secure.example")
	s.web(t, "web", 1)
	s.apply(t, shop(1))
	s.apply(t, proxyService("secure", `bindAddress: '${host}:443', tls: true, tlsConfig: {certificates: [{secretRef: {name: cert}}]},
  backends: [{service: {name: web, port: 80}}]`))
	s.apply(t, proxyService("bad", "bindAddress: '${host}:81', backends: [{service: {name: gone, port: 80}}]"))
	s.awaitProgrammed(t, "shop")
	s.awaitProgrammed(t, "secure")
	s.awaitStatus(t, "bad", "ResolvedRefs=False/BackendNotFound")
	s.awaitEvent(t, "bad", corev1.EventTypeWarning, "BackendNotFound", "gone")
	awaitAnswer(t, s.at(80), "any/v1", "200 web-1")
	awaitPresented(t, s.at(443), "secure.example")
}

// The rights in config/rbac are enough, for a whole cluster, and nothing else is tried.
func TestRightsOfAnInstallation(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.ServiceWith(t, s.ns, "pingora-proxy", corev1.ServiceSpec{Ports: []corev1.ServicePort{kube.Port("placeholder", 9, "9")}})
	seen := &tap{}
	log, told := quiet()
	p := s.start(t, seen.option, func(o *controllers.Options) {
		o.Log, o.Namespaces = log, nil
		o.Publish = types.NamespacedName{Namespace: s.ns, Name: "pingora-proxy"}
	})
	s.everything(t)
	kube.Eventually(t, kube.Patience, func() error {
		var service corev1.Service
		if err := s.Client().Get(t.Context(), client.ObjectKey{Namespace: s.ns, Name: "pingora-proxy"}, &service); err != nil {
			return err
		}
		ports := map[int32]bool{}
		for _, port := range service.Spec.Ports {
			ports[port.Port] = true
		}
		if !ports[80] || !ports[81] || !ports[443] {
			return fmt.Errorf("the ports are %v", service.Spec.Ports)
		}
		return nil
	})
	p.stop()
	if f := seen.forbidden(); len(f) > 0 || strings.Contains(told(), "forbidden") {
		t.Errorf("forbidden: %q\n%s", f, told())
	}
}

// The same rights in two namespaces alone are enough for an installation that watches no others.
func TestRightsInNamespaces(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	second := s.Namespace(t)
	if _, err := account(); err != nil { // it brings the role
		t.Fatal(err)
	}
	account, err := s.AddServiceAccount(s.ns, "scoped")
	if err != nil {
		t.Fatal(err)
	}
	var rules rbacv1.ClusterRole
	if err := s.Client().Get(t.Context(), client.ObjectKey{Name: "proxy"}, &rules); err != nil {
		t.Fatal(err)
	}
	bind := func(namespace, name string, rules []rbacv1.PolicyRule) {
		t.Helper()
		meta := metav1.ObjectMeta{Namespace: namespace, Name: name}
		for _, o := range []client.Object{
			&rbacv1.Role{ObjectMeta: meta, Rules: rules},
			&rbacv1.RoleBinding{
				ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
				Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: s.ns, Name: "scoped"}},
			},
		} {
			if err := s.Client().Create(t.Context(), o); err != nil {
				t.Fatal(err)
			}
		}
	}
	bind(s.ns, "watched", rules.Rules)
	bind(second, "watched", rules.Rules)
	bind(s.ns, "own", []rbacv1.PolicyRule{{
		APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"},
		Verbs: []string{"get", "list", "watch", "create", "update", "patch", "delete"},
	}})
	seen := &tap{}
	log, told := quiet()
	p := s.start(t, func(o *controllers.Options) {
		o.Config, o.Log, o.Namespaces = account.Config, log, []string{s.ns, second}
	}, seen.option)
	s.everything(t)
	// The second one counts like the first, and what it names of a third is refused without a look.
	s.apply(t, strings.Replace(proxyService("more", "bindAddress: '${host}:82', backends: [{service: {name: web, port: 80}}]"),
		"name: more", "name: more, namespace: "+second, 1))
	s.apply(t, proxyService("curious", "bindAddress: '${host}:83', backends: [{service: {name: kubernetes, namespace: default, port: 443}}]"))
	s.awaitStatus(t, "curious", "ResolvedRefs=False/RefNotPermitted")
	awaitAnswer(t, s.at(82), "any/", "503")
	s.Service(t, second, "web", map[string]string{"app": "web"}, kube.Port("http", 80, "http"))
	s.Pod(t, second, "second-1", map[string]string{"app": "web"}, kube.PodOptions{})
	awaitAnswer(t, s.at(82), "any/", "200 second-1")
	p.stop()
	if f := seen.forbidden(); len(f) > 0 || strings.Contains(told(), "forbidden") {
		t.Errorf("forbidden: %q\n%s", f, told())
	}
}

// No text of a Secret is in anything that the program shows, whatever is wrong with the Secret.
func TestSecretsAreNotShown(t *testing.T) {
	t.Parallel()
	b := newBlackBox(t)
	other := b.Namespace(t)
	key := b.tlsSecret(t, b.ns, "good", "secure.example")
	foreign := b.tlsSecret(t, other, "foreign", "foreign.example")
	add := func(name string, kind corev1.SecretType, data map[string][]byte) {
		t.Helper()
		secret := b.secret(name, data)
		secret.Type = kind
		if err := b.Client().Create(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
	}
	const canary = "c4n4ry"
	certificate := func(name string) []byte {
		var secret corev1.Secret
		if err := b.Client().Get(t.Context(), client.ObjectKey{Namespace: b.ns, Name: name}, &secret); err != nil {
			t.Fatal(err)
		}
		return secret.Data["tls.crt"]
	}
	add("text", corev1.SecretTypeTLS, map[string][]byte{"tls.crt": []byte(canary + "-1"), "tls.key": []byte(canary + "-2")})
	add("other", corev1.SecretTypeOpaque, map[string][]byte{"password": []byte(canary + "-3")})
	add("mixed", corev1.SecretTypeTLS, map[string][]byte{"tls.crt": certificate("good"), "tls.key": foreign})
	add("torn", corev1.SecretTypeTLS, map[string][]byte{
		"tls.crt": certificate("good"),
		"tls.key": []byte("-----BEGIN PRIVATE KEY-----\nYzRuNHJ5LWM0bjRyeS1jNG40cnk=\n-----END PRIVATE KEY-----\n"),
	})
	p := b.run(t)
	names := []string{"good", "text", "other", "mixed", "torn"}
	var refs strings.Builder
	for _, n := range names {
		fmt.Fprintf(&refs, "{secretRef: {name: %s}}, ", n)
	}
	b.apply(t, proxyService("secure", fmt.Sprintf(`bindAddress: '${host}:443', tls: true, backends: [{service: {name: web, port: 80}}],
  tlsConfig: {certificates: [%s{secretRef: {name: foreign, namespace: %s}}]}`, refs.String(), other)))
	status := b.awaitStatus(t, "secure", "ResolvedRefs=False/InvalidCertificateRef", "Programmed=True/Programmed")
	for _, n := range append(names[1:], "foreign") {
		if m := message(status, v1alpha1.ConditionResolvedRefs); !strings.Contains(m, "/"+n+"`") && !strings.Contains(m, "/"+n+":") {
			t.Errorf("Secret %s is not among the problems: %s", n, m)
		}
	}
	b.awaitEvent(t, "secure", corev1.EventTypeWarning, "InvalidCertificateRef", "text")
	awaitPresented(t, b.at(443), "secure.example")
	awaitAnswer(t, b.at(80), "any/v1", "200 web-1")

	shown := map[string]string{"the log": p.LogText(), "the access log": p.AccessLogText(), "metrics": p.MetricsText(t)}
	for _, kind := range []string{"pxs", "events.events.k8s.io", "leases", "events"} {
		shown[kind] = b.Kubectl(t, "-n", b.ns, "get", kind, "-o", "yaml")
	}
	for _, what := range []string{"overview", "listeners", "services", "routes", "endpoints", "config"} {
		shown[what] = p.Admin(t, "/api/v1/"+what)
	}
	body := func(pem []byte) string { return strings.Split(string(pem), "\n")[1] } // a line of it tells
	for where, text := range shown {
		if text == "" && where != "the access log" {
			t.Errorf("%s is empty", where)
		}
		for _, secret := range []string{canary, "YzRuNHJ5", body(key), body(foreign), "PRIVATE KEY", "foreign.example"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s: %q is in it:\n%.2000s", where, secret, text)
			}
		}
	}
	if log := shown["the log"]; strings.Contains(log, "forbidden") {
		t.Errorf("the program tried what it may not do:\n%s", log)
	}
}
