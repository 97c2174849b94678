package upstream

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// Whatever Apply and SetEndpoints leave in the configuration keeps its state.
func TestEndpointSurvivesApply(t *testing.T) {
	o := newOrigin(t, nil)
	cs := newClusters(t, Options{})
	base := snapshot.Cluster{
		ID: "c", Passive: snapshotPassive(1, 50),
		Endpoints: append(endpoints(1, 1, 1), snapshot.Endpoint{Addr: o.addr, Weight: 1}),
		Health:    HealthCheck{Interval: time.Second, HealthyThreshold: 1, UnhealthyThreshold: 3},
	}
	cs.Apply([]*snapshot.Cluster{&base})
	c := cs.Get("c")
	endpoint(t, c, 1).Checked(errTest)
	endpoint(t, c, 2).Report(503, nil)
	live := endpoint(t, c, int(o.addr.Port()))
	open(t, live).release(t)
	running := open(t, live)
	other := open(t, live)
	other.release(t)
	before := c.Status()

	other2 := base
	other2.Algorithm = snapshot.LeastRequest
	other2.Health.Interval = time.Minute
	other2.Passive = &snapshot.Passive{ConsecutiveErrors: 5, Ejection: time.Minute, MaxEjectionPercent: 50}
	reordered := base
	reordered.Endpoints = append([]snapshot.Endpoint{{Addr: addr(9), Weight: 1}}, base.Endpoints...)
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"equal", func() { same := base; cs.Apply([]*snapshot.Cluster{&same}) }},
		{"other settings", func() { cs.Apply([]*snapshot.Cluster{&other2}) }},
		{"a newcomer in front", func() { cs.Apply([]*snapshot.Cluster{&reordered}) }},
		{"a weight", func() {
			cs.SetEndpoints("c", append(endpoints(7, 1, 1), snapshot.Endpoint{Addr: o.addr, Weight: 2}))
		}},
		{"another cluster", func() { cs.Apply([]*snapshot.Cluster{{ID: "d"}, &base}) }},
		{"mapped addresses", func() {
			mapped := endpoints(1, 1, 1)
			for i := range mapped {
				mapped[i].Addr = netip.AddrPortFrom(netip.AddrFrom16(mapped[i].Addr.Addr().As16()), mapped[i].Addr.Port())
			}
			cs.SetEndpoints("c", append(mapped, snapshot.Endpoint{Addr: o.addr, Weight: 2}))
		}},
	} {
		step.do()
		if cs.Get("c") != c {
			t.Fatalf("%s: the cluster is another one", step.name)
		}
		after := c.Status()
		for i, want := range before.Endpoints {
			got := after.Endpoints[i]
			got.Weight = want.Weight
			if got != want {
				t.Errorf("%s: endpoint %v:\n got %+v\nwant %+v", step.name, want.Addr, got, want)
			}
		}
	}
	running.release(t)
	if n := live.InFlight(); n != 0 {
		t.Errorf("%d in flight in the end", n)
	}
	if s := before.Endpoints[3]; s.Idle != 1 || s.InFlight != 1 || s.Requests != 3 {
		t.Errorf("status before: %+v", s)
	}
	if s := before.Endpoints[0]; s.Healthy || s.Failures != 1 || s.LastError != errTest.Error() || s.LastCheck.IsZero() {
		t.Errorf("status before: %+v", s)
	}
}

func TestRemovedEndpointFinishesWhatRuns(t *testing.T) {
	o := newOrigin(t, nil)
	cs, e := clusterOf(t, Options{}, o.addr)
	running := open(t, e)
	cs.Apply(nil)
	if cs.Get("c") != nil || len(cs.All()) != 0 {
		t.Error("the cluster is still there")
	}
	// A request that found the cluster just before still gets through.
	if conn := get(t, e, newExchange()); conn != 2 {
		t.Errorf("connection %d, want a new one", conn)
	}
	running.release(t)
	if e.InFlight() != 0 || e.traffic().idle.size() != 0 {
		t.Errorf("%d in flight, %d idle", e.InFlight(), e.traffic().idle.size())
	}
}

func TestSetEndpointsOfDNSCluster(t *testing.T) {
	cs := newClusters(t, Options{})
	s := &snapshot.Cluster{ID: "c", DNS: &snapshot.DNSName{Host: "example.com", Port: 80}}
	cs.Apply([]*snapshot.Cluster{s})
	if _, reason := cs.Get("c").Pick(nil); reason != exchange.NoEndpoints {
		t.Errorf("before it is resolved: %q", reason)
	}
	if !cs.SetEndpoints("c", endpoints(1, 1)) || cs.SetEndpoints("x", nil) {
		t.Error("SetEndpoints does not say whether there is such a cluster")
	}
	same := *s
	cs.Apply([]*snapshot.Cluster{&same})
	if serving, total := cs.Get("c").Counts(); serving != 2 || total != 2 {
		t.Errorf("after a reload %d of %d can serve, want 2 of 2", serving, total)
	}
}

