package realm_test

import (
	"net/netip"
	"testing"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/realm"
)

func web(namespace *string, port intstr.IntOrString) *v1alpha1.Backend {
	return &v1alpha1.Backend{Service: &v1alpha1.BackendService{Namespace: namespace, Name: "web", Port: port}}
}

func TestResolve(t *testing.T) {
	w := &realm.World{
		Services: map[string]realm.KubeService{
			"team/web":  {Ports: []realm.KubePort{{Name: "http", Number: 80}}},
			"other/web": {ExternalName: "x.example", Ports: []realm.KubePort{{Name: "http", Number: 8080}}},
		},
		Grants: []realm.Grant{{From: "team", Kind: "Service", To: "other", Name: "web"}, {From: "team", Kind: "Service", To: "gone"}},
		Policy: realm.Policy{ClusterDomain: "cluster.local", AllowExternalNames: true},
	}
	for _, c := range []struct {
		name    string
		world   *realm.World
		backend *v1alpha1.Backend
		is      string // the destination's name
		reason  string
	}{
		{"an address in a file", nil, &v1alpha1.Backend{Address: "127.0.0.1:80"}, "addresses", ""},
		{"a name in a file", nil, &v1alpha1.Backend{Address: "Localhost:80"}, "localhost:80", ""},
		{"a Service in a file", nil, web(nil, intstr.FromInt32(80)), "", v1alpha1.ReasonBackendNotFound},
		{"nonsense", nil, &v1alpha1.Backend{Address: "nonsense"}, "", v1alpha1.ReasonInvalid},
		{"an address", w, &v1alpha1.Backend{Address: "10.0.0.1:80"}, "addresses", ""},
		{"an address of the machine", w, &v1alpha1.Backend{Address: "127.0.0.1:80"}, "", v1alpha1.ReasonAddressNotAllowed},
		{"a name", w, &v1alpha1.Backend{Address: "x.example:80"}, "x.example.:80", ""},
		{"a name of the machine", w, &v1alpha1.Backend{Address: "localhost:80"}, "", v1alpha1.ReasonAddressNotAllowed},
		{"a name of the cluster", w, &v1alpha1.Backend{Address: "web.team.svc:80"}, "web.team.svc.cluster.local.:80", ""},
		{"a name of another namespace", w, &v1alpha1.Backend{Address: "api.other.svc:80"}, "", v1alpha1.ReasonRefNotPermitted},
		{"a Service by the port's number", w, web(nil, intstr.FromInt32(80)), "team/web:http", ""},
		{"a Service by the port's name", w, web(new("team"), intstr.FromString("http")), "team/web:http", ""},
		{"a port that is not there", w, web(nil, intstr.FromInt32(81)), "", v1alpha1.ReasonBackendNotFound},
		{"an external name by the port's name", w, web(new("other"), intstr.FromString("http")), "x.example.:8080", ""},
		{"an external name at another port", w, web(new("other"), intstr.FromInt32(443)), "x.example.:443", ""},
		{"an external name without the port", w, web(new("other"), intstr.FromString("admin")), "", v1alpha1.ReasonBackendNotFound},
		{"a Service that is not there", w, web(new("gone"), intstr.FromInt32(80)), "", v1alpha1.ReasonBackendNotFound},
		{"a Service that is not granted", w, web(new("else"), intstr.FromInt32(80)), "", v1alpha1.ReasonRefNotPermitted},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, reason, message := c.world.Resolve("team", c.backend)
			if reason != c.reason || (message == "") != (reason == "") {
				t.Fatalf("%q, %q; want the reason %q", reason, message, c.reason)
			}
			used := d.Origin != nil || d.DNS != nil || d.Plain.IsValid()
			if used != (reason == "") || used && d.Name() != c.is {
				t.Errorf("the destination is %+v, named %q; want %q", d, d.Name(), c.is)
			}
		})
	}
}

// What is of another namespace needs a grant of that kind; what a file names needs none.
func TestMayUseAndRead(t *testing.T) {
	grant := func(kind string) *realm.World {
		return &realm.World{Grants: []realm.Grant{{From: "team", Kind: kind, To: "other", Name: "keys"}}}
	}
	secret := func(namespace *string) *v1alpha1.SecretReference {
		return &v1alpha1.SecretReference{Namespace: namespace, Name: "keys"}
	}
	read := func(kind v1alpha1.ReferenceKind, namespace *string) *v1alpha1.Reference {
		return &v1alpha1.Reference{Kind: &kind, Namespace: namespace, Name: new("keys")}
	}
	for name, c := range map[string]struct{ got, want bool }{
		"no Secret":                      {grant("").MayUse("team", nil), true},
		"a Secret of its own":            {grant("").MayUse("team", secret(nil)), true},
		"a Secret of its own, named":     {grant("").MayUse("team", secret(new("team"))), true},
		"a Secret of another":            {grant("").MayUse("team", secret(new("other"))), false},
		"a Secret that is granted":       {grant("Secret").MayUse("team", secret(new("other"))), true},
		"a Secret in a file":             {(*realm.World)(nil).MayUse("", secret(new("other"))), true},
		"no content":                     {grant("").MayRead("team", nil), true},
		"a content of its own":           {grant("").MayRead("team", read("Secret", nil)), true},
		"a content of another":           {grant("").MayRead("team", read("ConfigMap", new("other"))), false},
		"a content of another kind":      {grant("Secret").MayRead("team", read("ConfigMap", new("other"))), false},
		"a content that is granted":      {grant("ConfigMap").MayRead("team", read("ConfigMap", new("other"))), true},
		"a content in a file":            {(*realm.World)(nil).MayRead("", read("Secret", new("other"))), true},
		"a grant to somebody else":       {grant("Secret").MayUse("else", secret(new("other"))), false},
		"a port, where all are":          {(&realm.World{}).AllowsPort(22), true},
		"a port in a file":               {(*realm.World)(nil).AllowsPort(22), true},
		"a port outside of those listed": {(&realm.World{Policy: realm.Policy{Ports: []realm.PortRange{{First: 80, Last: 81}}}}).AllowsPort(82), false},
		"a port among those listed":      {(&realm.World{Policy: realm.Policy{Ports: []realm.PortRange{{First: 80, Last: 81}}}}).AllowsPort(81), true},
	} {
		if c.got != c.want {
			t.Errorf("%s: %t, want %t", name, c.got, c.want)
		}
	}
}

func TestLocal(t *testing.T) {
	for text, want := range map[string]bool{
		"127.0.0.1": true, "::1": true, "169.254.169.254": true, "fe80::1%eth0": true, "0.0.0.0": true, "0.1.2.3": true,
		"::ffff:127.0.0.1": true, "64:ff9b::7f00:1": true, "2002:7f00:1::": true, "fd00:ec2::254": true, "168.63.129.16": true,
		"10.0.0.1": false, "fd00::1": false, "64:ff9b::a00:1": false, "2002:a00:1::": false, "1.1.1.1": false,
	} {
		if got := realm.Local(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %t, want %t", text, got, want)
		}
	}
}
