package chart

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// rules reads the rules of every Role and ClusterRole, each as a line "Kind namespace: groups resources names: verbs".
func rules(t *testing.T, set string) []string {
	t.Helper()
	var lines []string
	for _, o := range objects(t, render(t, set)) {
		if o.Kind != "Role" && o.Kind != "ClusterRole" {
			continue
		}
		if strings.HasSuffix(o.Metadata.Name, "-view") || strings.HasSuffix(o.Metadata.Name, "-edit") {
			continue // for people, not for the proxy
		}
		var role rbacv1.ClusterRole
		if err := yaml.Unmarshal([]byte(o.text), &role); err != nil {
			t.Fatal(err)
		}
		for _, r := range role.Rules {
			for _, resource := range r.Resources {
				lines = append(lines, strings.TrimSpace(strings.Join([]string{
					o.Kind, o.Metadata.Namespace, strings.Join(r.APIGroups, ","), resource, strings.Join(r.ResourceNames, ","), strings.Join(r.Verbs, ","),
				}, " | ")))
			}
		}
	}
	slices.Sort(lines)
	return lines
}

func TestRights(t *testing.T) {
	t.Parallel()
	own := []string{
		"Role | web |  | services | edge-pingora-proxy | get,patch",
		"Role | web | coordination.k8s.io | leases |  | get,list,watch,create,update,patch,delete",
	}
	served := func(kind, namespace string, secrets bool) []string {
		lines := []string{
			" | configmaps |  | get,list,watch",
			" | services |  | get,list,watch",
			"discovery.k8s.io | endpointslices |  | get,list,watch",
			"events.k8s.io | events |  | create,patch",
			"gateway.networking.k8s.io | referencegrants |  | get,list,watch",
			"pingora-proxy.dev | proxyservices |  | get,list,watch",
			"pingora-proxy.dev | proxyservices/status |  | patch",
		}
		if secrets {
			lines = append(lines, " | secrets |  | get,list,watch")
		}
		for i := range lines {
			lines[i] = kind + " | " + namespace + " | " + lines[i]
		}
		return lines
	}
	for set, want := range map[string][]string{
		"default":    slices.Concat(own, served("ClusterRole", "", true)),
		"namespaced": slices.Concat(own, served("Role", "shop", false), served("Role", "team-a", false)),
		"policy":     slices.Concat(own, served("Role", "web", true)),
		"minimal":    nil,
	} {
		t.Run(set, func(t *testing.T) {
			t.Parallel()
			slices.Sort(want)
			if diff := cmp.Diff(want, rules(t, set)); diff != "" {
				t.Errorf("rights (-want +got):\n%s", diff)
			}
		})
	}
}

// pod is the template of the workload.
func pod(t *testing.T, all []object) corev1.PodSpec {
	t.Helper()
	kind := "Deployment"
	if !slices.ContainsFunc(all, func(o object) bool { return o.Kind == kind }) {
		kind = "DaemonSet"
	}
	var workload struct {
		Spec struct{ Template corev1.PodTemplateSpec }
	}
	if err := yaml.Unmarshal([]byte(find(t, all, kind).text), &workload); err != nil {
		t.Fatal(err)
	}
	return workload.Spec.Template.Spec
}

func TestGracePeriodCoversSleepAndDrain(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]struct{ sleep, grace int64 }{
		"default":   {10, 10 + 30 + 10},
		"config":    {25, 25 + 86400 + 10},
		"minimal":   {0, 30 + 10},
		"placement": {10, 300},
	} {
		t.Run(set, func(t *testing.T) {
			t.Parallel()
			p := pod(t, objects(t, render(t, set)))
			var sleep int64
			if l := p.Containers[0].Lifecycle; l != nil {
				sleep = l.PreStop.Sleep.Seconds
			}
			if sleep != want.sleep || *p.TerminationGracePeriodSeconds != want.grace {
				t.Errorf("sleep %d s, grace period %d s, want %d and %d", sleep, *p.TerminationGracePeriodSeconds, want.sleep, want.grace)
			}
		})
	}
}

// Pods follow the file: a change of it must not roll them, one of what their fields depend on must.
func TestChangeOfConfigRollsOnlyWhatMustBe(t *testing.T) {
	t.Parallel()
	before := pod(t, objects(t, render(t, "default")))
	same := pod(t, objects(t, render(t, "default", "--set", "config.limits.max_headers=64", "--set", "config.access_log.path=off")))
	if diff := cmp.Diff(before, same); diff != "" {
		t.Errorf("a setting that pods follow changes their template:\n%s", diff)
	}
	for flag, setting := range map[string]string{
		"--metrics-bind-address=0.0.0.0:9200": "config.metrics.bind_address=0.0.0.0:9200",
		"--limits-drain-timeout-secs=300":     "config.limits.drain_timeout_secs=300",
	} {
		if after := pod(t, objects(t, render(t, "default", "--set", setting))); !slices.Contains(after.Containers[0].Args, flag) {
			t.Errorf("%s: no %s in %q", setting, flag, after.Containers[0].Args)
		}
	}
}
