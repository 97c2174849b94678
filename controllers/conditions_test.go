package controllers_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers"
	"github.com/pingora-proxy/pingora-proxy/controllers/replica"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/realm"
	"github.com/pingora-proxy/pingora-proxy/test/kube"
)

// awaitEvent waits for an Event about a ProxyService.
func (s *site) awaitEvent(t *testing.T, name, kind, reason, note string) {
	t.Helper()
	kube.Eventually(t, kube.Patience, func() error {
		var list eventsv1.EventList
		if err := s.Client().List(t.Context(), &list, client.InNamespace(s.ns)); err != nil {
			return err
		}
		var told []string
		for _, e := range list.Items {
			if e.Regarding.Kind != "ProxyService" || e.Regarding.Name != name {
				continue
			}
			told = append(told, fmt.Sprintf("%s %s: %s", e.Type, e.Reason, e.Note))
			if e.Type == kind && e.Reason == reason && strings.Contains(e.Note, note) {
				return nil
			}
		}
		return fmt.Errorf("no Event %s %s: …%s… about %s among %q", kind, reason, note, name, told)
	})
}

// A trouble is a spec that is not good in every respect: what its conditions say, what is served of it, and what mends it.
type trouble struct {
	spec string
	want []string // conditions
	kind string   // the condition that has the message
	says string
	ask  map[string]string // answers, by the URL
	mend string            // a spec without the trouble
}

