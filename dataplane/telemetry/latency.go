package telemetry

import (
	"sync/atomic"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// Durations count how long something took, in the buckets of the histograms. The zero value is ready to use, and its
// methods may be called from any goroutine.
type Durations struct {
	buckets [len(bounds) + 1]atomic.Uint64
}

// Observe counts one. It costs an atomic addition.
func (d *Durations) Observe(n exchange.Nanos) { d.buckets[bucketOf(n)].Add(1) }

// Latency returns what was counted.
func (d *Durations) Latency() Latency { return latencyOf(&d.buckets) }

func bucketOf(n exchange.Nanos) int {
	i := 0
	for i < len(bounds) && n > exchange.Nanos(bounds[i]) { // most requests end at the first or second bound
		i++
	}
	return i
}

// A Latency is what was observed since the start, and what follows from it.
type Latency struct {
	Counts   [len(bounds) + 1]uint64 // by the bounds of LatencyBounds; the last one is what took longer than all of them
	Count    uint64
	P50, P99 time.Duration // 0 where there is nothing. What is beyond the last bound counts as the last bound.
}

// LatencyBounds are the upper bounds of a Latency's counts.
func LatencyBounds() []time.Duration { return append([]time.Duration(nil), bounds[:]...) }

func latencyOf(buckets *[len(bounds) + 1]atomic.Uint64) Latency {
	var l Latency
	for i := range buckets {
		l.Counts[i] = buckets[i].Load()
		l.Count += l.Counts[i]
	}
	l.P50, l.P99 = l.quantile(0.5), l.quantile(0.99)
	return l
}

// quantile takes what lies in one bucket as spread evenly, as Prometheus' histogram_quantile does.
func (l *Latency) quantile(q float64) time.Duration {
	if l.Count == 0 {
		return 0
	}
	rank, below := q*float64(l.Count), 0.0
	lower := time.Duration(0)
	for i, bound := range bounds {
		n := float64(l.Counts[i])
		if n > 0 && below+n >= rank {
			return lower + time.Duration(float64(bound-lower)*(rank-below)/n)
		}
		below += n
		lower = bound
	}
	return lower
}

// Latency tells how long requests of a route took, up to the end, and how long its endpoints took to begin to answer. The
// zero Latency stands for a route that is not known.
func (m *Metrics) Latency(namespace, service, route string) (request, upstream Latency) {
	m.mu.Lock()
	r := m.routes[routeKey{namespace, service, route}]
	m.mu.Unlock()
	if r == nil {
		return Latency{}, Latency{}
	}
	return r.duration.latency(), r.upstream.latency()
}

// Certificates are those that SetCertificates was given last.
func (m *Metrics) Certificates() []Certificate {
	if list := m.certificates.Load(); list != nil {
		return *list
	}
	return nil
}
