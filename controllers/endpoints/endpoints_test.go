package endpoints_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/controllers/endpoints"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/realm"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

const (
	v4   = discoveryv1.AddressTypeIPv4
	v6   = discoveryv1.AddressTypeIPv6
	fqdn = discoveryv1.AddressTypeFQDN
)

// A slice has the ports and endpoints that are given.
func slice(family discoveryv1.AddressType, parts ...any) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{AddressType: family}
	for _, p := range parts {
		switch p := p.(type) {
		case discoveryv1.EndpointPort:
			s.Ports = append(s.Ports, p)
		case discoveryv1.Endpoint:
			s.Endpoints = append(s.Endpoints, p)
		default:
			panic(fmt.Sprintf("%T", p))
		}
	}
	return s
}

func port(name string, number int32) discoveryv1.EndpointPort {
	return discoveryv1.EndpointPort{Name: &name, Port: &number}
}

// endpoint has the conditions ready, serving and terminating, written y, n, or - for one that is not there.
func endpoint(conditions string, addresses ...string) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Addresses: addresses}
	for i, field := range []**bool{&e.Conditions.Ready, &e.Conditions.Serving, &e.Conditions.Terminating} {
		if c := conditions[i]; c != '-' {
			*field = new(c == 'y')
		}
	}
	return e
}

