package telemetry

import (
	"cmp"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

const (
	// goneGrace is how long the series of a removed route stay, so that a scrape still sees their last values.
	goneGrace = exchange.Nanos(5 * time.Minute)
	// maxGone bounds the removed routes whose series stay: a configuration that changes every second must not pile them up.
	maxGone = 32
)

// Metrics are the proxy's counters, and the registry that exports them with those of Go and of the process. Its methods
// may be called from any goroutine.
type Metrics struct {
	OpenConnections Gauge   // client connections of all listeners
	ActiveRequests  Gauge   // exchanges between head and end, tunnels left out
	OpenTunnels     Gauge   // upgraded connections
	Connections     Counter // client connections accepted since the start

	AccessLogDropped     Counter // lines that found the buffer full; AccessLog counts them
	AccessLogWriteErrors Counter // failed writes of the access log; AccessLog counts them
	AcceptErrors         Counter // connections that could not be accepted for lack of something; the listeners count them

	spansDropped Counter
	logLost      atomic.Pointer[Counter] // lines of the process log

	rejectedConnections reasons
	localResponses      reasons
	abortedResponses    reasons
	upstreamErrors      reasons
	ejections           reasons
	checksPassed        Counter
	checksFailed        Counter
	reloadsDone         Counter
	reloadsFailed       Counter
	reloadedAt          atomic.Int64 // Unix milliseconds of the last good one
	reloadFailed        atomic.Bool  // the last one was not good
	upstreams           atomic.Pointer[func(yield func(upstream string, healthy bool))]
	breakers            atomic.Pointer[func(yield func(service, cluster string, state int))]
	certificates        atomic.Pointer[[]Certificate]
	names               atomic.Pointer[func() (followed, failing int)]

	filters  filterMetrics
	registry *prometheus.Registry
	now      func() exchange.Nanos
	stale    prometheus.Gauge
	noRoute  *RouteMetrics
	streams  *streams

	mu     sync.Mutex // guards routes, gone, and RouteMetrics' users
	routes map[routeKey]*RouteMetrics
	gone   map[*RouteMetrics]exchange.Nanos // since when no configuration names their routes any more
}

// NewMetrics returns Metrics with a registry of their own. version is that of the program, for build_info.
func NewMetrics(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		now:      exchange.Now,
		routes:   map[routeKey]*RouteMetrics{},
		gone:     map[*RouteMetrics]exchange.Nanos{},
	}
	m.filters = newFilterMetrics(m.registry)
	m.streams = newStreams()
	m.noRoute = &RouteMetrics{metrics: m}
	m.stale = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: prefix + "config_stale",
		Help: "1 while the configuration was read from the last good file, because the API server did not answer.",
	})
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        prefix + "build_info",
		Help:        "1, with the version of the program and of Go that built it.",
		ConstLabels: prometheus.Labels{"version": version, "go_version": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(build, m.stale, m.streams, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &collector{metrics: m, desc: describe()})
	return m
}

// Handler serves the metrics in the formats that Prometheus reads.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: 8, // a scrape walks all routes: more at once are a mistake, or an attack
		EnableOpenMetrics:   true,
	})
}

// Gatherer is the registry, for tests and for other ways to export it.
func (m *Metrics) Gatherer() prometheus.Gatherer { return m.registry }

// Route returns the counters of a route: the same ones for the same names for as long as the route is kept.
func (m *Metrics) Route(namespace, service, route string) *RouteMetrics {
	key := routeKey{namespace, service, route}
	if key == (routeKey{}) {
		return m.noRoute
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.routes[key]
	if r == nil {
		r = &RouteMetrics{metrics: m, key: key}
		m.routes[key] = r
	}
	delete(m.gone, r)
	return r
}

// NoRoute returns the counters of requests that no route took; their labels are empty.
func (m *Metrics) NoRoute() *RouteMetrics { return m.noRoute }

// ReplaceRoutes says which routes a new configuration has that the one before had not, and the other way round; a route of the
// same name may be both. The series of those that are gone stay for five minutes, then they are forgotten; of more than 32 such
// routes the ones that went first are forgotten at once.
func (m *Metrics) ReplaceRoutes(come, gone []*RouteMetrics) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	for _, r := range come {
		r.users++
		delete(m.gone, r)
	}
	for _, r := range gone {
		if r.users--; r.users == 0 {
			m.gone[r] = now
		}
	}
	m.forget(now)
}

