package upstream

import (
	"strings"
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

func snapshotPassive(errors, percent int) *snapshot.Passive {
	return &snapshot.Passive{ConsecutiveErrors: errors, Ejection: time.Hour, MaxEjectionPercent: percent}
}

// ejecting returns a cluster with passive health; told may be nil.
func ejecting(t *testing.T, told recorder, p *snapshot.Passive, weights ...uint32) *Cluster {
	t.Helper()
	o := Options{}
	if told != nil {
		o.Observer = told
	}
	cs := newClusters(t, o)
	cs.Apply([]*snapshot.Cluster{{ID: "c", Endpoints: endpoints(weights...), Passive: p, Health: HealthCheck{
		HealthyThreshold: 1, UnhealthyThreshold: 1,
	}}})
	return cs.Get("c")
}

func failure(reason exchange.Reason) *exchange.Failure {
	return &exchange.Failure{Reason: reason, Err: errTest}
}

func TestReport(t *testing.T) {
	for _, c := range []struct {
		name    string
		status  int
		failure *exchange.Failure
		want    int32 // errors in a row, after two
	}{
		{name: "200", status: 200, want: 0},
		{name: "404", status: 404, want: 0},
		{name: "500 is the application's", status: 500, want: 0},
		{name: "501", status: 501, want: 0},
		{name: "502", status: 502, want: 3},
		{name: "503", status: 503, want: 3},
		{name: "504", status: 504, want: 3},
		{name: "505", status: 505, want: 0},
		{name: "connect failed", failure: failure(exchange.ConnectFailed), want: 3},
		{name: "connect timeout", failure: failure(exchange.ConnectTimeout), want: 3},
		{name: "reset", failure: failure(exchange.UpstreamReset), want: 3},
		{name: "timeout", failure: failure(exchange.UpstreamTimeout), want: 3},
		{name: "protocol", failure: failure(exchange.UpstreamProtocol), want: 3},
		{name: "the client went away", failure: failure(exchange.ClientReset), want: 2},
		{name: "the client was slow", failure: failure(exchange.RequestTimeout), want: 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := endpoint(t, ejecting(t, nil, snapshotPassive(100, 100), 1), 1)
			e.Report(502, nil)
			e.Report(503, nil)
			e.Report(c.status, c.failure)
			if got := e.errors.Load(); got != c.want {
				t.Errorf("%d errors in a row, want %d", got, c.want)
			}
		})
	}
}

func TestEjectionAndReturn(t *testing.T) {
	told := make(recorder, 100)
	p := &snapshot.Passive{ConsecutiveErrors: 3, Ejection: 20 * time.Millisecond, MaxEjectionPercent: 50}
	c := ejecting(t, told, p, 1, 1)
	e := endpoint(t, c, 1)
	for round, want := range []string{"20ms", "40ms", "60ms"} {
		e.ejection.returned = time.Time{} // no good stretch in between
		e.Report(502, nil)
		e.Report(0, failure(exchange.UpstreamReset))
		told.quiet(t)
		e.Report(0, failure(exchange.ConnectFailed))
		if got, want := told.next(t), "c 1 ejected connect_failed "+want; got != want {
			t.Errorf("round %d: told %q, want %q", round, got, want)
		}
		if got := told.next(t); got != "c 1 returned" {
			t.Errorf("round %d: told %q, want the return", round, got)
		}
	}
	if got := counts(c, 10); got[1] != 5 {
		t.Errorf("after its return: %v, want an even share", got)
	}
}

func TestEjectedEndpointGetsNothing(t *testing.T) {
	c := ejecting(t, nil, snapshotPassive(1, 50), 1, 1)
	endpoint(t, c, 2).Report(503, nil)
	if got := counts(c, 10); got[1] != 10 {
		t.Errorf("picks: %v, want all on 1", got)
	}
	s := c.Status()
	if es := s.Endpoints[1]; es.EjectedUntil.IsZero() || es.Serving || !es.Healthy || es.Ejections != 1 || s.Serving != 1 {
		t.Errorf("status: %+v", s)
	}
}

func TestGoodTimeForgivesEjections(t *testing.T) {
	c := ejecting(t, nil, snapshotPassive(1, 50), 1, 1)
	e := endpoint(t, c, 1)
	e.ejection.count = 9
	e.ejection.returned = time.Now().Add(-7 * time.Hour)
	e.Report(503, nil)
	if n := c.Status().Endpoints[0].Ejections; n != 3 {
		t.Errorf("%d ejections count after seven good ones of nine, want 3", n)
	}
}

