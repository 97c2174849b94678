package controllers_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pingora-proxy/pingora-proxy/controllers"
	"github.com/pingora-proxy/pingora-proxy/test/traffic"
)

// A named is a content that an object names, and what becomes of the requests that need it.
type named struct {
	setting string // REF stands for the reference
	field   string
	good    string // the content
	works   string // the answer with it
	route   bool   // the setting is that of a route
}

func contentsNamed(t *testing.T) map[string]named {
	t.Helper()
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	keys := fmt.Sprintf(`{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","kid":"k","x":%q}]}`, base64.RawURLEncoding.EncodeToString(public))
	return map[string]named{
		"jwks":    {"auth: {jwt: [{name: p, issuer: 'https://id.example', audiences: [a], jwksRef: REF}]}", "auth.jwt[0].jwksRef", keys, "401", false},
		"users":   {"auth: {basic: {usersRef: REF}}", "auth.basic.usersRef", "u:$2y$05$abcdefghijklmnopqrstuuJ8ZpKkzGQmYyZlq6Kp1FpE0H1hJYb1K\n", "401", true},
		"keys":    {"auth: {apiKey: {keysRef: REF}}", "auth.apiKey.keysRef", "acme:sha256:" + strings.Repeat("0a", 32) + "\n", "401", true},
		"signing": {"requestSigning: {algorithm: HMACSHA256, keyID: e, keyRef: REF}", "requestSigning.keyRef", strings.Repeat("k", 32), "200 web-1", false},
		"sticky":  {"loadBalancing: {sticky: {cookieName: C, keyRef: REF}}", "loadBalancing.sticky.keyRef", strings.Repeat("k", 32), "200 web-1", true},
	}
}

// What an object names decides about its own requests alone: without it they are refused, and the other objects at the same
// address, and its own other routes, do not notice. What vanishes is not used any longer, and what comes back is.
func TestContentsFailClosed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	other := s.Namespace(t)
	p := s.start(t, func(o *controllers.Options) { o.Namespaces = append(o.Namespaces, other) })
	s.web(t, "web", 1)
	s.apply(t, proxyService("load", "bindAddress: '${host}:80', hosts: [load], backends: [{service: {name: web, port: 80}}]"))
	s.awaitProgrammed(t, "load")
	awaitAnswer(t, s.at(80), "load/", "200 web-1")
	load := traffic.Start(t, traffic.Options{Addr: s.at(80), Workers: 1, FreshPercent: 10})
	all := contentsNamed(t)
	for name, n := range all {
		for _, kind := range []string{"Secret", "ConfigMap"} {
			for where, namespace := range map[string]string{"own": s.ns, "theirs": other} {
				host := strings.ToLower(name + "-" + kind + "-" + where)
				setting := strings.Replace(n.setting, "REF", fmt.Sprintf("{name: %s, key: content, kind: %s, namespace: %s}", host, kind, namespace), 1)
				spec := fmt.Sprintf("bindAddress: '${host}:80', hosts: [%s], backends: [{service: {name: web, port: 80}}], ", host)
				if n.route {
					spec += "routes: [{name: r, matches: [{path: {value: /r}}], " + setting + "}]"
				} else {
					spec += setting + ", routes: [{name: r, matches: [{path: {value: /r}}]}]"
				}
				s.apply(t, proxyService(host, spec))
				if where == "theirs" { // it exists, and is good
					create(t, s, kind, namespace, host, map[string]string{"content": n.good})
				}
			}
		}
	}
	for name, n := range all {
		field := n.field
		if n.route {
			field = "routes[0]." + field
		}
		for _, kind := range []string{"Secret", "ConfigMap"} {
			host := strings.ToLower(name + "-" + kind + "-")
			is := func(state, says, answer string) {
				t.Helper()
				want := []string{"Accepted=True/Accepted", "Programmed=True/Programmed", "ResolvedRefs=" + state}
				s.awaitStatus(t, host+"own", want...)
				if says != "" {
					s.awaitMessage(t, host+"own", "ResolvedRefs", field+": "+says)
				}
				awaitAnswer(t, s.at(80), host+"own/r", answer)
				if n.route {
					if got := ask(s.at(80), host+"own/"); got != "200 web-1" {
						t.Errorf("%s: the other route answers %q", host, got)
					}
				}
			}
			what := fmt.Sprintf("%s `%s/%sown`", kind, s.ns, host)
			is("False/RefNotFound", what+" does not exist", "503 invalid_config")
			create(t, s, kind, s.ns, host+"own", map[string]string{"contents": n.good})
			is("False/RefNotFound", what+" has no key `content`", "503 invalid_config")
			change(t, s, kind, host+"own", map[string]string{"content": n.good})
			is("True/ResolvedRefs", "", n.works)
			drop(t, s, kind, host+"own")
			is("False/RefNotFound", what+" does not exist", "503 invalid_config")
			create(t, s, kind, s.ns, host+"own", map[string]string{"content": n.good})
			is("True/ResolvedRefs", "", n.works)

			status := s.awaitStatus(t, host+"theirs", "Accepted=True/Accepted", "Programmed=True/Programmed", "ResolvedRefs=False/RefNotPermitted")
			if got := message(status, "ResolvedRefs"); !strings.Contains(got, field+": "+kind+" `"+other+"/"+host+"theirs`") || !strings.Contains(got, "ReferenceGrant") {
				t.Errorf("%s: %q", host+"theirs", got)
			}
			awaitAnswer(t, s.at(80), host+"theirs/r", "503 invalid_config")
		}
	}
	noLoss(t, "beside objects whose contents come and go", load)
	if text := p.said(); strings.Contains(text, strings.Repeat("k", 32)) || strings.Contains(text, strings.Repeat("0a", 32)) {
		t.Error("the log shows a content")
	}
}

func object(s *site, kind, namespace, name string, data map[string]string) client.Object {
	meta := metav1.ObjectMeta{Namespace: namespace, Name: name}
	if kind == "ConfigMap" {
		return &corev1.ConfigMap{ObjectMeta: meta, Data: data}
	}
	return &corev1.Secret{ObjectMeta: meta, StringData: data}
}

func create(t *testing.T, s *site, kind, namespace, name string, data map[string]string) {
	t.Helper()
	if err := s.Client().Create(t.Context(), object(s, kind, namespace, name, data)); err != nil {
		t.Fatal(err)
	}
}

func change(t *testing.T, s *site, kind, name string, data map[string]string) {
	t.Helper()
	if err := s.Client().Update(t.Context(), object(s, kind, s.ns, name, data)); err != nil {
		t.Fatal(err)
	}
}

func drop(t *testing.T, s *site, kind, name string) {
	t.Helper()
	if err := s.Client().Delete(t.Context(), object(s, kind, s.ns, name, nil)); err != nil {
		t.Fatal(err)
	}
}
