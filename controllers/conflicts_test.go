package controllers_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers"
	"github.com/pingora-proxy/pingora-proxy/test/kube"
)

// The oldest object has what several want. Once it goes, the next oldest has it, and who comes back is the youngest.
func TestTheOldestWins(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start(t)
	// By their names they would win the other way round.
	names := []string{"c", "b", "a"}
	spec := func(name string) string {
		return proxyService(name, fmt.Sprintf(`bindAddress: '${host}:80', hosts: [shop.example],
  routes: [{name: all, matches: [{path: {value: /x}}], backends: [{service: {name: %s, port: 80}}]},
           {name: own, matches: [{path: {value: /%s}}], backends: [{service: {name: %s, port: 80}}]}]`, name, name, name))
	}
	const lost, holds = "all:Conflicted=True/RouteShadowed", "all:Conflicted=False/Holds"
	for i, name := range names {
		s.web(t, name, 1)
		s.apply(t, spec(name))
		if i == 0 {
			s.awaitProgrammed(t, name)
		} else {
			s.awaitStatus(t, name, "Accepted=True/Accepted", "Programmed=True/Programmed", "Conflicted=True/RouteShadowed", lost, "own:Conflicted=False/NoConflict")
		}
		s.awaitTick(t)
	}
	check := func(winner string, losers ...string) {
		t.Helper()
		awaitAnswer(t, s.at(80), "shop.example/x", "200 "+winner+"-1")
		s.awaitStatus(t, winner, "Conflicted=False/Holds", holds)
		for _, name := range losers {
			awaitAnswer(t, s.at(80), "shop.example/"+name, "200 "+name+"-1")
			s.awaitStatus(t, name, "Conflicted=True/RouteShadowed", lost)
			s.awaitMessage(t, name, "Conflicted", "takes the same requests as route `all` of service `"+s.ns+"/"+winner+"`")
			s.awaitMessage(t, winner, "Conflicted", "route `all` of service `"+s.ns+"/"+name+"`")
		}
	}
	check("c", "a", "b")
	s.remove(t, "c")
	check("b", "a")
	awaitAnswer(t, s.at(80), "shop.example/c", "404")
	s.apply(t, spec("c"))
	check("b", "a", "c")
	s.remove(t, "b")
	check("a", "c")
	s.remove(t, "a")
	s.awaitProgrammed(t, "c")
	awaitAnswer(t, s.at(80), "shop.example/x", "200 c-1")
}

// awaitMessage waits until a condition says this among others.
func (s *site) awaitMessage(t *testing.T, name, kind, says string) {
	t.Helper()
	s.await(t, name, func(p *v1alpha1.ProxyService) error {
		if got := message(p, kind); !strings.Contains(got, says) {
			return fmt.Errorf("%s says %q, want %q", kind, got, says)
		}
		return nil
	})
}

// A newcomer that wants an address in another way breaks nothing, and gets it when its holder has gone.
func TestAnAddressIsHeld(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start(t)
	s.web(t, "web", 1)
	if err := s.Client().Create(t.Context(), s.secret("shop", certificate(t, "a.example", "shop", year))); err != nil {
		t.Fatal(err)
	}
	s.apply(t, proxyService("plain", backends(80, "{service: {name: web, port: 80}}")))
	s.awaitProgrammed(t, "plain")
	client := dialPlain(t, s.at(80))
	if err := client.ask(); err != nil {
		t.Fatal(err)
	}
	s.awaitTick(t)
	s.apply(t, proxyService("a-secure", "tls: true, tlsConfig: {certificates: [{secretRef: {name: shop}}]}, "+backends(80, "{service: {name: web, port: 80}}")))
	s.awaitStatus(t, "a-secure", "Accepted=False/ListenerConflict", "Programmed=False/NotAccepted", "Conflicted=True/ListenerConflict")
	s.awaitStatus(t, "plain", "Accepted=True/Accepted", "Programmed=True/Programmed", "Conflicted=False/Holds")
	if err := client.ask(); err != nil {
		t.Errorf("a connection from before the newcomer: %v", err)
	}
	s.remove(t, "plain")
	s.awaitProgrammed(t, "a-secure")
	awaitShown(t, s.at(80), "a.example", "shop")
}

// A plainLine is a connection that stays open.
type plainLine struct{ net.Conn }