func TestEjectionTimeIsBounded(t *testing.T) {
	told := make(recorder, 100)
	c := ejecting(t, told, snapshotPassive(1, 50), 1, 1)
	e := endpoint(t, c, 1)
	e.ejection.count = 1000
	e.Report(503, nil)
	if got := told.next(t); got != "c 1 ejected 503 10h0m0s" {
		t.Errorf("told %q, want ten times the first", got)
	}
}

func TestEjectionCap(t *testing.T) {
	for _, c := range []struct {
		name    string
		percent int
		weights []uint32
		failing []int
		down    []int // by checks, before
		want    int
	}{
		{"one of two at 50 %", 50, []uint32{1, 1}, []int{1, 2}, nil, 1},
		{"none of one at 50 %", 50, []uint32{1}, []int{1}, nil, 0},
		{"none of one at 99 %", 99, []uint32{1}, []int{1}, nil, 0},
		{"one of one at 100 %", 100, []uint32{1}, []int{1}, nil, 1},
		{"all of three at 100 %", 100, []uint32{1, 1, 1}, []int{1, 2, 3}, nil, 3},
		{"one of three at 50 %", 50, []uint32{1, 1, 1}, []int{1, 2, 3}, nil, 1},
		{"none of nine at 10 %", 10, []uint32{1, 1, 1, 1, 1, 1, 1, 1, 1}, []int{1}, nil, 0},
		{"one of ten at 10 %", 10, []uint32{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, []int{1, 2}, nil, 1},
		{"weight 0 does not count", 50, []uint32{1, 0}, []int{1}, nil, 0},
		{"not the last that serves", 50, []uint32{1, 1}, []int{1}, []int{2}, 0},
		{"an unhealthy one", 50, []uint32{1, 1}, []int{2}, []int{2}, 1},
		{"0 %", 0, []uint32{1, 1}, []int{1}, nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			cluster := ejecting(t, nil, snapshotPassive(1, c.percent), c.weights...)
			for _, port := range c.down {
				endpoint(t, cluster, port).Checked(errTest)
			}
			for _, port := range c.failing {
				endpoint(t, cluster, port).Report(502, nil)
			}
			got := 0
			for _, e := range cluster.Status().Endpoints {
				if !e.EjectedUntil.IsZero() {
					got++
				}
			}
			if got != c.want {
				t.Errorf("%d ejected, want %d", got, c.want)
			}
		})
	}
}

// What was tolerable may not be so when other endpoints leave, or are taken out by their checks.
func TestEjectedEndpointsReturnWhenTheyAreNeeded(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(t *testing.T, c *Cluster)
	}{
		{"the other left", func(_ *testing.T, c *Cluster) { c.SetEndpoints(endpoints(1)) }},
		{"the other is unhealthy", func(t *testing.T, c *Cluster) { endpoint(t, c, 2).Checked(errTest) }},
		{"the other has no weight now", func(_ *testing.T, c *Cluster) { c.SetEndpoints(endpoints(1, 0)) }},
		{"passive health was turned off", func(_ *testing.T, c *Cluster) {
			next := *c.Settings()
			next.Passive = nil
			c.Update(&next)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			told := make(recorder, 10)
			cluster := ejecting(t, told, snapshotPassive(1, 50), 1, 1)
			endpoint(t, cluster, 1).Report(502, nil)
			told.next(t)
			c.change(t, cluster)
			line := told.next(t)
			if strings.Contains(line, "healthy=false") {
				line = told.next(t)
			}
			if line != "c 1 returned" {
				t.Errorf("told %q, want the return", line)
			}
			if e, _ := cluster.Pick(nil); e == nil {
				t.Error("no endpoint can serve")
			}
		})
	}
}

// An endpoint that is gone is neither ejected nor brought back.
func TestNoEjectionAfterRemoval(t *testing.T) {
	told := make(recorder, 10)
	c := ejecting(t, told, snapshotPassive(1, 100), 1, 1)
	gone := endpoint(t, c, 1)
	c.SetEndpoints(endpoints(0, 1)[1:])
	gone.Report(502, nil)
	told.quiet(t)
	last := endpoint(t, c, 2)
	c.owner.Apply(nil)
	last.Report(502, nil)
	told.quiet(t)
}

// Where the cap forbids it at first, an endpoint that goes on failing is ejected when it may be.
func TestEjectionIsTriedAgain(t *testing.T) {
	told := make(recorder, 10)
	c := ejecting(t, told, snapshotPassive(2, 50), 1)
	e := endpoint(t, c, 1)
	for range 3 {
		e.Report(502, nil)
	}
	told.quiet(t)
	c.SetEndpoints(endpoints(1, 1))
	e.Report(502, nil)
	if got := told.next(t); got != "c 1 ejected 502 1h0m0s" {
		t.Errorf("told %q", got)
	}
}
