package chart

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/pingora-proxy/pingora-proxy/controllers/publish"
	"github.com/pingora-proxy/pingora-proxy/test/kube"
)

const crdName = "proxyservices.pingora-proxy.dev"

// cluster is the control plane that all tests of this package share.
func cluster(t *testing.T) *kube.ControlPlane {
	t.Helper()
	plane, err := kube.Start(kube.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return plane
}

// Every object of every set is one that a real API server takes, and every pod that asks for nothing of its node
// satisfies the Pod Security Standard `restricted`.
func TestServerTakesEverySet(t *testing.T) {
	t.Parallel()
	plane := cluster(t)
	space := plane.Namespace(t)
	plane.Kubectl(t, "label", "namespace", space, "pod-security.kubernetes.io/enforce=restricted")
	for _, watched := range []string{"shop", "team-a", "web"} { // of the sets
		if _, err := plane.TryKubectl(`{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "`+watched+`"}}`, "apply", "--filename=-"); err != nil {
			t.Fatal(err)
		}
	}
	ofItsNode := []string{"daemonset-hostnetwork", "daemonset-hostports"}
	for _, set := range sets(t) {
		t.Run(set, func(t *testing.T) {
			t.Parallel()
			var manifest strings.Builder
			all := objects(t, render(t, set, "--namespace", space))
			for _, o := range all {
				if o.APIVersion != "monitoring.coreos.com/v1" { // their CRDs are not ours to install
					manifest.WriteString("---\n" + o.text)
				}
			}
			args := []string{"apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "--filename=-"}
			if _, err := plane.TryKubectl(manifest.String(), args...); err != nil {
				t.Error(err)
			}
			p := corev1.Pod{Spec: pod(t, all)}
			p.APIVersion, p.Kind, p.Name, p.Namespace = "v1", "Pod", "proxy", space
			p.Spec.ServiceAccountName = "default" // there, without an installation
			text, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			_, err = plane.TryKubectl(string(text), "create", "--dry-run=server", "--filename=-")
			if restricted := err == nil; restricted == slices.Contains(ofItsNode, set) {
				t.Errorf("restricted: %v (%v)", restricted, err)
			}
		})
	}
}

// An installation is a release of the chart, and the controller's part of its Service.
type installation struct {
	*helm
	plane     *kube.ControlPlane
	space     string
	publisher publish.Publisher
}

func install(t *testing.T, args ...string) *installation {
	t.Helper()
	plane := cluster(t)
	in := &installation{helm: newHelm(t, plane.Kubeconfig()), plane: plane, space: plane.Namespace(t)}
	in.do(t, "install", directory, args...)
	// With the rights that the chart gives.
	user, err := plane.AddServiceAccount(in.space, "edge-pingora-proxy")
	if err != nil {
		t.Fatal(err)
	}
	services, err := corev1client.NewForConfig(user.Config)
	if err != nil {
		t.Fatal(err)
	}
	in.publisher = publish.Publisher{Client: services, Service: types.NamespacedName{Namespace: in.space, Name: "edge-pingora-proxy"}}
	return in
}

// do runs Helm for the release.
func (in *installation) do(t *testing.T, verb, chart string, args ...string) {
	t.Helper()
	all := []string{verb, release}
	if chart != "" {
		all = append(all, chart)
	}
	in.run(t, slices.Concat(all, []string{"--namespace", in.space}, args)...)
}

// publish does what the controller does when ProxyServices bind the ports.
func (in *installation) publish(t *testing.T, ports ...uint16) {
	t.Helper()
	// The API server learns of new rights a moment after they are granted.
	kube.Eventually(t, 30*time.Second, func() error { return in.publisher.Publish(t.Context(), ports) })
}

func (in *installation) service(t *testing.T) corev1.Service {
	t.Helper()
	var s corev1.Service
	if err := in.plane.Client().Get(t.Context(), in.publisher.Service, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// ports checks which ports the Service has.
func (in *installation) ports(t *testing.T, when string, want ...int32) {
	t.Helper()
	var got []int32
	for _, p := range in.service(t).Spec.Ports {
		got = append(got, p.Port)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%s: the Service has the ports %v, want %v", when, got, want)
	}
}

func TestReleaseOnARealAPIServer(t *testing.T) { // alone: the CRD is the cluster's
	for name, mode := range map[string]string{"server-side apply": "true", "client-side apply": "false"} {
		t.Run(name, func(t *testing.T) {
			in := install(t, "--server-side="+mode)
			in.publish(t, 80, 8443)
			in.ports(t, "installed", 80, 8443, 65535)
			nodePort := in.nodePort(t, in.upgradeToNodePort(t), 80)

			in.do(t, "upgrade", directory, "--reuse-values", "--set", "service.annotations.example=second,replicas=3")
			in.ports(t, "upgraded", 80, 8443, 65535)
			s := in.service(t)
			if s.Annotations["example"] != "second" {
				t.Errorf("the upgrade did not reach the Service: %v", s.Annotations)
			}
			if now := in.nodePort(t, s, 80); now != nodePort {
				t.Errorf("port 80 had the node port %d, and has %d after an upgrade", nodePort, now)
			}
			// The placeholder may take the place of a port that the controller has listed, with a node port of its own.
			in.do(t, "upgrade", directory, "--reuse-values", "--set", "service.placeholder.port=8443,service.placeholder.nodePort=30843")
			in.publish(t, 80, 8443)
			in.ports(t, "placeholder moved", 80, 8443)
			if now := in.nodePort(t, in.service(t), 8443); now != 30843 {
				t.Errorf("port 8443 has the node port %d", now)
			}

			in.do(t, "rollback", "", "1")
			in.publish(t, 80, 8443)
			in.ports(t, "rolled back", 80, 8443, 65535)
			in.publish(t)
			in.ports(t, "without ProxyServices", 65535)

			in.checkCRD(t)
			in.do(t, "uninstall", "")
			if _, err := in.plane.TryKubectl("", "get", "customresourcedefinition", crdName); err != nil {
				t.Errorf("uninstalling took the CRD away: %v", err)
			}
			in.plane.Kubectl(t, "--namespace", in.space, "get", "proxyservice", "kept")
			in.do(t, "install", directory, "--server-side="+mode) // takes what it has left
			// One release has the CRD; a second one lives beside it.
			other := []string{"install", "second", directory, "--namespace", in.space, "--set", "className=second"}
			if _, said, ok := in.try(t, other...); ok || !strings.Contains(said, crdName) {
				t.Errorf("a second release with the CRD was installed: %s", said)
			}
			in.run(t, append(other, "--set", "crds.install=false")...)
			in.run(t, "uninstall", "second", "--namespace", in.space)
			in.do(t, "uninstall", "")
			in.plane.Kubectl(t, "delete", "customresourcedefinition", crdName)
		})
	}
}

func (in *installation) upgradeToNodePort(t *testing.T) corev1.Service {
	t.Helper()
	in.do(t, "upgrade", directory, "--set", "service.type=NodePort,service.annotations.example=first")
	return in.service(t)
}

func (in *installation) nodePort(t *testing.T, s corev1.Service, port int32) int32 {
	t.Helper()
	i := slices.IndexFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == port })
	if i < 0 || s.Spec.Ports[i].NodePort == 0 {
		t.Fatalf("port %d has no node port: %v", port, s.Spec.Ports)
	}
	return s.Spec.Ports[i].NodePort
}

// checkCRD upgrades to a chart with another CRD while an object of it exists.
func (in *installation) checkCRD(t *testing.T) {
	t.Helper()
	const object = `{"apiVersion": "pingora-proxy.dev/v1alpha1", "kind": "ProxyService", "metadata": {"name": "kept"},
		"spec": {"bindAddress": "0.0.0.0:8080", "upstreams": ["192.0.2.1:80"]}}`
	if _, err := in.plane.TryKubectl(object, "--namespace", in.space, "apply", "--filename=-"); err != nil {
		t.Fatal(err)
	}
	next := filepath.Join(t.TempDir(), "pingora-proxy")
	if err := os.CopyFS(next, os.DirFS(directory)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(next, "files/proxyservices.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var crd map[string]any
	if err := yaml.Unmarshal(text, &crd); err != nil {
		t.Fatal(err)
	}
	names := crd["spec"].(map[string]any)["names"].(map[string]any)
	names["shortNames"] = append(names["shortNames"].([]any), "pxsnext")
	if text, err = yaml.Marshal(crd); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	in.do(t, "upgrade", next, "--reuse-values")
	got := in.plane.Kubectl(t, "get", "customresourcedefinition", crdName, "--output=jsonpath={.spec.names.shortNames}")
	if diff := cmp.Diff(`["pxs","pxsnext"]`, got); diff != "" {
		t.Errorf("helm upgrade did not upgrade the CRD:\n%s", diff)
	}
}
