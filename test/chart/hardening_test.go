package chart

import (
	"os"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// What the proxy may do is little, whichever way it is installed: no root, no capability, nothing to write to, the system
// calls of RuntimeDefault; and no right that says `*`.
func TestHardening(t *testing.T) {
	t.Parallel()
	installations := map[string][]object{}
	for _, set := range sets(t) {
		installations[set] = objects(t, render(t, set))
	}
	for _, file := range []string{"manager/deployment.yaml", "rbac/role.yaml"} { // kustomize adds names to them
		text, err := os.ReadFile("../../config/" + file)
		if err != nil {
			t.Fatal(err)
		}
		installations["kustomize"] = append(installations["kustomize"], objects(t, string(text))...)
	}
	for name, all := range installations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, wrong := range exposed(pod(t, all)) {
				t.Error(wrong)
			}
			for _, o := range all {
				if o.Kind != "Role" && o.Kind != "ClusterRole" {
					continue
				}
				var role rbacv1.ClusterRole
				if err := yaml.UnmarshalStrict([]byte(o.text), &role); err != nil {
					t.Fatal(err)
				}
				for _, rule := range role.Rules {
					if slices.Contains(slices.Concat(rule.APIGroups, rule.Resources, rule.Verbs, rule.NonResourceURLs, rule.ResourceNames), "*") {
						t.Errorf("%s %s: %v", o.Kind, o.Metadata.Name, rule)
					}
					reads := !slices.ContainsFunc(rule.Verbs, func(verb string) bool { return verb != "get" && verb != "list" && verb != "watch" })
					if slices.Contains(rule.Resources, "secrets") && !reads {
						t.Errorf("%s %s may do more to Secrets than read them: %v", o.Kind, o.Metadata.Name, rule)
					}
				}
			}
		})
	}
}

// exposed says what a pod may that it need not.
func exposed(p corev1.PodSpec) (wrong []string) {
	must := func(ok bool, what string) {
		if !ok {
			wrong = append(wrong, what)
		}
	}
	yes := func(b *bool) bool { return b != nil && *b }
	s := p.SecurityContext
	if s == nil {
		return []string{"the pod has no security context"}
	}
	// Where no number is set the platform, or the image, gives one; the kubelet refuses 0 then.
	must(yes(s.RunAsNonRoot) && (s.RunAsUser == nil || *s.RunAsUser > 0) && (s.RunAsGroup == nil || *s.RunAsGroup > 0), "it may be root")
	must(s.SeccompProfile != nil && s.SeccompProfile.Type == corev1.SeccompProfileTypeRuntimeDefault, "it may make every system call")
	must(!p.HostPID && !p.HostIPC, "it sees other processes of its node")
	for _, v := range p.Volumes {
		must(v.HostPath == nil, "it sees files of its node: "+v.Name)
	}
	for _, c := range slices.Concat(p.InitContainers, p.Containers) {
		s := c.SecurityContext
		if s == nil {
			wrong = append(wrong, c.Name+" has no security context")
			continue
		}
		must(s.RunAsUser == nil && s.RunAsNonRoot == nil && s.SeccompProfile == nil, c.Name+" has it otherwise than its pod")
		must(s.AllowPrivilegeEscalation != nil && !*s.AllowPrivilegeEscalation && !yes(s.Privileged), c.Name+" may become more than it is")
		must(yes(s.ReadOnlyRootFilesystem), c.Name+" may write to its root file system")
		must(s.Capabilities != nil && slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) && len(s.Capabilities.Add) == 0, c.Name+" has capabilities")
	}
	return wrong
}

// What TestHardening looks for is seen where it is missing.
func TestExposedIsSeen(t *testing.T) {
	if wrong := exposed(corev1.PodSpec{}); len(wrong) != 1 {
		t.Errorf("%q", wrong)
	}
	bare := corev1.PodSpec{
		HostPID: true, SecurityContext: &corev1.PodSecurityContext{}, Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}}},
		Containers: []corev1.Container{{Name: "a"}, {Name: "b", SecurityContext: &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_ADMIN"}}}}},
	}
	if wrong := exposed(bare); len(wrong) != 8 {
		t.Errorf("%d: %q", len(wrong), wrong)
	}
}