// forget drops what is gone for too long. The caller holds m.mu.
func (m *Metrics) forget(now exchange.Nanos) {
	for r, since := range m.gone {
		if now-since > goneGrace {
			m.drop(r)
		}
	}
	if len(m.gone) <= maxGone {
		return
	}
	first := slices.SortedFunc(maps.Keys(m.gone), func(a, b *RouteMetrics) int { return cmp.Compare(m.gone[a], m.gone[b]) })
	for _, r := range first[:len(first)-maxGone] {
		m.drop(r)
	}
}

func (m *Metrics) drop(r *RouteMetrics) {
	delete(m.routes, r.key)
	delete(m.gone, r)
}

// SetUpstreams tells where the health of endpoints is read: list is called at each scrape, from its goroutine, and must
// call yield for every endpoint. An address that several clusters name is healthy when all of them find it healthy.
func (m *Metrics) SetUpstreams(list func(yield func(upstream string, healthy bool))) {
	m.upstreams.Store(&list)
}

// SetBreakers tells where the states of circuit breakers are read: list is called at each scrape, from its goroutine, and
// must call yield for every cluster that has one, with 0 (closed), 1 (half-open) or 2 (open).
func (m *Metrics) SetBreakers(list func(yield func(service, cluster string, state int))) {
	m.breakers.Store(&list)
}

// A Certificate is one that a service shows, and when it ends.
type Certificate struct {
	Namespace, Service, Name string
	NotAfter                 time.Time
}

// SetCertificates says which certificates the configuration that now serves has, each once.
func (m *Metrics) SetCertificates(list []Certificate) { m.certificates.Store(&list) }

// SetLogLost says where the lines of the process log are counted that nobody has got.
func (m *Metrics) SetLogLost(lines *Counter) { m.logLost.Store(lines) }

// SetNames tells where it is read how many DNS names are followed, and how many of them could not be resolved when that was
// tried last.
func (m *Metrics) SetNames(count func() (followed, failing int)) { m.names.Store(&count) }

// RejectConnection counts a client connection that was turned away: too_many_connections, tls_handshake, …
func (m *Metrics) RejectConnection(reason exchange.Reason) { m.rejectedConnections.inc(string(reason)) }

// UpstreamError counts a failed try, also one that another endpoint made good.
func (m *Metrics) UpstreamError(reason exchange.Reason) { m.upstreamErrors.inc(string(reason)) }

// HealthCheck counts an active check and its result.
func (m *Metrics) HealthCheck(passed bool) {
	if passed {
		m.checksPassed.Inc()
	} else {
		m.checksFailed.Inc()
	}
}

// Eject counts an endpoint that was taken out; reason is a constant of the caller: health_check, consecutive_errors, …
func (m *Metrics) Eject(reason string) { m.ejections.inc(reason) }

// ConfigStale says whether what serves comes from the last good file.
func (m *Metrics) ConfigStale(stale bool) {
	m.stale.Set(0)
	if stale {
		m.stale.Set(1)
	}
}

// Reload counts an attempt to apply a configuration. The first one, at the start, counts too.
func (m *Metrics) Reload(err error) {
	m.reloadFailed.Store(err != nil)
	if err != nil {
		m.reloadsFailed.Inc()
		return
	}
	m.reloadsDone.Inc()
	m.reloadedAt.Store(time.Now().UnixMilli())
}