func troubles() map[string]trouble {
	const (
		good      = "backends: [{service: {name: web, port: 80}}]"
		serves    = "Programmed=True/Programmed"
		refused   = "Programmed=False/NotAccepted"
		accepted  = "Accepted=True/Accepted"
		missing   = "ResolvedRefs=False/BackendNotFound"
		forbidden = "ResolvedRefs=False/RefNotPermitted"
		noCert    = "ResolvedRefs=False/InvalidCertificateRef"
		resolved  = "ResolvedRefs=True/ResolvedRefs"
	)
	all := map[string]trouble{
		"port-not-allowed": {
			"bindAddress: '${host}:9999', " + good,
			[]string{"Accepted=False/PortNotAllowed", resolved, refused},
			"Accepted", "port 9999 is not among those", nil, "bindAddress: '${host}:#', " + good,
		},
		"loopback": {
			"bindAddress: '${host}:#', upstreams: ['127.0.0.1:80']",
			[]string{"Accepted=False/AddressNotAllowed", refused},
			"Accepted", "upstreams[0]: `127.0.0.1:80` is an address of the proxy's own machine",
			map[string]string{"a/": "503"},
			"bindAddress: '${host}:#', " + good,
		},
		"metadata": { // of the cloud; the rest serves
			"bindAddress: '${host}:#', " + good + ", routes: [{name: r, matches: [{path: {value: /r}}], backends: [{address: '169.254.169.254:80'}]}]",
			[]string{"Accepted=False/AddressNotAllowed", refused, "r:Accepted=False/AddressNotAllowed", "r:ResolvedRefs=True/ResolvedRefs"},
			"Programmed", "the rest of it is served",
			map[string]string{"a/": "200 web-1", "a/r": "503"},
			"bindAddress: '${host}:#', " + good,
		},
		"regex": { // which CEL does not look into
			"bindAddress: '${host}:#', " + good + `, routes: [{name: bad, matches: [{path: {type: Regex, value: '^/('}, methods: [POST]}]},
              {name: fine, matches: [{path: {value: /fine}}]}]`,
			[]string{"Accepted=False/Invalid", refused, "bad:Accepted=False/Invalid", "fine:Accepted=True/Accepted"},
			"Accepted", "routes[0].matches[0].path.value: invalid regular expression",
			map[string]string{"a/": "200 web-1", "a/fine": "200 web-1"},
			"bindAddress: '${host}:#', " + good,
		},
		"no-service": {
			"bindAddress: '${host}:#', backends: [{service: {name: nobody, port: 80}}]",
			[]string{accepted, missing, serves},
			"ResolvedRefs", "Service `${ns}/nobody` does not exist",
			map[string]string{"a/": "503"},
			"bindAddress: '${host}:#', " + good,
		},
		"no-port": {
			"bindAddress: '${host}:#', backends: [{service: {name: web, port: 81}}, {service: {name: web, port: htpp}}, {service: {name: web, port: http}}]",
			[]string{accepted, missing, serves},
			"ResolvedRefs", "Service `${ns}/web` has no port htpp",
			map[string]string{"a/": "200 web-1"},
			"bindAddress: '${host}:#', " + good,
		},
		"route-without-service": {
			"bindAddress: '${host}:#', " + good + ", routes: [{name: r, matches: [{path: {value: /r}}], backends: [{service: {name: nobody, port: 80}}]}, {name: q, matches: [{path: {value: /q}}]}]",
			[]string{accepted, missing, serves, "r:ResolvedRefs=False/BackendNotFound", "r:Accepted=True/Accepted", "q:ResolvedRefs=True/ResolvedRefs"},
			"ResolvedRefs", "routes[0].backends[0]",
			map[string]string{"a/": "200 web-1", "a/r": "503", "a/q": "200 web-1"},
			"bindAddress: '${host}:#', " + good,
		},
		"other-namespace": {
			"bindAddress: '${host}:#', backends: [{service: {name: web, namespace: kube-system, port: 80}}]",
			[]string{accepted, forbidden, serves},
			"ResolvedRefs", "a ReferenceGrant in `kube-system` must allow",
			map[string]string{"a/": "503"},
			"bindAddress: '${host}:#', " + good,
		},
		"external-name": {
			"bindAddress: '${host}:#', backends: [{service: {name: outside, port: 80}}]",
			[]string{accepted, forbidden, serves},
			"ResolvedRefs", "is of type ExternalName",
			map[string]string{"a/": "503"},
			"bindAddress: '${host}:#', " + good,
		},
		"no-certificate": {
			"bindAddress: '${host}:#', tls: true, " + good,
			[]string{accepted, noCert, serves},
			"ResolvedRefs", "`tls: true` needs a certificate",
			nil, "bindAddress: '${host}:#', " + good,
		},
		"no-secret": {
			"bindAddress: '${host}:#', tls: true, tlsConfig: {certificates: [{secretRef: {name: nowhere}}]}, " + good,
			[]string{accepted, noCert, serves},
			"ResolvedRefs", "Secret `${ns}/nowhere` does not exist", nil, "bindAddress: '${host}:#', " + good,
		},
		"foreign-secret": {
			"bindAddress: '${host}:#', tls: true, tlsConfig: {certificates: [{secretRef: {name: theirs, namespace: kube-system}}]}, " + good,
			[]string{accepted, forbidden, serves},
			"ResolvedRefs", "kube-system/theirs", nil, "bindAddress: '${host}:#', " + good,
		},
		"malformed-secret": {
			"bindAddress: '${host}:#', tls: true, tlsConfig: {certificates: [{secretRef: {name: malformed}}]}, " + good,
			[]string{accepted, noCert, serves},
			"ResolvedRefs", "malformed", nil, "bindAddress: '${host}:#', " + good,
		},
		"bind-failed": {
			"bindAddress: '${host}:7', " + good,
			[]string{"Accepted=False/BindFailed", resolved, refused},
			"Accepted", "address already in use",
			nil, "bindAddress: '${host}:#', " + good,
		},
		"host-not-owned": {
			"bindAddress: '${host}:#', hosts: [b.shop.example], " + good,
			[]string{"Accepted=False/HostNotOwned", "Conflicted=True/HostNotOwned", refused},
			"Accepted", "belongs to namespace", nil, "bindAddress: '${host}:#', hosts: [b.example], " + good,
		},
		"no-tls-here": {
			"bindAddress: '${host}:8', tls: true, " + good,
			[]string{"Accepted=False/ListenerConflict", "Conflicted=True/ListenerConflict", refused},
			"Accepted", "is an address of service `${ns}/a-holder`, and only one of both has `tls: true`", nil, "bindAddress: '${host}:#', " + good,
		},
		"overlap": {
			"bindAddress: '0.0.0.0:8', " + good,
			[]string{"Accepted=False/ListenerConflict", "Conflicted=True/ListenerConflict", refused},
			"Conflicted", "`0.0.0.0:8` overlaps `${host}:8` of service `${ns}/a-holder`", nil, "bindAddress: '${host}:#', " + good,
		},
		"shadowed": {
			"bindAddress: '${host}:8', " + `hosts: [a.example], routes: [{name: mine, matches: [{path: {value: /taken/}}], backends: [{service: {name: web, port: 80}}]},
              {name: free, matches: [{path: {value: /free}}], backends: [{service: {name: web, port: 80}}]}]`,
			[]string{accepted, resolved, serves, "Conflicted=True/RouteShadowed", "mine:Conflicted=True/RouteShadowed", "free:Conflicted=False/NoConflict"},
			"Conflicted", "routes[0].matches[0]: takes the same requests as route `taken` of service `${ns}/a-holder`", nil,
			"bindAddress: '${host}:#', " + good,
		},
		"mirror-elsewhere": { // no copies are sent
			"bindAddress: '${host}:#', " + good + ", routes: [{name: r, matches: [{path: {value: /r}}], filters: [{mirror: {backend: {service: {name: web, namespace: kube-system, port: 80}}}}]}]",
			[]string{accepted, forbidden, serves, "r:Accepted=True/Accepted", "r:ResolvedRefs=False/RefNotPermitted"},
			"ResolvedRefs", "routes[0].filters[0].mirror.backend: Service `kube-system/web` is in another namespace",
			map[string]string{"a/": "200 web-1", "a/r": "200 web-1"},
			"bindAddress: '${host}:#', " + good,
		},
		"mirror-nowhere": {
			"bindAddress: '${host}:#', " + good + ", routes: [{name: r, matches: [{path: {value: /r}}], filters: [{mirror: {backend: {service: {name: nobody, port: 80}}}}]}]",
			[]string{accepted, missing, serves, "r:Accepted=True/Accepted", "r:ResolvedRefs=False/BackendNotFound"},
			"ResolvedRefs", "routes[0].filters[0].mirror.backend: Service `${ns}/nobody` does not exist",
			map[string]string{"a/": "200 web-1", "a/r": "200 web-1"},
			"bindAddress: '${host}:#', " + good,
		},
		"forward-elsewhere": {
			"bindAddress: '${host}:#', " + good + ", auth: {forward: {backend: {address: 'web.kube-system.svc:80'}, path: /}}, routes: [{name: r, matches: [{path: {value: /r}}], auth: {mode: None}}]",
			[]string{accepted, forbidden, serves},
			"ResolvedRefs", "auth.forward.backend: Service `kube-system/web` is in another namespace",
			map[string]string{"a/": "503 invalid_config", "a/r": "200 web-1"},
			"bindAddress: '${host}:#', " + good,
		},
		"forward-home": {
			"bindAddress: '${host}:#', " + good + ", auth: {forward: {backend: {address: '127.0.0.1:80'}, path: /}}",
			[]string{"Accepted=False/AddressNotAllowed", resolved, refused},
			"Accepted", "auth.forward.backend: `127.0.0.1:80` is an address of the proxy's own machine",
			map[string]string{"a/": "503 invalid_config"},
			"bindAddress: '${host}:#', " + good,
		},
		"jwks-metadata": {
			"bindAddress: '${host}:#', " + good + ", auth: {jwt: [{name: p, issuer: 'https://id', audiences: [a], jwksURL: 'http://169.254.169.254/keys'}]}",
			[]string{"Accepted=False/AddressNotAllowed", resolved, refused},
			"Accepted", "auth.jwt[0].jwksURL: `169.254.169.254:80` is an address of the proxy's own machine or its link",
			map[string]string{"a/": "503 invalid_config"},
			"bindAddress: '${host}:#', " + good,
		},
		"jwks-inside": {
			"bindAddress: '${host}:#', " + good + ", auth: {jwt: [{name: p, issuer: 'https://id', audiences: [a], jwksURL: 'https://API.Kube-System.SVC/keys'}]}",
			[]string{accepted, forbidden, serves},
			"ResolvedRefs", "auth.jwt[0].jwksURL: Service `kube-system/api` is in another namespace",
			map[string]string{"a/": "503 invalid_config"},
			"bindAddress: '${host}:#', " + good,
		},
		"redirect-port": { // the service itself is served
			"bindAddress: '${host}:#', tls: true, tlsConfig: {redirectHTTPFrom: '${host}:9999'}, " + good,
			[]string{"Accepted=False/PortNotAllowed", refused},
			"Accepted", "tlsConfig.redirectHTTPFrom: port 9999 is not among those", nil,
			"bindAddress: '${host}:#', " + good,
		},
		"redirect-held": {
			"bindAddress: '${host}:#', tls: true, tlsConfig: {redirectHTTPFrom: '${host}:6'}, " + good,
			[]string{"Accepted=False/ListenerConflict", "Conflicted=True/ListenerConflict", refused},
			"Accepted", "tlsConfig.redirectHTTPFrom: `${host}:6` is an address of service `${ns}/a-stream`, and only one of both has `protocol: TCP`", nil,
			"bindAddress: '${host}:#', " + good,
		},
		"proxied": {
			"bindAddress: '${host}:8', hosts: [proxied.example], clientIP: {proxyProtocol: true, trustedProxies: [10.0.0.0/8]}, " + good,
			[]string{"Accepted=False/ListenerConflict", "Conflicted=True/ListenerConflict", refused},
			"Accepted", "is an address of service `${ns}/a-holder`, and only one of both has `proxyProtocol: true`", nil,
			"bindAddress: '${host}:#', " + good,
		},
		"second-stream": {
			"bindAddress: '${host}:6', protocol: TCP, " + good,
			[]string{"Accepted=False/ListenerConflict", "Conflicted=True/ListenerConflict", refused},
			"Accepted", "without `tls` nothing tells which of two TCP services a client wants", nil,
			"bindAddress: '${host}:#', " + good,
		},
	}
	port := 100
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range all {
			if !yield(name) {
				return
			}
		}
	}) {
		port++
		c := all[name]
		c.spec = strings.ReplaceAll(c.spec, "#", fmt.Sprint(port))
		c.mend = strings.ReplaceAll(c.mend, "#", fmt.Sprint(port))
		all[name] = c
	}
	return all
}

