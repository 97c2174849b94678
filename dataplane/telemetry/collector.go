package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"
)

const prefix = "pingora_proxy_"

// descriptions are the names that users see.
type descriptions struct {
	requests, duration, upstreamDuration  *prometheus.Desc
	requestBytes, responseBytes, retries  *prometheus.Desc
	openConnections, active, tunnels      *prometheus.Desc
	connections, rejected                 *prometheus.Desc
	local, aborted, upstreamErrors        *prometheus.Desc
	breakerState                          *prometheus.Desc
	upstreamHealthy, checks, ejections    *prometheus.Desc
	reloads, reloadSuccessful, reloadedAt *prometheus.Desc
	logDropped, logErrors, processLog     *prometheus.Desc
	acceptErrors, spansDropped            *prometheus.Desc
	namesFollowed, namesFailing           *prometheus.Desc
	notAfter                              *prometheus.Desc
}

func describe() *descriptions {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prefix+name, help, labels, nil)
	}
	route := []string{"namespace", "service", "route"}
	return &descriptions{
		requests: desc("requests_total", "Requests by route, method, status and protocol.",
			"namespace", "service", "route", "method", "code", "protocol"),
		duration: desc("request_duration_seconds",
			"From the first byte of a request to the last of its response. Upgraded connections are left out.", route...),
		upstreamDuration: desc("upstream_request_duration_seconds",
			"From the start of the last try to the head of its response.", route...),
		requestBytes:    desc("request_bytes_total", "Bytes of request bodies.", route...),
		responseBytes:   desc("response_bytes_total", "Bytes of response bodies.", route...),
		retries:         desc("retries_total", "Tries after the first of a request.", route...),
		openConnections: desc("open_connections", "Client connections that are open."),
		active:          desc("active_requests", "Requests that are being served."),
		tunnels:         desc("open_tunnels", "Upgraded connections (WebSocket) that are open."),
		connections:     desc("connections_total", "Client connections that were accepted."),
		rejected:        desc("rejected_connections_total", "Client connections that were turned away.", "reason"),
		local:           desc("local_responses_total", "Responses that the proxy itself made.", "reason"),
		aborted:         desc("aborted_responses_total", "Responses of endpoints that were not passed on whole.", "reason"),
		upstreamErrors:  desc("upstream_errors_total", "Tries that failed, retried or not.", "reason"),
		upstreamHealthy: desc("upstream_healthy", "1 where an endpoint gets requests, 0 where it is taken out.", "upstream"),
		breakerState: desc("circuit_breaker_state", "The circuit breaker of a cluster: 0 closed, 1 half-open, 2 open.",
			"service", "cluster"),
		checks:    desc("health_checks_total", "Active health checks by their result.", "result"),
		ejections: desc("upstream_ejections_total", "Endpoints that were taken out.", "reason"),
		reloads:   desc("config_reloads_total", "Configurations that were applied or refused.", "result"),
		reloadSuccessful: desc("config_last_reload_successful",
			"1 where the last configuration was applied, 0 where it was refused."),
		reloadedAt: desc("config_last_reload_success_timestamp_seconds", "When a configuration was applied last, in Unix time."),
		logDropped: desc("access_log_dropped_total", "Lines of the access log that were lost because it could not be written."),
		notAfter: desc("tls_certificate_not_after_seconds", "When a certificate ends, in Unix time.",
			"namespace", "service", "certificate"),
		logErrors:  desc("access_log_write_errors_total", "Failed writes of the access log."),
		processLog: desc("log_dropped_total", "Lines of the process log that were lost because stderr did not take them."),
		acceptErrors: desc("accept_errors_total",
			"Failed attempts to accept a client connection, for lack of descriptors or of memory. The connection waits in the kernel."),
		spansDropped:  desc("trace_spans_dropped_total", "Spans that were lost: the collector did not take them, or too many waited for it."),
		namesFollowed: desc("dns_names", "DNS names whose addresses are followed."),
		namesFailing:  desc("dns_names_failing", "DNS names that could not be resolved when that was tried last; known addresses stay in use."),
	}
}

