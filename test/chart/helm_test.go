package chart

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/kube"
)

const (
	root      = "../.."
	directory = root + "/charts/pingora-proxy"
)

// TestMain finds Helm before the tests get a network of their own, from which nothing could be fetched to build it.
func TestMain(m *testing.M) {
	if os.Getenv("HELM") == "" {
		command := exec.Command(root+"/hack/tool.sh", "helm")
		command.Stderr = os.Stderr // it says when it builds
		path, err := command.Output()
		if err != nil {
			fmt.Fprintf(os.Stderr, "hack/tool.sh helm: %v; or set HELM to the path of a Helm 4\n", err)
			os.Exit(1)
		}
		_ = os.Setenv("HELM", strings.TrimSpace(string(path)))
	}
	os.Exit(kube.Main(m))
}

// A helm runs Helm without what the user of this machine has configured.
type helm struct {
	environment []string
}

// newHelm makes one that talks to the cluster of a kubeconfig, or to none.
func newHelm(t *testing.T, kubeconfig string) *helm {
	t.Helper()
	if kubeconfig == "" {
		kubeconfig = os.DevNull
	}
	home := t.TempDir()
	return &helm{append(os.Environ(),
		"HOME="+home, "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home, "KUBECONFIG="+kubeconfig)}
}

// try runs Helm and returns what it says, its errors included.
func (h *helm) try(t *testing.T, args ...string) (stdout, stderr string, ok bool) {
	t.Helper()
	command := exec.CommandContext(t.Context(), os.Getenv("HELM"), args...)
	command.Env = h.environment
	var out, said bytes.Buffer
	command.Stdout, command.Stderr = &out, &said
	err := command.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), said.String(), err == nil
}

// run runs Helm and fails the test where it fails.
func (h *helm) run(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, ok := h.try(t, args...)
	if !ok {
		t.Fatalf("helm %s: %s", strings.Join(args, " "), stderr)
	}
	return stdout
}