func dialPlain(t *testing.T, address string) plainLine {
	t.Helper()
	conn, err := (&net.Dialer{Timeout: kube.Patience}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return plainLine{conn}
}

// ask sends a request, and wants 200.
func (l plainLine) ask() error {
	if err := l.SetDeadline(time.Now().Add(kube.Patience)); err != nil {
		return err
	}
	if _, err := io.WriteString(l, "HEAD / HTTP/1.1\r\nHost: good.example\r\n\r\n"); err != nil {
		return err
	}
	response, err := http.ReadResponse(bufio.NewReader(l), &http.Request{Method: http.MethodHead})
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}

// Each class is served by its own proxy, and by no other; an object may move.
func TestClasses(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.web(t, "web", 1)
	of := func(class string) *proxy {
		return s.start(t, func(o *controllers.Options) { o.Class, o.Replica = class, "replica-of-"+class })
	}
	proxies := map[string]*proxy{v1alpha1.DefaultClass: of(v1alpha1.DefaultClass), "inner": of("inner"), "outer": of("outer")}
	const service = "backends: [{service: {name: web, port: 80}}]"
	unset := &v1alpha1.ProxyService{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "unset"},
		Spec:       v1alpha1.ProxyServiceSpec{BindAddress: s.at(80), Upstreams: []string{"10.99.0.9:1"}},
	}
	if err := s.Client().Create(t.Context(), unset); err != nil {
		t.Fatal(err)
	}
	s.apply(t, proxyService("default", "className: default, bindAddress: '${host}:81', "+service))
	s.apply(t, proxyService("inner", "className: inner, bindAddress: '${host}:82', "+service))
	s.apply(t, proxyService("outer", "className: outer, bindAddress: '${host}:83', "+service))
	s.apply(t, proxyService("nobody", "className: nobody, bindAddress: '${host}:84', "+service))
	check := func(want map[string]string) {
		t.Helper()
		for class, p := range proxies {
			kube.Eventually(t, kube.Patience, func() error {
				snap, _ := p.plane.Snapshot()
				var got []string
				for _, l := range snap.Listeners {
					for _, service := range l.Services {
						got = append(got, service.Name)
					}
				}
				if slices.Sort(got); strings.Join(got, " ") != want[class] {
					return fmt.Errorf("class %s serves %q, want %q", class, got, want[class])
				}
				return nil
			})
		}
	}
	for _, name := range []string{"unset", "default", "inner", "outer"} {
		s.awaitProgrammed(t, name)
	}
	check(map[string]string{"default": "default unset", "inner": "inner", "outer": "outer"})
	for port := uint16(81); port < 84; port++ {
		awaitAnswer(t, s.at(port), "a/", "200 web-1")
	}
	s.apply(t, proxyService("inner", "className: outer, bindAddress: '${host}:82', "+service))
	check(map[string]string{"default": "default unset", "inner": "", "outer": "inner outer"})
	s.awaitProgrammed(t, "inner")
	awaitAnswer(t, s.at(82), "a/", "200 web-1")
	s.apply(t, proxyService("nobody", "className: inner, bindAddress: '${host}:84', "+service))
	check(map[string]string{"default": "default unset", "inner": "nobody", "outer": "inner outer"})
	s.awaitProgrammed(t, "nobody")
	s.apply(t, proxyService("outer", "className: nobody, bindAddress: '${host}:83', "+service))
	check(map[string]string{"default": "default unset", "inner": "nobody", "outer": "inner"})
	awaitAnswer(t, s.at(83), "a/", "refused")
}