func TestConditions(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	other := s.Namespace(t)
	proxy := s.start(t, func(o *controllers.Options) {
		o.Namespaces = append(o.Namespaces, other, "kube-system")
		o.Policy.Ports = []realm.PortRange{{First: 1, Last: 999}}
		o.Policy.StrictHosts = true
	})
	s.web(t, "web", 1)
	s.ServiceWith(t, s.ns, "outside", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"})
	malformed := s.secret("malformed", map[string][]byte{corev1.TLSCertKey: []byte("no"), corev1.TLSPrivateKeyKey: []byte("no")})
	if err := s.Client().Create(t.Context(), malformed); err != nil {
		t.Fatal(err)
	}
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", s.at(7))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()

	// Those who were there first.
	s.apply(t, strings.ReplaceAll(proxyService("owner", "bindAddress: '${host}:9', hosts: ['*.shop.example'], upstreams: ['10.99.0.9:1']"),
		"metadata: {", "metadata: {namespace: "+other+", "))
	s.apply(t, proxyService("a-holder", `bindAddress: '${host}:8', hosts: [a.example],
  routes: [{name: taken, matches: [{path: {value: /taken}}], backends: [{service: {name: web, port: 80}}]}]`))
	s.apply(t, proxyService("a-stream", "bindAddress: '${host}:6', protocol: TCP, backends: [{service: {name: web, port: 80}}]"))
	s.awaitProgrammed(t, "a-holder")
	s.awaitProgrammed(t, "a-stream")
	s.awaitTick(t)

	all := troubles()
	for name, c := range all {
		s.apply(t, proxyService(name, c.spec))
	}
	expand := strings.NewReplacer("${host}", s.host.String(), "${ns}", s.ns)
	for name, c := range all {
		p := s.awaitStatus(t, name, c.want...)
		if got, want := message(p, c.kind), expand.Replace(c.says); !strings.Contains(got, want) {
			t.Errorf("%s: %s says %q, want %q", name, c.kind, got, want)
		}
		for url, want := range c.ask {
			if got := ask(fmt.Sprint(s.host, c.spec[strings.Index(c.spec, "}:")+1:strings.Index(c.spec, "',")]), url); !strings.HasPrefix(got, want) {
				t.Errorf("%s: %s: %q, want %q", name, url, got, want)
			}
		}
		for _, w := range c.want {
			kind, rest, _ := strings.Cut(w, "=")
			state, reason, _ := strings.Cut(rest, "/")
			if good := (kind == "Conflicted") == (state == "False"); !strings.Contains(kind, ":") && kind != "Programmed" && !good &&
				!strings.Contains(proxy.said(), "does not lead any more") { // whoever loses the lead tells no Events meanwhile
				s.awaitEvent(t, name, corev1.EventTypeWarning, reason, "")
			}
		}
	}
	s.awaitEvent(t, "a-holder", corev1.EventTypeNormal, "Accepted", "")

	// The holder is told of all who want what it has, and serves.
	s.awaitStatus(t, "a-holder", "Accepted=True/Accepted", "Programmed=True/Programmed", "Conflicted=False/Holds", "taken:Conflicted=False/Holds")
	for _, loser := range []string{"/no-tls-here`", "/overlap`", "route `mine` of service `" + s.ns + "/shadowed`"} {
		s.awaitMessage(t, "a-holder", "Conflicted", loser)
	}
	if got := ask(s.at(8), "a.example/taken"); got != "200 web-1" {
		t.Errorf("the holder's route: %s", got)
	}
	if got := ask(s.at(8), "a.example/free"); got != "200 web-1" {
		t.Errorf("the loser's other route: %s", got)
	}

	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	s.awaitProgrammed(t, "bind-failed") // by itself
	if got := ask(s.at(7), "a/"); got != "200 web-1" {
		t.Errorf("a port that is free again: %s", got)
	}
	for name, c := range all {
		s.apply(t, proxyService(name, c.mend))
	}
	for name := range all {
		s.awaitProgrammed(t, name)
	}
	s.awaitProgrammed(t, "a-holder")
}

// awaitTick waits until an object that is made now is younger than all others: creation times are whole seconds.
func (s *site) awaitTick(t *testing.T) {
	t.Helper()
	var first metav1.Time
	for n := 0; ; n++ {
		probe := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, GenerateName: "clock-"}}
		if err := s.Client().Create(t.Context(), probe); err != nil {
			t.Fatal(err)
		}
		if first.IsZero() {
			first = probe.CreationTimestamp
		}
		if first.Before(&probe.CreationTimestamp) {
			return
		}
		if n > 100_000 {
			t.Fatal("time stands still")
		}
	}
}

