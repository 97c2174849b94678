package telemetry

import (
	"testing"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

func TestLatency(t *testing.T) {
	for _, c := range []struct {
		name     string
		observed map[time.Duration]int
		p50, p99 time.Duration
	}{
		{"nothing", nil, 0, 0},
		{"one in the first bucket", map[time.Duration]int{0: 1}, 250 * time.Microsecond, 495 * time.Microsecond},
		{"negative", map[time.Duration]int{-time.Second: 2}, 250 * time.Microsecond, 495 * time.Microsecond},
		{"in the middle of a bucket", map[time.Duration]int{15 * time.Millisecond: 100}, 17500 * time.Microsecond, 24850 * time.Microsecond},
		{"two buckets", map[time.Duration]int{2 * time.Millisecond: 98, 40 * time.Millisecond: 2}, 1765306, 37500 * time.Microsecond},
		{"at a bound", map[time.Duration]int{time.Millisecond: 4}, 750 * time.Microsecond, 995 * time.Microsecond},
		{"beyond the last", map[time.Duration]int{time.Hour: 3}, 30 * time.Second, 30 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d Durations
			var want uint64
			for took, n := range c.observed {
				for range n {
					d.Observe(exchange.Nanos(took))
					want++
				}
			}
			l := d.Latency()
			near := func(a, b time.Duration) bool { return (a - b).Abs() < time.Microsecond }
			if l.Count != want || !near(l.P50, c.p50) || !near(l.P99, c.p99) || len(l.Counts) != len(LatencyBounds())+1 {
				t.Errorf("%+v, want %d, %v and %v", l, want, c.p50, c.p99)
			}
		})
	}
}

func TestLatencyOfRoutes(t *testing.T) {
	m := NewMetrics("test")
	if request, upstream := m.Latency("n", "s", "r"); request.Count+upstream.Count != 0 {
		t.Error(request, upstream)
	}
	x := &exchange.Exchange{}
	x.Record = exchange.Record{Status: 200, Start: 1, UpstreamStart: 1, UpstreamHead: exchange.Nanos(3 * time.Millisecond), End: exchange.Nanos(time.Second)}
	m.Route("n", "s", "r").Observe(x)
	if request, upstream := m.Latency("n", "s", "r"); request.Count != 1 || upstream.Count != 1 || request.P99 < upstream.P99 {
		t.Error(request, upstream)
	}
	if m.Certificates() != nil {
		t.Error("there are certificates")
	}
	m.SetCertificates([]Certificate{{Name: "a"}})
	if list := m.Certificates(); len(list) != 1 || list[0].Name != "a" {
		t.Error(list)
	}
}

func TestObserveDoesNotAllocate(t *testing.T) {
	var d Durations
	if n := testing.AllocsPerRun(100, func() { d.Observe(exchange.Nanos(3 * time.Millisecond)) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkObserveDuration(b *testing.B) {
	var d Durations
	for b.Loop() {
		d.Observe(exchange.Nanos(700 * time.Microsecond))
	}
}
