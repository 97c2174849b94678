package translate_test

import (
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/material"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate/realm"
)

// fronted makes an object with another face.
func fronted(name, address string, change func(s *v1alpha1.ProxyServiceSpec)) translate.Service {
	s := spec(name, address)
	change(&s.Spec)
	return s
}

func tcpService(s *v1alpha1.ProxyServiceSpec) { s.Protocol, s.Retry = new(v1alpha1.ProtocolTCP), nil }

func tcpOverTLS(mode v1alpha1.TLSMode, hosts ...string) func(s *v1alpha1.ProxyServiceSpec) {
	return func(s *v1alpha1.ProxyServiceSpec) {
		tcpService(s)
		s.Hosts, s.TLS, s.TLSConfig = hosts, new(true), &v1alpha1.TLSConfig{Mode: &mode}
	}
}

func proxied(networks ...string) func(s *v1alpha1.ProxyServiceSpec) {
	return func(s *v1alpha1.ProxyServiceSpec) {
		s.ClientIP = &v1alpha1.ClientIP{ProxyProtocol: new(true), TrustedProxies: networks}
	}
}

func redirecting(from string, hosts ...string) func(s *v1alpha1.ProxyServiceSpec) {
	return func(s *v1alpha1.ProxyServiceSpec) {
		s.Hosts, s.TLS, s.TLSConfig = hosts, new(true), &v1alpha1.TLSConfig{RedirectHTTPFrom: &from}
	}
}

func onHost(host string) func(s *v1alpha1.ProxyServiceSpec) {
	return func(s *v1alpha1.ProxyServiceSpec) { s.Hosts = []string{host} }
}

// TestSharedAddresses: who is alike shares an address; who is not leaves it to the older one, which serves on.
func TestSharedAddresses(t *testing.T) {
	const a = "0.0.0.0:8443"
	for _, tt := range []struct {
		name     string
		old, new translate.Service
		reason   string // empty: both have it
		field    string
		words    string
	}{
		{"HTTP and TCP", spec("old", a), fronted("new", a, tcpService), v1alpha1.ReasonListenerConflict, "bindAddress", "only one of both has `protocol: TCP`"},
		{"two of TCP", fronted("old", a, tcpService), fronted("new", a, tcpService), v1alpha1.ReasonListenerConflict, "bindAddress", "which of two TCP services"},
		{
			"passed through", fronted("old", a, tcpOverTLS(v1alpha1.TLSPassthrough, "a.example")),
			fronted("new", a, tcpOverTLS(v1alpha1.TLSPassthrough, "b.example")), "", "", "",
		},
		{
			"passed through, one host", fronted("old", a, tcpOverTLS(v1alpha1.TLSPassthrough, "a.example")),
			fronted("new", a, tcpOverTLS(v1alpha1.TLSPassthrough, "A.example")), v1alpha1.ReasonRouteShadowed, "hosts", "same connections",
		},
		{
			"passed through and not", fronted("old", a, tcpOverTLS(v1alpha1.TLSPassthrough, "a.example")),
			fronted("new", a, tcpOverTLS(v1alpha1.TLSTerminate, "b.example")), v1alpha1.ReasonListenerConflict, "bindAddress", "passes TLS through",
		},
		{
			"passed through and plain", fronted("old", a, tcpOverTLS(v1alpha1.TLSPassthrough, "a.example")),
			fronted("new", a, tcpService), v1alpha1.ReasonListenerConflict, "bindAddress", "passes TLS through",
		},
		{
			"PROXY headers", fronted("old", a, proxied("10.0.0.0/8", "192.0.2.1")),
			fronted("new", a, func(s *v1alpha1.ProxyServiceSpec) {
				onHost("b.example")(s)
				proxied("192.0.2.1/32", "10.0.0.0/8")(s)
			}), "", "", "",
		},
		{"PROXY headers of one", fronted("old", a, onHost("a.example")), fronted("new", a, proxied("10.0.0.0/8")), v1alpha1.ReasonListenerConflict, "bindAddress", "`proxyProtocol: true`"},
		{"PROXY headers of others", fronted("old", a, proxied("10.0.0.0/8")), fronted("new", a, proxied("10.0.0.0/8", "0.0.0.0/0")), v1alpha1.ReasonListenerConflict, "bindAddress", "same `trustedProxies`"},
		{
			"redirections", fronted("old", "0.0.0.0:1", redirecting(a, "a.example")),
			fronted("new", "0.0.0.0:2", redirecting(a, "b.example")), "", "", "",
		},
		{"a redirection and plain HTTP", fronted("old", "0.0.0.0:1", redirecting(a, "a.example")), fronted("new", a, onHost("b.example")), "", "", ""},
		{
			"redirections of one host", fronted("old", "0.0.0.0:1", redirecting(a, "a.example")),
			fronted("new", "0.0.0.0:2", redirecting(a, "a.example")), v1alpha1.ReasonRouteShadowed, "tlsConfig.redirectHTTPFrom", "same connections",
		},
		{
			"a redirection from TLS", fronted("old", a, redirecting("0.0.0.0:1", "a.example")),
			fronted("new", "0.0.0.0:2", redirecting(a, "b.example")), v1alpha1.ReasonListenerConflict, "tlsConfig.redirectHTTPFrom", "only one of both has `tls: true`",
		},
		{
			"a redirection from a part of it", spec("old", a),
			fronted("new", "0.0.0.0:2", redirecting("127.0.0.1:8443", "b.example")), v1alpha1.ReasonListenerConflict, "tlsConfig.redirectHTTPFrom", "`127.0.0.1:8443` overlaps `" + a + "`",
		},
		{"TLS where one redirects from", fronted("old", "0.0.0.0:2", redirecting(a, "b.example")), fronted("new", a, redirecting("0.0.0.0:1")), v1alpha1.ReasonListenerConflict, "bindAddress", "only one of both has `tls: true`"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, all := translate.Translate(input(tt.old, tt.new))
			var problems []translate.Problem
			for _, p := range all {
				if !p.Reference() { // there are no certificates
					problems = append(problems, p)
				}
			}
			served := map[string]int{}
			for _, l := range s.Listeners {
				if l.Address != a {
					continue
				}
				for _, v := range l.Services {
					served[v.Name]++
				}
				for _, v := range l.Streams {
					served[v.Name]++
				}
			}
			if served["old"] != 1 {
				t.Errorf("the older one is there %d times", served["old"])
			}
			if tt.reason == "" {
				if len(problems) > 0 || served["new"] != 1 {
					t.Errorf("the newer one is there %d times, %+v", served["new"], problems)
				}
				return
			}
			if served["new"] != 0 || len(problems) != 1 {
				t.Fatalf("the newer one is there %d times, %+v", served["new"], problems)
			}
			if p := problems[0]; p.Service != 1 || p.Holder != 0 || p.Reason != tt.reason || p.Field != tt.field || !strings.Contains(p.Message, tt.words) {
				t.Errorf("%+v, want %s of %s, with %q", p, tt.reason, tt.field, tt.words)
			}
		})
	}
}