func TestOf(t *testing.T) {
	http := port("http", 8080)
	udp := corev1.ProtocolUDP
	unnamed := discoveryv1.EndpointPort{Port: new(int32(80))}
	datagrams := discoveryv1.EndpointPort{Name: new("http"), Port: new(int32(53)), Protocol: &udp}
	for name, c := range map[string]struct {
		families []corev1.IPFamily
		port     string // http, unless it is -
		list     []*discoveryv1.EndpointSlice
		want     []string
	}{
		"no slice":    {},
		"no endpoint": {list: []*discoveryv1.EndpointSlice{slice(v4, http)}},
		"ready ones, sorted": {
			list: []*discoveryv1.EndpointSlice{slice(v4, http, endpoint("yyn", "10.0.0.10"), endpoint("yyn", "10.0.0.9"))},
			want: []string{"10.0.0.9:8080", "10.0.0.10:8080"},
		},
		"without conditions it is ready": {
			list: []*discoveryv1.EndpointSlice{slice(v4, http, endpoint("---", "10.0.0.1"))}, want: []string{"10.0.0.1:8080"},
		},
		"not ready": {list: []*discoveryv1.EndpointSlice{slice(v4, http, endpoint("nnn", "10.0.0.1"), endpoint("n--", "10.0.0.2"))}},
		// The node's word on a Pod that fails its probe: it serves nothing, even where nothing else does.
		"not ready, and not terminating": {list: []*discoveryv1.EndpointSlice{slice(v4, http, endpoint("nyn", "10.0.0.1"), endpoint("ny-", "10.0.0.2"))}},
		"terminating ones beside a ready one": {
			list: []*discoveryv1.EndpointSlice{slice(v4, http, endpoint("nyy", "10.0.0.1"), endpoint("yyn", "10.0.0.2"))},
			want: []string{"10.0.0.2:8080"},
		},
		"terminating ones alone": {
			list: []*discoveryv1.EndpointSlice{slice(v4, http, endpoint("nyy", "10.0.0.1"), endpoint("nny", "10.0.0.2"), endpoint("n-y", "10.0.0.3"))},
			want: []string{"10.0.0.1:8080"},
		},
		"a terminating one in another slice than the ready one": {
			list: []*discoveryv1.EndpointSlice{slice(v4, http, endpoint("nyy", "10.0.0.1")), slice(v4, http, endpoint("yyn", "10.0.0.2"))},
			want: []string{"10.0.0.2:8080"},
		},
		// publishNotReadyAddresses makes ready what terminates.
		"ready and terminating": {
			list: []*discoveryv1.EndpointSlice{slice(v4, http, endpoint("yyy", "10.0.0.1"), endpoint("yny", "10.0.0.2"))},
			want: []string{"10.0.0.1:8080", "10.0.0.2:8080"},
		},
		"dual stack: every Pod once": {
			families: []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol},
			list:     []*discoveryv1.EndpointSlice{slice(v6, http, endpoint("yyn", "fd00::1")), slice(v4, http, endpoint("yyn", "10.0.0.1"))},
			want:     []string{"10.0.0.1:8080"},
		},
		"dual stack, IPv6 first": {
			families: []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol},
			list:     []*discoveryv1.EndpointSlice{slice(v6, http, endpoint("yyn", "fd00::1")), slice(v4, http, endpoint("yyn", "10.0.0.1"))},
			want:     []string{"[fd00::1]:8080"},
		},
		"dual stack: what terminates in the first family before what is ready in the other": {
			families: []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol},
			list:     []*discoveryv1.EndpointSlice{slice(v6, http, endpoint("yyn", "fd00::1")), slice(v4, http, endpoint("nyy", "10.0.0.1"))},
			want:     []string{"10.0.0.1:8080"},
		},
		"a slice of a family that the Service does not have": {
			families: []corev1.IPFamily{corev1.IPv4Protocol},
			list:     []*discoveryv1.EndpointSlice{slice(v6, http, endpoint("yyn", "fd00::1"))}, want: []string{"[fd00::1]:8080"},
		},
		"a named port with another number in each slice": {
			list: []*discoveryv1.EndpointSlice{
				slice(v4, port("metrics", 9), http, endpoint("yyn", "10.0.0.1")), slice(v4, port("http", 8081), endpoint("yyn", "10.0.0.2")),
				slice(v4, port("metrics", 9), endpoint("yyn", "10.0.0.3")),
			},
			want: []string{"10.0.0.1:8080", "10.0.0.2:8081"},
		},
		"one address with two numbers": {
			list: []*discoveryv1.EndpointSlice{slice(v4, http, endpoint("yyn", "10.0.0.1")), slice(v4, port("http", 8081), endpoint("yyn", "10.0.0.1"))},
			want: []string{"10.0.0.1:8080", "10.0.0.1:8081"},
		},
		"the port without a name": {
			port: "-", list: []*discoveryv1.EndpointSlice{slice(v4, unnamed, endpoint("yyn", "10.0.0.1")), slice(v4, http, endpoint("yyn", "10.0.0.2"))},
			want: []string{"10.0.0.1:80"},
		},
		"names":           {list: []*discoveryv1.EndpointSlice{slice(fqdn, http, endpoint("yyn", "a.example"))}},
		"UDP":             {list: []*discoveryv1.EndpointSlice{slice(v4, datagrams, endpoint("yyn", "10.0.0.1"))}},
		"UDP before TCP":  {list: []*discoveryv1.EndpointSlice{slice(v4, datagrams, http, endpoint("yyn", "10.0.0.1"))}, want: []string{"10.0.0.1:8080"}},
		"no number":       {list: []*discoveryv1.EndpointSlice{slice(v4, discoveryv1.EndpointPort{Name: new("http")}, endpoint("yyn", "10.0.0.1"))}},
		"no address":      {list: []*discoveryv1.EndpointSlice{slice(v4, http, endpoint("yyn"))}},
		"no such address": {list: []*discoveryv1.EndpointSlice{slice(v4, http, endpoint("yyn", "x"), endpoint("yyn", "10.0.0.1"))}, want: []string{"10.0.0.1:8080"}},
		"several addresses of one Pod": {
			list: []*discoveryv1.EndpointSlice{slice(v4, http, endpoint("yyn", "10.0.0.1", "10.0.0.2"))}, want: []string{"10.0.0.1:8080"},
		},
		"one that moves is in two slices": {
			list: []*discoveryv1.EndpointSlice{slice(v4, http, endpoint("yyn", "10.0.0.1")), slice(v4, http, endpoint("yyn", "10.0.0.1"), endpoint("yyn", "10.0.0.2"))},
			want: []string{"10.0.0.1:8080", "10.0.0.2:8080"},
		},
		"IPv4 in the words of IPv6 is the same": {
			list: []*discoveryv1.EndpointSlice{slice(v6, http, endpoint("yyn", "::ffff:10.0.0.1"), endpoint("yyn", "::ffff:a00:1"))},
			want: []string{"10.0.0.1:8080"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			service := &corev1.Service{Spec: corev1.ServiceSpec{IPFamilies: c.families}}
			name := "http"
			if c.port == "-" {
				name = ""
			}
			reversed := slices.Clone(c.list)
			slices.Reverse(reversed)
			for _, list := range [][]*discoveryv1.EndpointSlice{c.list, reversed} { // the API server promises no order
				var got []string
				for _, e := range endpoints.Of(service, name, list) {
					got = append(got, e.Addr.String())
					if e.Weight != 1 {
						t.Errorf("%v has the weight %d", e.Addr, e.Weight)
					}
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("got %v, want %v", got, c.want)
				}
			}
		})
	}
}