// An object of 1 MiB is served like any other, and tells so.
func TestLargeObject(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start(t)
	s.web(t, "web", 1)
	s.apply(t, proxyService("small", "hosts: [small.example], "+backends(80, "{service: {name: web, port: 80}}")))
	object := &v1alpha1.ProxyService{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "large"},
		Spec:       v1alpha1.ProxyServiceSpec{ClassName: &s.class, BindAddress: s.at(80), Hosts: []string{"large.example"}, Upstreams: []string{"10.99.0.9:1"}},
	}
	const routes = 500
	for i := range routes {
		path, value := fmt.Sprintf("/%d", i), strings.Repeat("v", 2050)
		object.Spec.Routes = append(object.Spec.Routes, v1alpha1.Route{
			Name: fmt.Sprintf("r%d", i), Matches: []v1alpha1.Match{{Path: &v1alpha1.PathMatch{Value: &path}}},
			Filters: []v1alpha1.Filter{{Redirect: &v1alpha1.RedirectFilter{Path: &path}}, {ResponseHeaders: &v1alpha1.HeaderFilter{Set: map[string]string{"X-Long": value}}}},
		})
	}
	if err := s.Client().Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	s.awaitProgrammed(t, "small")
	p := s.awaitProgrammed(t, "large")
	if text, err := json.Marshal(p.Spec); err != nil || len(text) < 1<<20 {
		t.Errorf("the spec has %d bytes only (%v)", len(text), err)
	}
	if got := ask(s.at(80), fmt.Sprintf("large.example/%d", routes-1)); got != "302" && got != "301" {
		t.Errorf("its last route: %s", got)
	}
	if got := ask(s.at(80), "small.example/"); got != "200 web-1" {
		t.Error(got)
	}
	s.remove(t, "large")
	awaitAnswer(t, s.at(80), "large.example/1", "404")
}

// Objects that are made and deleted under ever new names leave nothing behind.
//
// Not parallel: it counts goroutines.
func TestRenameLoop(t *testing.T) {
	s := newSite(t)
	p := s.start(t)
	s.web(t, "web", 1)
	s.awaitReady(t, p)
	round := func(i int) {
		t.Helper()
		name := fmt.Sprintf("shop-%d", i)
		s.apply(t, proxyService(name, "hosts: ["+name+".example], "+backends(80+i%3, "{service: {name: web, port: 80}}")))
		awaitAnswer(t, s.at(uint16(80+i%3)), name+".example/", "200 web-1")
		s.remove(t, name)
	}
	empty := func() error {
		snap, _ := p.plane.Snapshot()
		if n, m := len(snap.Listeners), len(p.plane.Clusters()); n+m > 0 {
			return fmt.Errorf("%d listeners and %d clusters are left", n, m)
		}
		return nil
	}
	const warm, rounds = 5, 50
	for i := range warm {
		round(i)
	}
	kube.Eventually(t, kube.Patience, empty)
	before := runtime.NumGoroutine()
	for i := range rounds {
		round(warm + i)
	}
	kube.Eventually(t, kube.Patience, empty)
	kube.Eventually(t, kube.Patience, func() error {
		if after := runtime.NumGoroutine(); after > before+rounds/2 { // connections to the API server and to the pod come and go
			return fmt.Errorf("%d goroutines, before %d", after, before)
		}
		return nil
	})
	for port := uint16(80); port < 83; port++ {
		awaitAnswer(t, s.at(port), "a/", "refused")
	}
	families, err := p.metrics.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "service" && l.GetValue() != "" {
					names[l.GetValue()] = true
				}
			}
		}
	}
	if len(names) > 32 { // what has gone lately is still scraped
		t.Errorf("%d services have metrics", len(names))
	}
}

// raw is the whole answer to a request, to the byte, but for its date and an id that the proxy made up.
func raw(t *testing.T, address, url string) string {
	t.Helper()
	host, path, _ := strings.Cut(url, "/")
	conn := dialPlain(t, address)
	if err := conn.SetDeadline(time.Now().Add(kube.Patience)); err != nil {
		t.Fatal(err)
	}
	_, err := fmt.Fprintf(conn, "GET /%s HTTP/1.1\r\nHost: %s\r\nX-Request-Id: fixed\r\nConnection: close\r\n\r\n", path, host)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	return regexp.MustCompile(`(?i)\r\ndate: [^\r]*|[0-9a-f]{32}`).ReplaceAllString(string(answer), "")
}