// TestRedirectAddressOfAnotherPolicy: the ports that objects may bind hold for redirections too, and the service itself
// serves.
func TestRedirectAddressOfAnotherPolicy(t *testing.T) {
	in := input(fronted("a", "0.0.0.0:8443", redirecting("0.0.0.0:8080", "a.example")))
	in.World = &realm.World{Policy: realm.Policy{Ports: []realm.PortRange{{First: 8443, Last: 8443}}}}
	s, problems := translate.Translate(in)
	found := false
	for _, p := range problems {
		found = found || p.Reason == v1alpha1.ReasonPortNotAllowed && p.Field == "tlsConfig.redirectHTTPFrom"
	}
	if !found || len(s.Listeners) != 1 || s.Listeners[0].Address != "0.0.0.0:8443" {
		t.Errorf("%+v %+v", s.Listeners, problems)
	}
}

// TestClientAuthFailsClosed: without a bundle that can be used nobody comes in, and the owner is told where.
func TestClientAuthFailsClosed(t *testing.T) {
	const field = "tlsConfig.clientAuth.caRef"
	for _, tt := range []struct {
		name    string
		content map[string]material.Content
		words   string
	}{
		{"nothing", nil, "nothing was found"},
		{"a problem", map[string]material.Content{field: {Problem: "Secret `a/b` does not exist"}}, "does not exist"},
		{"no certificate", map[string]material.Content{field: {Data: []byte("x")}}, "holds no certificate"},
		{"a bad one", map[string]material.Content{field: {Data: []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")}}, "cannot be used"},
	} {
		for _, mode := range []v1alpha1.ClientAuthMode{v1alpha1.ClientAuthRequire, v1alpha1.ClientAuthOptional} {
			service := fronted("a", "0.0.0.0:8443", func(s *v1alpha1.ProxyServiceSpec) {
				s.TLS = new(true)
				s.TLSConfig = &v1alpha1.TLSConfig{ClientAuth: &v1alpha1.ClientAuth{Mode: &mode, CARef: &v1alpha1.Reference{}}}
			})
			service.Contents = tt.content
			s, problems := translate.Translate(input(service))
			auth := s.Listeners[0].Services[0].TLS.ClientAuth
			if auth == nil || auth.Invalid == "" || len(auth.CA) > 0 {
				t.Errorf("%s, %s: %+v", tt.name, mode, auth)
			}
			found := false
			for _, p := range problems {
				found = found || p.Field == field && p.Reason == v1alpha1.ReasonInvalidCertificateRef && strings.Contains(p.Message, tt.words)
			}
			if !found {
				t.Errorf("%s, %s: %+v", tt.name, mode, problems)
			}
		}
	}
}
