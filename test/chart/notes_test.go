package chart

import (
	"strings"
	"testing"
)

// notes is what Helm tells the user after an installation.
func notes(t *testing.T, args ...string) string {
	t.Helper()
	all := append([]string{"install", release, directory, "--namespace", namespace, "--dry-run=client"}, args...)
	_, text, ok := strings.Cut(newHelm(t, "").run(t, all...), "NOTES:\n")
	if !ok {
		t.Fatal("no notes")
	}
	return text
}

func TestNotes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args      []string
		has, lack []string
	}{
		"default": {
			has: []string{
				`class "default" in all namespaces`,
				"kubectl --namespace web rollout status deployment/edge-pingora-proxy",
				"helm --namespace web test edge",
				"bindAddress: '0.0.0.0:8080'",
				"port-forward service/edge-pingora-proxy 8080:8080",
			},
			lack: []string{"className", "hostNetwork", "load balancer has"},
		},
		"policy": {
			args: []string{"--values", "testdata/policy.values.yaml", "--set", "watchNamespaces={shop,web}", "--set", "allowedPorts={8000-9000}"},
			has: []string{
				`class "internal" in shop, web`, "className: internal", "kubectl --namespace shop apply", "bindAddress: '0.0.0.0:8000'",
				"[?(@.port==8000)].nodePort",
			},
		},
		"load balancer": {
			args: []string{"--set", "service.type=LoadBalancer"},
			has:  []string{"get service edge-pingora-proxy --watch"},
		},
		"host network": {
			args: []string{"--set", "hostNetwork=true,kind=DaemonSet,service.enabled=false,networkPolicy.enabled=true"},
			has:  []string{"rollout status daemonset/edge-pingora-proxy", "ip_unprivileged_port_start", "do not apply the NetworkPolicy"},
			lack: []string{"port-forward service/"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := notes(t, c.args...)
			for _, s := range c.has {
				if !strings.Contains(text, s) {
					t.Errorf("no %q in:\n%s", s, text)
				}
			}
			for _, s := range c.lack {
				if strings.Contains(text, s) {
					t.Errorf("%q in:\n%s", s, text)
				}
			}
		})
	}
}