// A collector exports Metrics. It makes the samples at each scrape: what requests touch is bare counters.
type collector struct {
	metrics *Metrics
	desc    *descriptions
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	d := c.desc
	for _, desc := range []*prometheus.Desc{
		d.requests, d.duration, d.upstreamDuration, d.requestBytes, d.responseBytes, d.retries, d.openConnections, d.active,
		d.tunnels, d.connections, d.rejected, d.local, d.aborted, d.upstreamErrors, d.upstreamHealthy, d.checks, d.ejections,
		d.reloads, d.reloadSuccessful, d.reloadedAt, d.logDropped, d.logErrors, d.notAfter, d.breakerState,
		d.processLog, d.acceptErrors, d.spansDropped, d.namesFollowed, d.namesFailing,
	} {
		ch <- desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	m, d := c.metrics, c.desc
	counter := func(desc *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(desc *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, labels...)
	}

	for _, r := range m.liveRoutes() {
		r.collect(ch, d)
	}
	gauge(d.openConnections, float64(m.OpenConnections.Value()))
	gauge(d.active, float64(m.ActiveRequests.Value()))
	gauge(d.tunnels, float64(m.OpenTunnels.Value()))
	counter(d.connections, m.Connections.Value())
	m.rejectedConnections.collect(ch, d.rejected)
	m.localResponses.collect(ch, d.local)
	m.abortedResponses.collect(ch, d.aborted)
	m.upstreamErrors.collect(ch, d.upstreamErrors)
	m.ejections.collect(ch, d.ejections)
	counter(d.checks, m.checksPassed.Value(), "success")
	counter(d.checks, m.checksFailed.Value(), "failure")
	counter(d.reloads, m.reloadsDone.Value(), "success")
	counter(d.reloads, m.reloadsFailed.Value(), "error")
	gauge(d.reloadSuccessful, boolValue(m.reloadedAt.Load() != 0 && !m.reloadFailed.Load()))
	gauge(d.reloadedAt, float64(m.reloadedAt.Load())/1000)
	counter(d.logDropped, m.AccessLogDropped.Value())
	counter(d.logErrors, m.AccessLogWriteErrors.Value())
	if lost := m.logLost.Load(); lost != nil {
		counter(d.processLog, lost.Value())
	}
	counter(d.acceptErrors, m.AcceptErrors.Value())
	counter(d.spansDropped, m.spansDropped.Value())
	if count := m.names.Load(); count != nil {
		followed, failing := (*count)()
		gauge(d.namesFollowed, float64(followed))
		gauge(d.namesFailing, float64(failing))
	}
	if list := m.certificates.Load(); list != nil {
		for _, c := range *list {
			gauge(d.notAfter, float64(c.NotAfter.Unix()), c.Namespace, c.Service, c.Name)
		}
	}
	if list := m.breakers.Load(); list != nil {
		(*list)(func(service, cluster string, state int) { gauge(d.breakerState, float64(state), service, cluster) })
	}
	for upstream, healthy := range m.health() {
		gauge(d.upstreamHealthy, boolValue(healthy), upstream)
	}
}

// liveRoutes returns the routes whose series are exported.
func (m *Metrics) liveRoutes() []*RouteMetrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(m.now())
	routes := make([]*RouteMetrics, 0, len(m.routes)+1)
	routes = append(routes, m.noRoute)
	for _, r := range m.routes {
		routes = append(routes, r)
	}
	return routes
}

func (m *Metrics) health() map[string]bool {
	list := m.upstreams.Load()
	if list == nil {
		return nil
	}
	health := map[string]bool{}
	(*list)(func(upstream string, healthy bool) {
		if other, ok := health[upstream]; ok {
			healthy = healthy && other
		}
		health[upstream] = healthy
	})
	return health
}

func boolValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