func TestDuplicates(t *testing.T) {
	cs := newClusters(t, Options{})
	cs.Apply([]*snapshot.Cluster{
		{ID: "c", Endpoints: append(endpoints(1, 1), endpoints(2, 0)...)},
		{ID: "c", Endpoints: endpoints(1)},
	})
	if n := len(cs.All()); n != 1 {
		t.Errorf("%d clusters, want 1", n)
	}
	s := cs.Get("c").Status()
	if len(s.Endpoints) != 2 || s.Endpoints[0].Weight != 3 || s.Endpoints[1].Weight != 1 {
		t.Errorf("endpoints: %+v, want the weights 3 and 1", s.Endpoints)
	}
	cs.SetEndpoints("c", []snapshot.Endpoint{{Addr: addr(1), Weight: 1<<32 - 1}, {Addr: addr(1), Weight: 5}})
	if w := cs.Get("c").Status().Endpoints[0].Weight; w != 1<<32-1 {
		t.Errorf("weight %d: the sum wrapped around", w)
	}
}

func TestCheckThresholds(t *testing.T) {
	for _, c := range []struct {
		name               string
		healthy, unhealthy int
		checks             string // p: passed, f: failed
		want               string // after each: u: up, d: down
	}{
		{"up at first", 2, 3, "p", "u"},
		{"the first decides", 2, 3, "f", "d"},
		{"thresholds", 2, 3, "pffpfffpfpp", "uuuuuuddddu"},
		{"one is enough", 1, 1, "pfpfp", "ududu"},
		{"down from the start", 2, 3, "fpfpp", "ddddu"},
	} {
		t.Run(c.name, func(t *testing.T) {
			told := make(recorder, 100)
			cs := newClusters(t, Options{Observer: told})
			cs.Apply([]*snapshot.Cluster{{ID: "c", Endpoints: endpoints(1), Health: HealthCheck{
				HealthyThreshold: c.healthy, UnhealthyThreshold: c.unhealthy,
			}}})
			e := endpoint(t, cs.Get("c"), 1)
			var got strings.Builder
			was := byte('u')
			for i := range c.checks {
				e.Checked(map[byte]error{'p': nil, 'f': errTest}[c.checks[i]])
				state := byte('d')
				if cs.Get("c").CanServe() {
					state = 'u'
				}
				got.WriteByte(state)
				if state != was {
					want := map[byte]string{'u': "c 1 healthy=true ", 'd': "c 1 healthy=false connection refused"}[state]
					if line := told.next(t); line != want {
						t.Errorf("told %q, want %q", line, want)
					}
				}
				told.quiet(t)
				was = state
			}
			if got.String() != c.want {
				t.Errorf("states %s, want %s", got.String(), c.want)
			}
		})
	}
}

func TestDisabledChecksMakeHealthy(t *testing.T) {
	told := make(recorder, 10)
	cs := newClusters(t, Options{Observer: told})
	s := snapshot.Cluster{ID: "c", Endpoints: endpoints(1, 1), Health: HealthCheck{UnhealthyThreshold: 1}}
	cs.Apply([]*snapshot.Cluster{&s})
	e := endpoint(t, cs.Get("c"), 1)
	e.Checked(errTest)
	told.next(t)
	off := s
	off.Health.Type = CheckDisabled
	cs.Apply([]*snapshot.Cluster{&off})
	if line := told.next(t); line != "c 1 healthy=true health checks were turned off" {
		t.Errorf("told %q", line)
	}
	e.Checked(errTest) // one that was still running
	told.quiet(t)
	if serving, _ := cs.Get("c").Counts(); serving != 2 {
		t.Errorf("%d can serve, want 2", serving)
	}
}

func TestChanged(t *testing.T) {
	cs := newClusters(t, Options{})
	s := snapshot.Cluster{ID: "c", Endpoints: endpoints(1, 1)}
	cs.Apply([]*snapshot.Cluster{&s})
	c := cs.Get("c")
	health := s
	health.Health.Interval = time.Second
	algorithm := health
	algorithm.Algorithm = snapshot.Random
	for _, step := range []struct {
		name string
		do   func()
		want bool
	}{
		{"nothing", func() { same := s; cs.Apply([]*snapshot.Cluster{&same}) }, false},
		{"check", func() { cs.Apply([]*snapshot.Cluster{&health}) }, true},
		{"algorithm", func() { cs.Apply([]*snapshot.Cluster{&algorithm}) }, false},
		{"weight", func() { c.SetEndpoints(endpoints(1, 2)) }, false},
		{"health", func() { endpoint(t, c, 1).Checked(errTest) }, false},
		{"added", func() { c.SetEndpoints(endpoints(1, 2, 3)) }, true},
		{"removed", func() { c.SetEndpoints(endpoints(1, 2)) }, true},
	} {
		got := false
		c.OnChange(func(of *Cluster) { got = of == c })
		step.do()
		if got != step.want {
			t.Errorf("%s: changed = %t, want %t", step.name, got, step.want)
		}
	}
}

// A check that ends after its endpoint was removed changes and tells nothing.
func TestCheckOfRemovedEndpoint(t *testing.T) {
	told := make(recorder, 10)
	cs := newClusters(t, Options{Observer: told})
	cs.Apply([]*snapshot.Cluster{{ID: "c", Endpoints: endpoints(1, 1)}})
	removed, left := endpoint(t, cs.Get("c"), 1), endpoint(t, cs.Get("c"), 2)
	cs.SetEndpoints("c", endpoints(1, 1)[1:])
	removed.Checked(errTest)
	cs.Apply(nil)
	left.Checked(errTest)
	told.quiet(t)
}
