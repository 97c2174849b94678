package telemetry

import "github.com/prometheus/client_golang/prometheus"

// filterMetrics are what filters count. A look-up by labels costs 100 ns, which none of these meets on the way of a request
// that is served as usual.
type filterMetrics struct {
	rateLimited, jwksRefreshes, mirrored *prometheus.CounterVec
	sharedErrors, exportFailures         prometheus.Counter
	storeUp                              *prometheus.GaugeVec // of no labels: it is not there without a store
}

func newFilterMetrics(registry prometheus.Registerer) filterMetrics {
	f := filterMetrics{
		rateLimited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + "rate_limited_total", Help: "Requests above a rate limit; those of mode Observe were let through.",
		}, []string{"namespace", "service", "limit", "mode"}),
		jwksRefreshes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + "jwks_refreshes_total", Help: "Fetches of the keys of a JWT provider, by result: success or failure.",
		}, []string{"provider", "result"}),
		mirrored: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + "mirrored_requests_total", Help: "Copies of requests, by result: sent, dropped or failed.",
		}, []string{"result"}),
		sharedErrors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: prefix + "rate_limit_store_errors_total", Help: "Requests for which the store of shared rate limits had no answer.",
		}),
		exportFailures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: prefix + "trace_export_failures_total", Help: "Batches of spans that could not be sent to the collector.",
		}),
	}
	f.storeUp = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: prefix + "rate_limit_store_up", Help: "1 while the store of shared rate limits answers; not there where none is configured.",
	}, nil)
	registry.MustRegister(f.rateLimited, f.jwksRefreshes, f.mirrored, f.sharedErrors, f.exportFailures, f.storeUp)
	return f
}

// RateLimited counts a request that was above a limit.
func (m *Metrics) RateLimited(namespace, service, limit, mode string) {
	m.filters.rateLimited.WithLabelValues(namespace, service, limit, mode).Inc()
}

// SharedLimitError counts a request for which the store of shared limits had no answer.
func (m *Metrics) SharedLimitError() { m.filters.sharedErrors.Inc() }

// SharedStore says whether there is a store of shared limits, and whether it answers.
func (m *Metrics) SharedStore(configured, up bool) {
	switch {
	case !configured:
		m.filters.storeUp.Reset()
	case up:
		m.filters.storeUp.WithLabelValues().Set(1)
	default:
		m.filters.storeUp.WithLabelValues().Set(0)
	}
}

// JWKSRefresh counts a fetch of a provider's keys.
func (m *Metrics) JWKSRefresh(provider string, ok bool) {
	result := "success"
	if !ok {
		result = "failure"
	}
	m.filters.jwksRefreshes.WithLabelValues(provider, result).Inc()
}

// SpansLost counts a batch of spans that could not be sent.
func (m *Metrics) SpansLost() { m.filters.exportFailures.Inc() }

// SpansDropped counts spans that no collector has got.
func (m *Metrics) SpansDropped(n int) { m.spansDropped.Add(uint64(n)) }

// Mirrored counts a copy of a request: sent, dropped or failed.
func (m *Metrics) Mirrored(result string) { m.filters.mirrored.WithLabelValues(result).Inc() }
