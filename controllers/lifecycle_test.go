package controllers_test

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
)

// counted waits until the status tells so many endpoints.
func counted(healthy, total int32) func(*v1alpha1.ProxyService) error {
	return func(p *v1alpha1.ProxyService) error {
		want := v1alpha1.EndpointCounts{Healthy: healthy, Total: total}
		if e := p.Status.Endpoints; e == nil || *e != want || p.Status.EndpointsSummary != fmt.Sprintf("%d/%d", healthy, total) {
			return fmt.Errorf("endpoints %v (%s), want %v", e, p.Status.EndpointsSummary, want)
		}
		return nil
	}
}

func TestLifecycle(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start(t)
	s.web(t, "web", 2)
	s.web(t, "api", 1)
	s.apply(t, proxyService("shop", "bindAddress: '${host}:80', backends: [{service: {name: web, port: 80}}]"))
	first := s.awaitProgrammed(t, "shop")
	awaitAnswers(t, s.at(80), "any/", "200 web-1", "200 web-2")
	s.await(t, "shop", counted(2, 2))
	if c := first.Status.Replicas; c == nil || *c != (v1alpha1.ReplicaCounts{Programmed: 1, Total: 1}) || first.Status.ObservedGeneration != 1 {
		t.Errorf("replicas %v, generation %d", c, first.Status.ObservedGeneration)
	}
	if !regexp.MustCompile(`^[0-9a-f]{8}$`).MatchString(first.Status.ConfigHash) {
		t.Errorf("configHash %q", first.Status.ConfigHash)
	}

	// A route more, under the same address: the connection stays open, and only the new path goes elsewhere.
	s.apply(t, proxyService("shop", `bindAddress: '${host}:80', backends: [{service: {name: web, port: 80}}],
  routes: [{name: api, matches: [{path: {value: /api}}], backends: [{service: {name: api, port: http}}]}]`))
	second := s.awaitProgrammed(t, "shop")
	awaitAnswers(t, s.at(80), "any/api/x", "200 api-1")
	awaitAnswers(t, s.at(80), "any/apix", "200 web-1", "200 web-2")
	if second.Status.ObservedGeneration != 2 || second.Status.ConfigHash == first.Status.ConfigHash {
		t.Errorf("generation %d, configHash %s after %s", second.Status.ObservedGeneration, second.Status.ConfigHash, first.Status.ConfigHash)
	}
	for _, c := range second.Status.Conditions {
		if c.ObservedGeneration != 2 || c.Message == "" || c.LastTransitionTime.IsZero() {
			t.Errorf("condition %+v", c)
		}
	}
	s.await(t, "shop", counted(3, 3))

	// The first spec again has the first hash. The route is gone from the status, too.
	s.apply(t, proxyService("shop", "bindAddress: '${host}:80', backends: [{service: {name: web, port: 80}}]"))
	third := s.awaitProgrammed(t, "shop")
	if third.Status.ConfigHash != first.Status.ConfigHash || third.Status.ObservedGeneration != 3 || len(third.Status.Routes) != 0 {
		t.Errorf("status %+v", third.Status)
	}
	awaitAnswers(t, s.at(80), "any/api/x", "200 web-1", "200 web-2")

	// Another address: the new one serves, the old one is closed.
	s.apply(t, proxyService("shop", "bindAddress: '${host}:81', backends: [{service: {name: web, port: 80}}]"))
	s.awaitProgrammed(t, "shop")
	awaitAnswers(t, s.at(81), "any/", "200 web-1", "200 web-2")
	awaitAnswer(t, s.at(80), "any/", "refused")
	s.remove(t, "shop")
	awaitAnswer(t, s.at(81), "any/", "refused")
}

