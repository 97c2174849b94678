package controllers_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/test/kube"
	"github.com/pingora-proxy/pingora-proxy/test/traffic"
)

// The objects that translate's tests make never reach an API server. These are what one lets pass.

// Objects that come and go under ever new names, each with something wrong, cost a request nothing, and a change of another
// object not its turn.
func TestObjectsWithoutEnd(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start(t)
	s.web(t, "web", 2)
	s.apply(t, proxyService("shop", "bindAddress: '${host}:80', backends: [{service: {name: web, port: 80}}]"))
	s.awaitProgrammed(t, "shop")
	load := traffic.Start(t, traffic.Options{Addr: s.at(80), Workers: 2})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	var renamed atomic.Int64
	go func() {
		for i := 0; ctx.Err() == nil; i++ {
			name := fmt.Sprintf("zz-loop-%d", i) // younger also within one second
			err := s.tryApply(ctx, proxyService(name, []string{
				"bindAddress: '${host}:80', backends: [{service: {name: web, port: 80}}]",                                                                                 // shadowed
				"bindAddress: '0.0.0.0:80', upstreams: ['127.0.0.1:80']",                                                                                                  // no address
				"bindAddress: '${host}:80', hosts: [h], routes: [{name: r, matches: [{path: {type: Regex, value: '(('}}], backends: [{service: {name: gone, port: 1}}]}]", // no regular expression
				"bindAddress: '${host}:81', tls: true, upstreams: ['no-such-name.invalid:80']",                                                                            // no certificate
			}[i%4]))
			if err == nil {
				err = s.Client().Delete(ctx, &v1alpha1.ProxyService{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: name}})
			}
			if err != nil && ctx.Err() == nil {
				done <- err
				return
			}
			renamed.Add(1)
		}
		done <- nil
	}()
	for round := range 3 {
		until := renamed.Load() + 10
		s.apply(t, proxyService("shop", fmt.Sprintf(
			"bindAddress: '${host}:80', backends: [{service: {name: web, port: 80}}], routes: [{name: r, matches: [{path: {value: /round%d}}], filters: [{redirect: {path: /}}]}]", round)))
		awaitAnswer(t, s.at(80), fmt.Sprintf("any/round%d", round), "302")
		s.awaitProgrammed(t, "shop")
		kube.Eventually(t, kube.Patience, func() error {
			if n := renamed.Load(); n < until {
				return fmt.Errorf("%d of %d objects came and went", n, until)
			}
			return nil
		})
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	noLoss(t, "beside objects without end", load)
}

// A grudging plane refuses configurations while it is told to.
type grudging struct {
	*spy
	refuses atomic.Bool
	refused atomic.Int64
}

func (g *grudging) Apply(ctx context.Context, s *snapshot.Snapshot) error {
	if g.refuses.Load() {
		g.refused.Add(1)
		return errors.New("out of files")
	}
	return g.spy.Apply(ctx, s)
}

// Where the data plane cannot take a configuration, the one that it has serves on, and nobody says that the new one does.
func TestRefusedConfiguration(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.web(t, "web", 1)
	plane := &grudging{}
	var failed, reloads atomic.Int64
	s.start(t, func(o *controllers.Options) {
		plane.spy, o.Plane = o.Plane.(*spy), plane //nolint:forcetypeassert // the rig says so
		o.Reloaded = func(err error) {
			reloads.Add(1)
			if err != nil {
				failed.Add(1)
			}
		}
	})
	s.apply(t, shop(1))
	s.awaitProgrammed(t, "shop")
	// The problem of this one is that of the second of two objects, of which only one is left soon.
	s.apply(t, strings.Replace(shop(1), "name: shop", "name: spare", 1))
	s.awaitStatus(t, "spare", "Conflicted=True/RouteShadowed")
	plane.refuses.Store(true)
	s.remove(t, "shop")
	kube.Eventually(t, kube.Patience, func() error { // more than once, so that the leader has counted its endpoints meanwhile
		if n := plane.refused.Load(); n < 10 {
			return fmt.Errorf("%d configurations were refused", n)
		}
		return nil
	})
	if got := ask(s.at(80), "any/v1"); got != "200 web-1" {
		t.Errorf("the last good configuration answers %q", got)
	}
	if got := strings.Join(conditions(s.get(t, "spare")), " "); !strings.Contains(got, "Conflicted=True/RouteShadowed") {
		t.Errorf("the conditions are %v", got)
	}
	before := reloads.Load()
	if failed.Load() == 0 {
		t.Error("nobody was told that a configuration was refused")
	}
	plane.refuses.Store(false)
	s.awaitProgrammed(t, "spare")
	if got := ask(s.at(80), "any/v1"); got != "200 web-1" {
		t.Error(got)
	}
	if reloads.Load() == before {
		t.Error("nobody was told of the reload")
	}
}
