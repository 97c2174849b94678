package group

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream"
	"github.com/pingora-proxy/pingora-proxy/dataplane/upstream/breaker"
)

// asking returns a GET with these fields, "name: value" each.
func asking(fields ...string) *exchange.Exchange {
	x := newExchange()
	x.Conn = &exchange.Conn{}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		x.Request.Header.Add(name, value)
	}
	return x
}

// to returns the port of the endpoint that the request goes to; 0: none.
func to(g *Group, x *exchange.Exchange) int {
	var w Choice
	defer w.Release()
	g.Choose(x, &w)
	e, _ := g.Pick(&w)
	if e == nil {
		return 0
	}
	x.ResetResponse()
	g.Stick(x, &w, e)
	return int(e.Addr().Port())
}

func TestHashKeys(t *testing.T) {
	cs := newGroups(t, upstream.Options{})
	cs.clusters.Apply([]*snapshot.Cluster{{ID: "c", Algorithm: snapshot.ConsistentHash, Endpoints: endpoints(1, 1, 1, 1, 1)}})
	with := func(on snapshot.HashOn, name string) *Group {
		return cs.Get(fmt.Sprint(on), []snapshot.WeightedCluster{{Cluster: "c", Weight: 1}}, snapshot.Balance{HashOn: on, HashName: name})
	}
	for name, c := range map[string]struct {
		group *Group
		make  func(key string) *exchange.Exchange
		none  *exchange.Exchange // without a key
	}{
		"header": {with(snapshot.HashHeader, "x-tenant"), func(k string) *exchange.Exchange { return asking("X-Tenant: " + k) }, asking("X-Other: 1")},
		"cookie": {with(snapshot.HashCookie, "id"), func(k string) *exchange.Exchange { return asking("Cookie: a=b; id=" + k) }, asking("Cookie: a=b")},
		"client": {with(snapshot.HashClientIP, ""), func(k string) *exchange.Exchange {
			x := asking()
			x.ClientIP = netip.AddrFrom4([4]byte{10, 0, 0, byte(len(k)*16) + k[len(k)-1]})
			return x
		}, nil},
		"path": {with(snapshot.HashPath, ""), func(k string) *exchange.Exchange {
			x := asking()
			x.Record.Path, x.Request.Path = []byte("/"+k), []byte("/rewritten")
			x.Request.Query, x.Request.HasQuery = []byte("n="+fmt.Sprint(time.Now())), true
			return x
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			seen := map[int]bool{}
			for i := range 40 {
				key := fmt.Sprint("k", i)
				first := to(c.group, c.make(key))
				seen[first] = true
				for range 3 {
					if at := to(c.group, c.make(key)); at != first {
						t.Fatalf("key %s went to %d and %d", key, first, at)
					}
				}
			}
			if len(seen) != 5 {
				t.Errorf("40 keys went to %d of 5 endpoints", len(seen))
			}
			if c.none != nil {
				clear(seen)
				for range 5 {
					seen[to(c.group, c.none)] = true
				}
				if len(seen) != 5 {
					t.Errorf("requests without a key went to %v", seen)
				}
			}
		})
	}
	var w Choice
	with(snapshot.HashClientIP, "").ChooseFor(netip.MustParseAddr("10.0.0.1"), &w)
	x := asking()
	x.ClientIP = netip.MustParseAddr("10.0.0.1")
	if e, _ := with(snapshot.HashClientIP, "").Pick(&w); int(e.Addr().Port()) != to(with(snapshot.HashClientIP, ""), x) {
		t.Error("a connection of the same client goes elsewhere")
	}
}

