package chart

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pingora-proxy/pingora-proxy/test/harness"
)

// The program does its work with the arguments, the settings and the rights that the chart gives it, and misses none: in
// the whole cluster, and in namespaces without Secrets. Not beside others: its addresses are those of the chart.
func TestControllerWithWhatTheChartGives(t *testing.T) {
	for name, values := range map[string]string{
		"cluster":   "className=default",
		"namespace": "watchNamespaces={SPACE},rbac.secrets=false,className=inner,hostOwnership=Strict,allowedPorts={8080,8443}",
	} {
		t.Run(name, func(t *testing.T) {
			plane := cluster(t)
			space := plane.Namespace(t)
			in := &installation{helm: newHelm(t, plane.Kubeconfig()), plane: plane, space: space}
			in.do(t, "install", directory, "--set", strings.ReplaceAll(values, "SPACE", space))
			defer plane.Kubectl(t, "delete", "customresourcedefinition", crdName)
			defer in.do(t, "uninstall", "")

			said, stop := in.startController(t)
			// What `helm test` does.
			if r := harness.Run(t, nil, "probe", "--timeout=15s", "http://127.0.0.1:9102/readyz"); r.Code != 0 {
				t.Fatalf("not ready: %s\n%s", r.Stderr, said())
			}
			class := "default"
			if name == "namespace" {
				class = "inner"
			}
			// An object that names what is none of its business, nor perhaps of the controller's.
			stray := `{"apiVersion": "pingora-proxy.dev/v1alpha1", "kind": "ProxyService", "metadata": {"name": "stray"},
				"spec": {"className": "` + class + `", "hosts": ["stray.example.com"], "bindAddress": "0.0.0.0:8443",
					"backends": [{"service": {"name": "kubernetes", "namespace": "default", "port": 443}}], "tls": true,
					"tlsConfig": {"certificates": [{"secretRef": {"name": "key", "namespace": "default"}}, {"secretRef": {"name": "key"}}]}}}`
			if _, err := plane.TryKubectl(stray, "--namespace", space, "apply", "--filename=-"); err != nil {
				t.Fatal(err)
			}
			if _, err := plane.TryKubectl("", "--namespace", space, "wait", "--for=condition=ResolvedRefs=false", "--timeout=1m",
				"proxyservice/stray"); err != nil {
				t.Errorf("%v\n%s", err, said())
			}
			if err := in.followNotes(t); err != nil {
				t.Errorf("%v\n%s", err, said())
			}
			if _, err := plane.TryKubectl("", "--namespace", space, "wait", "--for=jsonpath={.spec.ports[?(@.port==8080)].targetPort}=8080",
				"--timeout=1m", "service/edge-pingora-proxy"); err != nil {
				t.Errorf("the Service does not get the port: %v\n%s", err, said())
			}
			if err := stop(); err != nil {
				t.Errorf("SIGTERM: %v\n%s", err, said())
			}
			if strings.Contains(said(), "forbidden") {
				t.Errorf("a right is missing:\n%s", said())
			}
		})
	}
}

// firstService are the commands of the notes that make a ProxyService and wait for it, as somebody would copy them.
var firstService = regexp.MustCompile(`(?ms)^kubectl [^\n]*create deployment .*?^kubectl [^\n]*wait [^\n]*$`)

func (in *installation) followNotes(t *testing.T) error {
	t.Helper()
	commands := firstService.FindString(in.run(t, "get", "notes", release, "--namespace", in.space))
	command := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", commands)
	// kubectl is one of the control plane's programs.
	command.Env = append(in.environment, "PATH="+os.Getenv("KUBEBUILDER_ASSETS")+":"+os.Getenv("PATH"))
	if out, err := command.CombinedOutput(); err != nil || commands == "" {
		return fmt.Errorf("the notes' commands: %w: %s\n%s", err, out, commands)
	}
	return nil
}

// startController runs the program as the chart's pod would, and returns what it has said and what stops it.
func (in *installation) startController(t *testing.T) (said func() string, stop func() error) {
	t.Helper()
	var deployment appsv1.Deployment
	var settings corev1.ConfigMap
	key := types.NamespacedName{Namespace: in.space, Name: "edge-pingora-proxy"}
	if err := in.plane.Client().Get(t.Context(), key, &deployment); err != nil {
		t.Fatal(err)
	}
	if err := in.plane.Client().Get(t.Context(), key, &settings); err != nil {
		t.Fatal(err)
	}
	user, err := in.plane.AddServiceAccount(in.space, deployment.Spec.Template.Spec.ServiceAccountName)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(settings.Data["config.yaml"]), 0o600); err != nil {
		t.Fatal(err)
	}
	// Where the pod has volumes.
	places := strings.NewReplacer("/etc/pingora-proxy", dir, "/run/pingora-proxy", dir)
	args := []string{}
	for _, a := range deployment.Spec.Template.Spec.Containers[0].Args {
		args = append(args, places.Replace(a))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	command := exec.CommandContext(ctx, harness.Binary(t), append(args, "--kubeconfig="+user.Kubeconfig)...)
	command.Env = append(os.Environ(), "POD_NAME=pod-1", "POD_NAMESPACE="+in.space, "POD_UID=1", "LOG_LEVEL=info")
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	if err := command.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		defer cancel()
		_ = command.Process.Signal(syscall.SIGTERM)
		return command.Wait()
	}
	t.Cleanup(func() { _ = stop() })
	return func() string { _ = stop(); return out.String() }, stop
}

// A pod that never reached the API server stops as any other.
func TestControllerStopsWithoutAPIServer(t *testing.T) {
	dir := t.TempDir()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	const nobody = `{"apiVersion": "v1", "kind": "Config", "current-context": "a", "users": [{"name": "a", "user": {}}],
		"clusters": [{"name": "a", "cluster": {"server": "http://127.0.0.1:1"}}], "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}]}`
	if err := os.WriteFile(kubeconfig, []byte(nobody), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, harness.Binary(t), "controller", "--kubeconfig="+kubeconfig, "--namespace=web",
		"--metrics-bind-address=127.0.0.1:9102", "--admin-bind-address=off")
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	live := harness.Run(t, nil, "probe", "--timeout=15s", "http://127.0.0.1:9102/livez")
	_ = command.Process.Signal(syscall.SIGTERM)
	if err := command.Wait(); err != nil || live.Code != 0 {
		t.Errorf("SIGTERM: %v, /livez: %s", err, live.Stderr)
	}
}
