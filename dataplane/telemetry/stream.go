package telemetry

import (
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// StreamMetrics are the counters of one TCP service. One that stays in the configuration keeps them.
type StreamMetrics struct {
	Open     Gauge         // connections of clients
	BytesIn  atomic.Uint64 // from clients
	BytesOut atomic.Uint64 // to clients

	ended  reasons
	goneAt exchange.Nanos // when no configuration named the service any more; 0: it lives. Guarded by streams.mu
}

// Ended counts a connection that is over, and why; reason is empty where both sides came to their end.
func (m *StreamMetrics) Ended(reason exchange.Reason) { m.ended.inc(string(reason)) }

// streams are the TCP services that have counters.
type streams struct {
	mu                     sync.Mutex
	by                     map[streamKey]*StreamMetrics
	ended, open, sent, got *prometheus.Desc
	now                    func() exchange.Nanos
}

type streamKey struct{ namespace, service string }

func newStreams() *streams {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prefix+name, help, append([]string{"namespace", "service"}, labels...), nil)
	}
	return &streams{
		by:    map[streamKey]*StreamMetrics{},
		ended: desc("tcp_connections_total", "Connections of TCP services that are over, and why; no reason: both sides came to their end.", "reason"),
		open:  desc("tcp_open_connections", "Connections of TCP services that are open."),
		got:   desc("tcp_received_bytes_total", "Bytes that clients of TCP services have sent."),
		sent:  desc("tcp_sent_bytes_total", "Bytes that clients of TCP services have got."),
		now:   exchange.Now,
	}
}

// Stream returns the counters of a TCP service: the same ones for the same names for as long as the service is kept.
func (m *Metrics) Stream(namespace, service string) *StreamMetrics {
	s := m.streams
	s.mu.Lock()
	defer s.mu.Unlock()
	key := streamKey{namespace, service}
	if s.by[key] == nil {
		s.by[key] = &StreamMetrics{}
	}
	s.by[key].goneAt = 0
	return s.by[key]
}

// KeepStreams says that live are all the TCP services of the configuration that now serves. The series of others stay for
// five minutes, and for as long as they have connections.
func (m *Metrics) KeepStreams(live []*StreamMetrics) {
	keep := make(map[*StreamMetrics]bool, len(live))
	for _, l := range live {
		keep[l] = true
	}
	s := m.streams
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.by {
		if keep[l] {
			l.goneAt = 0
		} else if l.goneAt == 0 {
			l.goneAt = max(s.now(), 1)
		}
	}
	s.forget()
}

// forget drops what is gone for too long. The caller holds s.mu.
func (s *streams) forget() {
	for key, l := range s.by {
		if l.goneAt != 0 && s.now()-l.goneAt > goneGrace && l.Open.Value() == 0 {
			delete(s.by, key)
		}
	}
}

// Describe implements prometheus.Collector.
func (s *streams) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{s.ended, s.open, s.got, s.sent} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s *streams) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget()
	for k, l := range s.by {
		if by := l.ended.by.Load(); by != nil {
			for reason, n := range *by {
				ch <- prometheus.MustNewConstMetric(s.ended, prometheus.CounterValue, float64(n.Load()), k.namespace, k.service, reason)
			}
		}
		ch <- prometheus.MustNewConstMetric(s.open, prometheus.GaugeValue, float64(l.Open.Value()), k.namespace, k.service)
		ch <- prometheus.MustNewConstMetric(s.got, prometheus.CounterValue, float64(l.BytesIn.Load()), k.namespace, k.service)
		ch <- prometheus.MustNewConstMetric(s.sent, prometheus.CounterValue, float64(l.BytesOut.Load()), k.namespace, k.service)
	}
}