// Programmed waits for every ready replica, and counts those.
func TestPending(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start(t)
	s.web(t, "web", 1)
	// A replica that does not get on: it renews its Lease, and serves nothing new.
	now := metav1.NowMicro()
	holder, seconds := "replica-b", int32(3600)
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.ns, Name: holder, Labels: map[string]string{replica.ClassLabel: s.class},
			Annotations: map[string]string{replica.VersionAnnotation: "1", replica.ReadyAnnotation: "true"},
		},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &now},
	}
	if err := s.Client().Create(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	s.apply(t, proxyService("shop", "bindAddress: '${host}:80', backends: [{service: {name: web, port: 80}}]"))
	p := s.awaitStatus(t, "shop", "Accepted=True/Accepted", "Programmed=False/Pending")
	if got, want := message(p, "Programmed"), "1 of 2 replicas serve hash "+p.Status.ConfigHash; got != want {
		t.Errorf("message %q, want %q", got, want)
	}
	if r := p.Status.Replicas; r == nil || *r != (v1alpha1.ReplicaCounts{Programmed: 1, Total: 2}) {
		t.Errorf("replicas %v", r)
	}
	s.change(t, lease, func() { lease.Annotations[replica.VersionAnnotation] = p.ResourceVersion })
	p = s.awaitStatus(t, "shop", "Programmed=True/Programmed")
	if r := p.Status.Replicas; r == nil || *r != (v1alpha1.ReplicaCounts{Programmed: 2, Total: 2}) {
		t.Errorf("replicas %v", r)
	}

	// One that is not ready does not count.
	s.change(t, lease, func() { lease.Annotations[replica.ReadyAnnotation] = "false" })
	s.apply(t, proxyService("shop", "bindAddress: '${host}:81', backends: [{service: {name: web, port: 80}}]"))
	s.await(t, "shop", func(p *v1alpha1.ProxyService) error {
		if r := p.Status.Replicas; p.Status.ObservedGeneration != 2 || r == nil || *r != (v1alpha1.ReplicaCounts{Programmed: 1, Total: 1}) {
			return fmt.Errorf("status %+v", p.Status)
		}
		return nil
	})
	s.awaitProgrammed(t, "shop")
}

// change updates an object of the site.
func (s *site) change(t *testing.T, object client.Object, change func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Client().Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
		t.Fatal(err)
	}
	change()
	if err := s.Client().Update(ctx, object); err != nil {
		t.Fatal(err)
	}
}
