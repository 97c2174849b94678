package controllers_test

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/pingora-proxy/pingora-proxy/test/kube"
	"github.com/pingora-proxy/pingora-proxy/test/traffic"
)

// awaitEndpoints waits until the data plane forwards to port 8080 of these pods and to nobody else.
func (p *proxy) awaitEndpoints(t *testing.T, pods ...*kube.Pod) {
	t.Helper()
	var want []string
	for _, pod := range pods {
		want = append(want, pod.Addr(8080))
	}
	p.awaitAddresses(t, want...)
}

// awaitAddresses waits until the data plane has these endpoints, of all clusters together.
func (p *proxy) awaitAddresses(t *testing.T, want ...string) {
	t.Helper()
	slices.Sort(want)
	kube.Eventually(t, kube.Patience, func() error {
		var got []string
		for _, c := range p.plane.Clusters() {
			for _, e := range c.Endpoints {
				got = append(got, e.Addr.String())
			}
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			return fmt.Errorf("endpoints %v, want %v", got, want)
		}
		return nil
	})
}

// What happens to pods reaches the endpoints alone: no route is built anew.
func TestPodsComeAndGo(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.start(t)
	s.web(t, "web", 0)
	s.apply(t, proxyService("shop", "bindAddress: '${host}:80', backends: [{service: {name: web, port: 80}}]"))
	s.awaitProgrammed(t, "shop")
	awaitAnswer(t, s.at(80), "a/", "503")
	s.await(t, "shop", counted(0, 0))
	configurations := p.plane.applied.Load()

	var pods []*kube.Pod
	for i := range 3 {
		pods = append(pods, s.pod(t, "web", i+1, kube.PodOptions{}))
	}
	p.awaitEndpoints(t, pods...)
	awaitAnswers(t, s.at(80), "a/", "200 web-1", "200 web-2", "200 web-3")
	s.await(t, "shop", counted(3, 3))

	pods[0].NotReady(t)
	p.awaitEndpoints(t, pods[1], pods[2])
	awaitAnswers(t, s.at(80), "a/", "200 web-2", "200 web-3")
	pods[0].Ready(t)
	p.awaitEndpoints(t, pods...)

	// One that ends gets no new requests while others serve.
	pods[2].Terminate(t)
	p.awaitEndpoints(t, pods[0], pods[1])
	before := len(pods[2].Requests(t))
	awaitAnswers(t, s.at(80), "a/", "200 web-1", "200 web-2")
	if after := len(pods[2].Requests(t)); after != before {
		t.Errorf("a pod that terminates got %d requests", after-before)
	}
	pods[2].Delete(t)

	// If all of them end they serve for as long as they can, and the first new one takes over.
	pods[0].Terminate(t)
	pods[1].Terminate(t)
	p.awaitEndpoints(t, pods[0], pods[1])
	awaitAnswers(t, s.at(80), "a/", "200 web-1", "200 web-2")
	fresh := s.pod(t, "web", 4, kube.PodOptions{NotReady: true})
	awaitAnswers(t, s.at(80), "a/", "200 web-1", "200 web-2")
	fresh.Ready(t)
	p.awaitEndpoints(t, fresh)
	awaitAnswers(t, s.at(80), "a/", "200 web-4")
	pods[0].Delete(t)
	pods[1].Delete(t)
	s.await(t, "shop", counted(1, 1))

	// A pod is replaced by one of the same name with another address.
	fresh.Terminate(t)
	fresh.Delete(t)
	awaitAnswer(t, s.at(80), "a/", "503")
	again := s.pod(t, "web", 4, kube.PodOptions{})
	p.awaitEndpoints(t, again)
	awaitAnswers(t, s.at(80), "a/", "200 web-4")
	if n := p.plane.applied.Load(); n > configurations+fromOutside {
		t.Errorf("%d configurations were built for endpoints alone", n-configurations)
	}
	if p.plane.endpoints.Load() == 0 {
		t.Error("the spy sees nothing")
	}
}