// The caches hold what is read: nothing of it may change.
func TestOfChangesNothing(t *testing.T) {
	list := []*discoveryv1.EndpointSlice{slice(v4, port("http", 1), endpoint("yyn", "10.0.0.2"), endpoint("yyn", "10.0.0.1"))}
	before := list[0].DeepCopy()
	service := &corev1.Service{Spec: corev1.ServiceSpec{IPFamilies: []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}}}
	want := []snapshot.Endpoint{
		{Addr: netip.MustParseAddrPort("10.0.0.1:1"), Weight: 1}, {Addr: netip.MustParseAddrPort("10.0.0.2:1"), Weight: 1},
	}
	if diff := cmp.Diff(fmt.Sprint(want), fmt.Sprint(endpoints.Of(service, "http", list))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(before, list[0]); diff != "" {
		t.Error(diff)
	}
}

func TestService(t *testing.T) {
	for name, c := range map[string]struct {
		spec corev1.ServiceSpec
		want realm.KubeService
	}{
		"ports": {
			corev1.ServiceSpec{Ports: []corev1.ServicePort{
				{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP},
				{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP},
				{Name: "more", Port: 81},
				{Name: "sctp", Port: 82, Protocol: corev1.ProtocolSCTP},
			}},
			realm.KubeService{Ports: []realm.KubePort{{Name: "http", Number: 80}, {Name: "more", Number: 81}}},
		},
		"external name": {
			corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "x.example"}, realm.KubeService{ExternalName: "x.example"},
		},
		// The API server keeps the name of a Service that was of this type once.
		"an external name that was": {
			corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ExternalName: "x.example"}, realm.KubeService{},
		},
		"headless": {
			corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Ports: []corev1.ServicePort{{Port: 80}}},
			realm.KubeService{Ports: []realm.KubePort{{Number: 80}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, endpoints.Service(&corev1.Service{Spec: c.spec})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestZones(t *testing.T) {
	hinted := func(address string, zones ...string) discoveryv1.Endpoint {
		e := endpoint("yyn", address)
		e.Hints = &discoveryv1.EndpointHints{}
		for _, z := range zones {
			e.Hints.ForZones = append(e.Hints.ForZones, discoveryv1.ForZone{Name: z})
		}
		return e
	}
	got := endpoints.Of(&corev1.Service{}, "http", []*discoveryv1.EndpointSlice{
		slice(v4, port("http", 80), hinted("10.0.0.1", "b", "a"), hinted("10.0.0.2"), endpoint("yyn", "10.0.0.3")),
		slice(v4, port("http", 80), hinted("10.0.0.1", "c")), // it moves between slices
	})
	at := func(a, zones string) snapshot.Endpoint {
		return snapshot.Endpoint{Addr: netip.MustParseAddrPort(a), Weight: 1, Zones: zones}
	}
	want := []snapshot.Endpoint{at("10.0.0.1:80", "a,b"), at("10.0.0.2:80", ""), at("10.0.0.3:80", "")}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