// Whatever is wrong with an object, no byte of what another one serves is different.
func TestABadObjectChangesNoOther(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.start(t)
	s.web(t, "web", 1)
	s.web(t, "other", 1)
	s.apply(t, proxyService("good", `bindAddress: '${host}:80', hosts: [good.example], clientIP: {trustedProxies: [10.99.0.0/16]}, healthPath: /healthz,
  backends: [{service: {name: web, port: 80}}],
  routes: [{name: api, matches: [{path: {value: /api}}], filters: [{responseHeaders: {set: {X-By: good}}}]},
           {name: old, matches: [{path: {value: /old}}], filters: [{redirect: {path: /new, code: 308}}]}]`))
	s.awaitProgrammed(t, "good")
	awaitAnswer(t, s.at(80), "good.example/", "200 web-1")
	s.await(t, "good", counted(1, 1))
	s.awaitTick(t)
	urls := []string{"good.example/?bytes=5000", "good.example/api/x?bytes=10", "good.example/old?a=b", "good.example/healthz", "nobody.example/"}
	look := func() map[string]string {
		all := map[string]string{}
		for _, url := range urls {
			all[url] = raw(t, s.at(80), url)
		}
		return all
	}
	before := look()
	if !strings.HasPrefix(before[urls[1]], "HTTP/1.1 200") || !strings.Contains(before[urls[1]], "X-By: good") {
		t.Fatalf("%q", before[urls[1]])
	}
	open := dialPlain(t, s.at(80))
	if err := open.ask(); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"regex":       "hosts: [bad.example], routes: [{name: r, matches: [{path: {type: Regex, value: '('}}]}], " + backends(80, "{service: {name: other, port: 80}}"),
		"hosts":       "hosts: ['*'], " + backends(80, "{service: {name: other, port: 80}}"),
		"host":        "hosts: ['b ad'], " + backends(80, "{service: {name: other, port: 80}}"),
		"same":        "hosts: [good.example], routes: [{name: api, matches: [{path: {value: /api/}}]}], " + backends(80, "{service: {name: other, port: 80}}"),
		"no-service":  "hosts: [bad.example], " + backends(80, "{service: {name: nobody, port: 80}}"),
		"no-port":     "hosts: [bad.example], " + backends(80, "{service: {name: other, port: nothing}}"),
		"loopback":    "hosts: [bad.example], bindAddress: '${host}:80', upstreams: ['127.0.0.1:80']",
		"tls":         "tls: true, " + backends(80, "{service: {name: other, port: 80}}"),
		"certificate": "tls: true, tlsConfig: {certificates: [{secretRef: {name: nothing}}]}, " + backends(443, "{service: {name: other, port: 80}}"),
		"overlap":     "bindAddress: '0.0.0.0:80', backends: [{service: {name: other, port: 80}}]",
		"group":       "hosts: [bad.example], routes: [{name: r, filters: [{rewrite: {path: '/$1'}}]}], " + backends(80, "{service: {name: other, port: 80}}"),
		"header":      "hosts: [bad.example], routes: [{name: r, filters: [{requestHeaders: {set: {'a b': c}}}]}], " + backends(80, "{service: {name: other, port: 80}}"),
		"networks":    "hosts: [bad.example], clientIP: {trustedProxies: [x]}, " + backends(80, "{service: {name: other, port: 80}}"),
		"long-id":     "hosts: [bad.example], name: '|/../|', " + backends(80, "{service: {name: other, port: 80}}"),
	} {
		s.apply(t, proxyService("bad", bad))
		q := s.await(t, "bad", func(p *v1alpha1.ProxyService) error {
			if p.Status.ObservedGeneration != p.Generation {
				return fmt.Errorf("generation %d, observed %d", p.Generation, p.Status.ObservedGeneration)
			}
			return nil
		})
		healthy := strings.Join(conditions(q), " ")
		if strings.Contains(healthy, "Accepted=True") && strings.Contains(healthy, "ResolvedRefs=True") && strings.Contains(healthy, "Conflicted=False") {
			t.Errorf("%s: nothing is bad about it: %s", name, healthy)
		}
		after := look()
		for _, url := range urls {
			if after[url] != before[url] {
				t.Errorf("%s: %s: %q, before %q", name, url, after[url], before[url])
			}
		}
		for _, c := range p.plane.Clusters() {
			if c.Service == s.ns+"/good" && c.Serving != 1 {
				t.Errorf("%s: the good object's cluster: %+v", name, c)
			}
		}
		if got := s.get(t, "good"); got.Status.ObservedGeneration != 1 || !strings.HasPrefix(strings.Join(conditions(got), " "), "Accepted=True/Accepted ResolvedRefs=True/ResolvedRefs Programmed=True/Programmed Conflicted=False") {
			t.Errorf("%s: the good object's conditions: %v", name, conditions(got))
		}
	}
	if err := open.ask(); err != nil {
		t.Errorf("a connection that was open from the beginning: %v", err)
	}
}