// What is there before the proxy starts is served by its first configuration, and there may be nothing.
func TestStart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.web(t, "web", 1)
	s.apply(t, proxyService("shop", "bindAddress: '${host}:80', backends: [{service: {name: web, port: 80}}]"))
	p := s.start(t)
	s.awaitProgrammed(t, "shop")
	if got := ask(s.at(80), "any/"); got != "200 web-1" {
		t.Error(got)
	}
	if n := p.plane.applied.Load(); n < 1 || n > 1+fromOutside {
		t.Errorf("%d configurations, want 1", n)
	}
	p.stop()
	empty := newSite(t)
	nothing := empty.start(t)
	empty.awaitReady(t, nothing)
}

func TestPrinterColumns(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start(t)
	s.web(t, "web", 1)
	s.apply(t, proxyService("shop", "bindAddress: '${host}:80', hosts: [a.example, '*.b.example'], backends: [{service: {name: web, port: 80}}]"))
	s.apply(t, proxyService("shopping", "bindAddress: '${host}:80', tls: true, backends: [{service: {name: web, port: 80}}]"))
	s.await(t, "shop", counted(1, 1))
	s.awaitStatus(t, "shopping", "Programmed=False/NotAccepted")
	table := func(arguments ...string) map[string][]string {
		rows := map[string][]string{}
		for i, line := range strings.Split(strings.TrimSpace(s.Kubectl(t, append([]string{"-n", s.ns, "get"}, arguments...)...)), "\n") {
			cells := regexp.MustCompile(`\s{2,}`).Split(strings.TrimSpace(line), -1)
			name := cells[0]
			if i > 0 {
				cells = cells[:len(cells)-1] // the age
			}
			rows[name] = cells
		}
		return rows
	}
	bind := s.at(80)
	for _, words := range [][]string{{"pxs"}, {"proxyservices"}, {"proxy"}, {"pxs", "-o", "wide"}} {
		got := table(words...)
		header := []string{"NAME", "BIND", "HOSTS", "TLS", "ENDPOINTS", "ACCEPTED", "PROGRAMMED", "AGE"}
		shop := []string{"shop", bind, `["a.example","*.b.example"]`, "1/1", "True", "True"} // without tls: kubectl prints nothing
		late := []string{"shopping", bind, "true", "0/0", "False", "False"}
		if len(words) > 1 {
			header = append(header[:7:7], "REASON", "AGE")
			shop, late = append(shop, "Accepted"), append(late, "ListenerConflict")
		}
		if name := "NAME"; fmt.Sprint(got[name]) != fmt.Sprint(header) {
			t.Errorf("%v: header %v, want %v", words, got[name], header)
		}
		for _, want := range [][]string{shop, late} {
			if fmt.Sprint(got[want[0]]) != fmt.Sprint(want) {
				t.Errorf("%v: %q, want %q", words, got[want[0]], want)
			}
		}
	}
}

// kubectl explain is the manual that everybody has at hand.
func TestExplain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for path, teaches := range map[string][]string{
		"pxs":                                   {"ProxyService is one proxied service of a cluster", "status"},
		"pxs.spec.routes":                       {"The most specific route wins", "exact path, then the longest prefix", "404", "backends", "matches"},
		"pxs.spec.routes.matches.path.type":     {"whole segments", "RE2", "ENUM"},
		"pxs.spec.backends.service":             {"Its weight is shared by all of its endpoints", "ReferenceGrant"},
		"pxs.spec.tlsConfig.certificates":       {"handshakes of these hosts, and no others", "secretRef"},
		"pxs.spec.className":                    {"--class", "default"},
		"pxs.status.conditions":                 {"Programmed", "every ready replica serves this generation"},
		"pxs.spec.healthCheck.passive":          {"ejectionSecs"},
		"pxs.spec.routes.filters.redirect.code": {"308"},
	} {
		// Lines are broken where they fit.
		text := strings.Join(strings.Fields(s.Kubectl(t, "explain", path)), " ")
		var missing []error
		for _, words := range teaches {
			if !strings.Contains(text, words) {
				missing = append(missing, fmt.Errorf("%s does not say %q", path, words))
			}
		}
		if err := errors.Join(missing...); err != nil {
			t.Errorf("%v:\n%s", err, text)
		}
	}
}