func TestOverride(t *testing.T) {
	cs := grouped(t, 1, 1, 1)
	byHeader := snapshot.Override{Header: "X-Canary", Value: "always"}
	g := cs.Get("route", []snapshot.WeightedCluster{
		{Cluster: "a", Weight: 1},
		{Cluster: "b", Weight: 0, Override: byHeader},
		{Cluster: "c", Weight: 1, Override: snapshot.Override{Cookie: "canary", Value: "1"}},
	}, snapshot.Balance{})
	for _, c := range []struct {
		fields []string
		want   []int
	}{
		{nil, []int{11, 31}},
		{[]string{"X-Canary: always"}, []int{21}},
		{[]string{"X-Canary: never"}, []int{11, 31}},
		{[]string{"Cookie: x=y; canary=1"}, []int{31}},
		{[]string{"Cookie: canary=2"}, []int{11, 31}},
		{[]string{"Cookie: canary=2; canary=1"}, []int{31}},
	} {
		var got []int
		for range 20 {
			if at := to(g, asking(c.fields...)); !slices.Contains(got, at) {
				got = append(got, at)
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%q: %s", c.fields, diff)
		}
	}
	// Where the cluster cannot serve, or its endpoint was tried, the weights decide.
	var w Choice
	g.Choose(asking("X-Canary: always"), &w)
	e, _ := g.Pick(&w)
	w.Add(e)
	if e, _ = g.Pick(&w); e == nil || e.Addr().Port() == 21 {
		t.Errorf("the retry goes to %v", e)
	}
	down(t, cs, "b", 21)
	if at := to(g, asking("X-Canary: always")); at != 11 && at != 31 {
		t.Errorf("without a canary: %d", at)
	}
}

// cookieOf returns the cookie that a response sets, as a request carries it; empty: none.
func cookieOf(x *exchange.Exchange) string {
	pair, _, _ := strings.Cut(string(x.Response.Header.Value(exchange.SetCookie)), ";")
	return pair
}

func sticky(cs *Groups, key string, members ...snapshot.WeightedCluster) *Group {
	return cs.Get("route", members, snapshot.Balance{Sticky: &snapshot.Sticky{Cookie: "PXS", TTL: time.Hour, Key: snapshot.Secret(key)}})
}

func TestSticky(t *testing.T) {
	cs := grouped(t, 4, 1)
	one, backup := snapshot.WeightedCluster{Cluster: "a", Weight: 1}, snapshot.WeightedCluster{Cluster: "b", Weight: 1, Backup: true}
	g := sticky(cs, "0123456789abcdef", one, backup)
	first := asking()
	home := to(g, first)
	cookie := cookieOf(first)
	if cookie == "" {
		t.Fatal("no cookie")
	}
	again := func(g *Group, cookie string) (at int, set string) {
		t.Helper()
		x := asking("Cookie: other=1; " + cookie)
		at = to(g, x)
		return at, cookieOf(x)
	}
	for range 8 {
		if at, set := again(g, cookie); at != home || set != "" {
			t.Fatalf("the client of %d went to %d, and got the cookie %q", home, at, set)
		}
	}
	// It survives a reload, and is read by other replicas.
	cs.clusters.Apply(snapshots(4, 1))
	g = sticky(cs, "0123456789abcdef", one, backup)
	if at, _ := again(g, cookie); at != home {
		t.Errorf("after a reload: %d", at)
	}
	replica := grouped(t, 4, 1)
	if at, set := again(sticky(replica, "0123456789abcdef", one, backup), cookie); at != home || set != "" {
		t.Errorf("another replica: %d, %q", at, set)
	}
	// While the endpoint cannot serve the client has another one, which it keeps.
	down(t, cs, "a", home)
	at, set := again(g, cookie)
	if at == home || at == 0 || set == "" || set == cookie {
		t.Fatalf("its endpoint is down: %d, %q", at, set)
	}
	if now, _ := again(g, set); now != at {
		t.Errorf("the new cookie leads to %d, want %d", now, at)
	}
	// A tried endpoint is not tried again, and the client stays where it got an answer.
	var w Choice
	x := asking("Cookie: " + set)
	g.Choose(x, &w)
	e, _ := g.Pick(&w)
	w.Add(e)
	other, _ := g.Pick(&w)
	g.Stick(x, &w, other)
	if other == e || cookieOf(x) == "" {
		t.Errorf("a retry goes from %v to %v, with the cookie %q", e, other, cookieOf(x))
	}
	// Forged ones and those of another key are not followed.
	for _, bad := range []string{"PXS=x", strings.ToUpper(cookie), cookie + "A", strings.Replace(cookie, "PXS", "PXT", 1)} {
		if _, set := again(g, bad); set == "" {
			t.Errorf("%q was followed", bad)
		}
	}
	if _, set := again(sticky(cs, "0123456789abcdeF", one, backup), cookie); set == "" {
		t.Error("the cookie of another key was followed")
	}
	// Nobody stays at a backup when a primary serves again.
	g = sticky(cs, "0123456789abcdef", one, backup)
	down(t, cs, "a", 11, 12, 13, 14)
	x = asking()
	if at := to(g, x); at != 21 {
		t.Fatalf("the backup: %d", at)
	}
	atBackup := cookieOf(x)
	up(t, cs, "a", 11, 12, 13, 14)
	if at, _ := again(g, atBackup); at == 21 {
		t.Error("the client stayed at the backup")
	}
	if at, _ := again(g, cookie); at != home {
		t.Errorf("its endpoint serves again, and the client goes to %d", at)
	}
}

func TestStickyWithoutKey(t *testing.T) {
	cs, other := grouped(t, 5), grouped(t, 5)
	member := snapshot.WeightedCluster{Cluster: "a", Weight: 1}
	x := asking()
	at := to(sticky(cs, "", member), x)
	y := asking("Cookie: " + cookieOf(x))
	if to(sticky(cs, "", member), y) != at || cookieOf(y) != "" {
		t.Error("the process does not know its own cookie")
	}
	z := asking("Cookie: " + cookieOf(x))
	to(sticky(other, "", member), z)
	if cookieOf(z) == "" {
		t.Error("two processes have the same key")
	}
}

func TestStickyOverridden(t *testing.T) {
	cs := grouped(t, 2, 2)
	g := sticky(cs, "0123456789abcdef", snapshot.WeightedCluster{Cluster: "a", Weight: 1},
		snapshot.WeightedCluster{Cluster: "b", Override: snapshot.Override{Header: "X-Canary", Value: "1"}})
	x := asking("X-Canary: 1")
	canary := to(g, x)
	cookie := "Cookie: " + cookieOf(x)
	for range 4 {
		if at := to(g, asking("X-Canary: 1", cookie)); at != canary || at < 20 {
			t.Errorf("the canary's client went from %d to %d", canary, at)
		}
	}
	y := asking()
	to(g, y)
	if at := to(g, asking("X-Canary: 1", "Cookie: "+cookieOf(y))); at < 20 {
		t.Error("the cookie of another cluster outweighs what the request asks for")
	}
	if at := to(g, asking(cookie)); at > 20 {
		t.Error("the cookie alone leads to a cluster without a weight")
	}
}

func TestDirectionsAllocateNothingUnlessUsed(t *testing.T) {
	cs := grouped(t, 3, 3)
	hashed := cs.Get("hashed", []snapshot.WeightedCluster{{Cluster: "a", Weight: 1}},
		snapshot.Balance{HashOn: snapshot.HashCookie, HashName: "id"})
	plain := cs.Get("plain", []snapshot.WeightedCluster{{Cluster: "a", Weight: 1}}, snapshot.Balance{})
	canary := cs.Get("canary", []snapshot.WeightedCluster{
		{Cluster: "a", Weight: 1}, {Cluster: "b", Override: snapshot.Override{Cookie: "c", Value: "1"}},
	}, snapshot.Balance{})
	x := asking("Cookie: id=1; c=1")
	for name, g := range map[string]*Group{"hashed": hashed, "plain": plain, "canary": canary} {
		if n := testing.AllocsPerRun(100, func() {
			var w Choice
			g.Choose(x, &w)
			e, _ := g.Pick(&w)
			w.Report(1, e, 200, nil)
			g.Stick(x, &w, e)
			w.Release()
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func withBreaker(id string, b *snapshot.Breaker, ports ...int) *snapshot.Cluster {
	s := &snapshot.Cluster{ID: id, Breaker: b}
	for _, p := range ports {
		s.Endpoints = append(s.Endpoints, snapshot.Endpoint{Addr: addr(p), Weight: 1})
	}
	return s
}

// trip makes n requests fail, and returns why the next one is not served.
func trip(g *Group, n int) (exchange.Reason, time.Duration) {
	for range n {
		var w Choice
		if e, _ := g.Pick(&w); e != nil {
			w.Report(exchange.Now(), e, 503, nil)
		}
		w.Release()
	}
	var w Choice
	defer w.Release()
	_, reason := g.Pick(&w)
	return reason, w.RetryAfter
}

func TestBreaker(t *testing.T) {
	heard := make(recorder, 100)
	cs := newGroups(t, upstream.Options{Observer: heard})
	b := &snapshot.Breaker{ErrorPercent: 50, MinRequests: 10, Open: time.Hour}
	list := func() []*snapshot.Cluster {
		return []*snapshot.Cluster{withBreaker("a", b, 11, 12), withBreaker("b", nil, 21)}
	}
	cs.clusters.Apply(list())
	alone := []snapshot.WeightedCluster{{Cluster: "a", Weight: 1}}
	g := cs.Get("alone", alone, snapshot.Balance{})
	if reason, _ := trip(g, 9); reason != "" {
		t.Fatalf("after 9 failures: %s", reason)
	}
	if reason, after := trip(g, 1); reason != exchange.CircuitOpen || after < 59*time.Minute || after > time.Hour {
		t.Fatalf("after 10 failures: %q, %v", reason, after)
	}
	if s := cs.clusters.Get("a").Status().Breaker; s == nil || s.State != breaker.Open || s.OpenFor < 59*time.Minute {
		t.Errorf("status: %+v", s)
	}
	if s := cs.clusters.Get("b").Status().Breaker; s != nil {
		t.Errorf("a cluster without a breaker has the status %+v", s)
	}
	if line := heard.next(t); line != "a open" {
		t.Errorf("the observer was told %q", line)
	}
	// The state survives what changes around it.
	cs.clusters.Apply(list())
	b2 := *b
	b2.MinRequests = 20
	b = &b2
	cs.clusters.Apply(list())
	g = cs.Get("alone", alone, snapshot.Balance{})
	if reason, _ := trip(g, 0); reason != exchange.CircuitOpen {
		t.Errorf("after a reload: %q", reason)
	}
	heard.quiet(t)
	// Requests go to the other clusters of the group.
	both := cs.Get("both", []snapshot.WeightedCluster{{Cluster: "a", Weight: 1}, {Cluster: "b", Weight: 1}}, snapshot.Balance{})
	for range 10 {
		if at := to(both, asking()); at != 21 {
			t.Fatalf("with an open circuit: %d", at)
		}
	}
	backup := cs.Get("backup", []snapshot.WeightedCluster{{Cluster: "a", Weight: 1}, {Cluster: "b", Weight: 1, Backup: true}}, snapshot.Balance{})
	if at := to(backup, asking()); at != 21 {
		t.Errorf("with an open circuit the backup is not asked: %d", at)
	}
	// Without a breaker everything passes.
	b = nil
	cs.clusters.Apply(list())
	if at := to(cs.Get("alone", alone, snapshot.Balance{}), asking()); at == 0 {
		t.Error("the breaker is gone, and refuses")
	}
	if line := heard.next(t); line != "a closed" {
		t.Errorf("the observer was told %q", line)
	}
}

// What says nothing about the endpoints opens no circuit.
func TestBreakerCountsTheEndpointsFaultsAlone(t *testing.T) {
	for _, c := range []struct {
		status  int
		failure *exchange.Failure
		open    bool
	}{
		{200, nil, false},
		{500, nil, false},
		{502, nil, true},
		{503, nil, true},
		{504, nil, true},
		{0, &exchange.Failure{Reason: exchange.ConnectFailed}, true},
		{0, &exchange.Failure{Reason: exchange.UpstreamTimeout}, true},
		{0, &exchange.Failure{Reason: exchange.UpstreamReset}, true},
		{0, &exchange.Failure{Reason: exchange.ClientReset}, false},
	} {
		cs := newGroups(t, upstream.Options{})
		cs.clusters.Apply([]*snapshot.Cluster{withBreaker("a", &snapshot.Breaker{ErrorPercent: 100, MinRequests: 1, Open: time.Hour}, 11)})
		g := cs.Get("r", []snapshot.WeightedCluster{{Cluster: "a", Weight: 1}}, snapshot.Balance{})
		var w Choice
		e, _ := g.Pick(&w)
		w.Report(exchange.Now(), e, c.status, c.failure)
		w.Release()
		if _, reason := g.Pick(&w); (reason == exchange.CircuitOpen) != c.open {
			t.Errorf("%d %v: %q", c.status, c.failure, reason)
		}
	}
}

func TestBreakerBoundsConnections(t *testing.T) {
	cs := newGroups(t, upstream.Options{})
	b := &snapshot.Breaker{MaxConnections: 2}
	cs.clusters.Apply([]*snapshot.Cluster{withBreaker("a", b, 11), withBreaker("b", nil, 21)})
	members := []snapshot.WeightedCluster{{Cluster: "a", Weight: 1}}
	g := cs.Get("r", members, snapshot.Balance{})
	var held [2]Choice
	for i := range held {
		if e, reason := g.Pick(&held[i]); e == nil {
			t.Fatal(reason)
		}
	}
	var w Choice
	if _, reason := g.Pick(&w); reason != exchange.CircuitOpen || w.RetryAfter != time.Second {
		t.Errorf("a third one: %q, %v", reason, w.RetryAfter)
	}
	// A retry gives its place back before it asks for another.
	held[0].Add(endpoint(t, cs.clusters.Get("a"), 11))
	if _, reason := g.Pick(&held[0]); reason != exchange.NoHealthyUpstream {
		t.Errorf("the retry: %q", reason)
	}
	if e, reason := g.Pick(&w); e == nil {
		t.Errorf("after one has ended: %q", reason)
	}
	w.Release()
	held[1].Release()
	if s := cs.clusters.Get("a").Status().Breaker; s.Running != 0 {
		t.Errorf("%d run in the end", s.Running)
	}
}
