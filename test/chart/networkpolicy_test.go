package chart

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"
)

// opened are the rules of the chart's NetworkPolicy, each as its ports and the number of its peers.
func opened(t *testing.T, set ...string) []string {
	t.Helper()
	args := []string{"template", release, directory, "--set", "networkPolicy.enabled=true"}
	for _, s := range set {
		args = append(args, "--set", s)
	}
	var policy networkingv1.NetworkPolicy
	text := find(t, objects(t, newHelm(t, "").run(t, args...)), "NetworkPolicy").text
	if err := yaml.UnmarshalStrict([]byte(text), &policy); err != nil {
		t.Fatal(err)
	}
	var rules []string
	for _, r := range policy.Spec.Ingress {
		var ports []string
		for _, p := range r.Ports {
			text := p.Port.String()
			if p.EndPort != nil {
				text += fmt.Sprintf("-%d", *p.EndPort)
			}
			ports = append(ports, text)
		}
		rules = append(rules, fmt.Sprintf("%s from %d", strings.Join(ports, " "), len(r.From)))
	}
	return rules
}

// The ports of metrics and the admin API, as they are configured, are never among those of clients. No peers are everybody.
func TestNetworkPolicyKeepsClientsFromItsOwnPorts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		set  []string
		want []string
	}{
		"default": {nil, []string{"1-9101 9103-9900 9902-65535 from 0", "9102 from 1"}},
		"admin for all": {
			[]string{"config.admin.bind_address=0.0.0.0:9901"},
			[]string{"1-9101 9103-9900 9902-65535 from 0", "9102 from 1"},
		},
		"range": {[]string{"allowedPorts={80,9000-9999}"}, []string{"80 9000-9101 9103-9900 9902-9999 from 0", "9102 from 1"}},
		"other addresses": {
			[]string{"allowedPorts={80,9000-9999}", "config.metrics.bind_address=[::]:9300", "config.admin.bind_address=[::]:9200"},
			[]string{"80 9000-9199 9201-9299 9301-9999 from 0", "9300 from 1"},
		},
		"neighbours": {
			[]string{"config.metrics.bind_address=0.0.0.0:2", "config.admin.bind_address=0.0.0.0:1"},
			[]string{"3-65535 from 0", "2 from 1"},
		},
		"ends": {
			[]string{"config.metrics.bind_address=0.0.0.0:1", "config.admin.bind_address=0.0.0.0:65535", "service.placeholder.port=80"},
			[]string{"2-65534 from 0", "1 from 1"},
		},
		"ends of ranges": {
			[]string{"allowedPorts={9102-9104,9100-9102,9102-9103,9100-9101,9103-9104,9900-9902}"},
			[]string{"9103-9104 9100-9101 9103 9100-9101 9103-9104 9900 9902 from 0", "9102 from 1"},
		},
		"nothing left":   {[]string{"allowedPorts={9102,9901}"}, []string{"9102 from 1"}},
		"admin off":      {[]string{"config.admin.bind_address=off"}, []string{"1-9101 9103-65535 from 0", "9102 from 1"}},
		"admin anywhere": {[]string{"config.admin.bind_address=127.0.0.1:0"}, []string{"1-9101 9103-65535 from 0", "9102 from 1"}},
		"peers": {
			[]string{"allowedPorts={80}", "networkPolicy.from[0].ipBlock.cidr=192.0.2.0/24", "networkPolicy.metricsFrom[0].ipBlock.cidr=192.0.2.0/24"},
			[]string{"80 from 1", "9102 from 2"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, opened(t, c.set...)); diff != "" {
				t.Errorf("open (-want +got):\n%s", diff)
			}
		})
	}
}