// A connection to an endpoint that has left is kept until its request has ended.
func TestRequestsOutliveTheirEndpoint(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.start(t)
	pods := s.web(t, "web", 1)
	s.apply(t, proxyService("shop", "bindAddress: '${host}:80', backends: [{service: {name: web, port: 80}}]"))
	s.awaitProgrammed(t, "shop")
	awaitAnswer(t, s.at(80), "a/", "200 web-1")
	begun := len(pods[0].Requests(t))
	var asked sync.WaitGroup
	got := make(chan string, 1)
	asked.Go(func() { got <- ask(s.at(80), "a/slow?wait_ms=1500") })
	defer asked.Wait()
	kube.Eventually(t, kube.Patience, func() error {
		if len(pods[0].Requests(t)) == begun {
			return fmt.Errorf("the slow request has not come")
		}
		return nil
	})
	other := s.pod(t, "web", 2, kube.PodOptions{})
	pods[0].Terminate(t)
	p.awaitEndpoints(t, other)
	if answer := <-got; answer != "200 web-1" {
		t.Errorf("a request that was under way when its endpoint left: %s", answer)
	}
	awaitAnswers(t, s.at(80), "a/", "200 web-2")
}

// Not a request is lost while pods are added and removed in good order.
func TestChurnUnderLoad(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.start(t)
	pods := s.web(t, "web", 2)
	s.apply(t, proxyService("shop", "bindAddress: '${host}:80', backends: [{service: {name: web, port: 80}}]"))
	s.awaitProgrammed(t, "shop")
	p.awaitEndpoints(t, pods...)
	configurations := p.plane.applied.Load()
	load := traffic.Start(t, traffic.Options{Addr: s.at(80), Workers: 4, Methods: []string{http.MethodGet, http.MethodPost, http.MethodPut}})
	const rounds = 10
	for i := range rounds {
		pods = append(pods, s.pod(t, "web", i+3, kube.PodOptions{}))
		p.awaitEndpoints(t, pods...)
		load.Await(t, 40)
		pods[0].Terminate(t)
		p.awaitEndpoints(t, pods[1:]...)
		load.Await(t, 40) // its grace period: what was on its way to it arrives
		pods[0].Delete(t)
		pods = pods[1:]
	}
	tally := load.Stop()
	t.Log(tally)
	if tally.Lost != 0 || tally.Answered < 80*rounds {
		t.Errorf("%d lost: %q", tally.Lost, tally.Losses)
	}
	if len(tally.ByOrigin) != rounds+2 {
		t.Errorf("only %v have answered", tally.ByOrigin)
	}
	if n := p.plane.applied.Load(); n > configurations+fromOutside {
		t.Errorf("%d configurations were built for endpoints alone", n-configurations)
	}
}

// Not a request is lost while the object changes all the time.
func TestChangesUnderLoad(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start(t)
	s.web(t, "web", 1)
	s.web(t, "next", 1)
	spec := func(i int) string {
		return proxyService("shop", fmt.Sprintf(`bindAddress: '${host}:80', backends: [{service: {name: %s, port: 80}}],
  routes: [{name: r%d, matches: [{path: {value: /r%d}}], backends: [{service: {name: web, port: http}}]}]`, []string{"web", "next"}[i%2], i, i))
	}
	s.apply(t, spec(0))
	s.awaitProgrammed(t, "shop")
	load := traffic.Start(t, traffic.Options{Addr: s.at(80), Workers: 4})
	for i := range 20 {
		s.apply(t, spec(i+1))
		awaitAnswer(t, s.at(80), fmt.Sprintf("a/r%d", i+1), "200 web-1")
		load.Await(t, 10)
	}
	s.awaitProgrammed(t, "shop")
	if tally := load.Stop(); tally.Lost != 0 || len(tally.ByOrigin) != 2 {
		t.Errorf("%v: %q", tally, tally.Losses)
	}
}
