package telemetry

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// bounds are the upper, inclusive bounds of the classic buckets; what is slower than the last falls into +Inf.
var bounds = [...]time.Duration{
	500 * time.Microsecond,
	1 * time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	1 * time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second,
}

// A histogram counts durations in classic buckets. The client library's own costs two to three times as much per
// observation, and more when several cores observe at once.
type histogram struct {
	buckets [len(bounds) + 1]atomic.Uint64
	micros  atomic.Uint64 // the sum: nanoseconds would overflow after 584 years, which 10,000 open requests reach in 21 days
}

// observe counts d; what is negative counts as 0.
func (h *histogram) observe(d exchange.Nanos) {
	d = max(d, 0)
	i := 0
	for i < len(bounds) && d > exchange.Nanos(bounds[i]) { // most requests end at the first or second bound
		i++
	}
	h.buckets[i].Add(1)
	h.micros.Add(uint64(d) / 1000)
}

// collect sends the histogram; one without an observation is left out.
func (h *histogram) collect(ch chan<- prometheus.Metric, desc *prometheus.Desc, labels ...string) {
	cumulative := make(map[float64]uint64, len(bounds))
	var count uint64
	sum := float64(h.micros.Load()) / 1e6
	for i, bound := range bounds {
		count += h.buckets[i].Load()
		cumulative[bound.Seconds()] = count
	}
	count += h.buckets[len(bounds)].Load()
	if count == 0 {
		return
	}
	ch <- prometheus.MustNewConstHistogram(desc, count, sum, cumulative, labels...)
}
