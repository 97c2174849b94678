package telemetry

import (
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// A Counter counts up. It fills a cache line, so that two busy counters do not slow each other down.
type Counter struct {
	n atomic.Uint64
	_ [56]byte
}

// Inc adds one.
func (c *Counter) Inc() { c.n.Add(1) }

// Add adds n.
func (c *Counter) Add(n uint64) { c.n.Add(n) }

// Value returns the count.
func (c *Counter) Value() uint64 { return c.n.Load() }

// A Gauge goes up and down. It fills a cache line, like a Counter.
type Gauge struct {
	n atomic.Int64
	_ [56]byte
}

// Inc adds one.
func (g *Gauge) Inc() { g.n.Add(1) }

// Dec takes one away.
func (g *Gauge) Dec() { g.n.Add(-1) }

// Set makes n the value.
func (g *Gauge) Set(n int64) { g.n.Store(n) }

// Value returns the value.
func (g *Gauge) Value() int64 { return g.n.Load() }

// maxReasons bounds the values of a reason label. The program names its reasons itself, about thirty of them; the bound
// holds even if one should ever be made of what a client sent.
const maxReasons = 64

// otherReason is the label for what exceeds maxReasons.
const otherReason = "other"

// reasons counts by reason. Reading is free of locks: a reason that is seen for the first time makes a new map.
type reasons struct {
	mu sync.Mutex // guards writing byName
	by atomic.Pointer[map[string]*atomic.Uint64]
}

// inc adds one to a reason's count.
func (r *reasons) inc(reason string) {
	if m := r.by.Load(); m != nil {
		if c := (*m)[reason]; c != nil {
			c.Add(1)
			return
		}
	}
	r.add(reason).Add(1)
}

func (r *reasons) add(reason string) *atomic.Uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := map[string]*atomic.Uint64{}
	if m := r.by.Load(); m != nil {
		old = *m
	}
	if len(old) >= maxReasons-1 && old[reason] == nil {
		reason = otherReason
	}
	if c := old[reason]; c != nil {
		return c
	}
	grown := make(map[string]*atomic.Uint64, len(old)+1)
	for name, c := range old {
		grown[name] = c
	}
	c := new(atomic.Uint64)
	grown[reason] = c
	r.by.Store(&grown)
	return c
}

func (r *reasons) collect(ch chan<- prometheus.Metric, desc *prometheus.Desc) {
	m := r.by.Load()
	if m == nil {
		return
	}
	for reason, c := range *m {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(c.Load()), reason)
	}
}
