package defaults

import (
	"github.com/pingora-proxy/pingora-proxy/api/settings"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
)

func fill[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}

// Globals fills in the settings of the process that are unset.
func Globals(g *settings.Globals) {
	fill(&g.Admin.BindAddress, settings.DefaultAdminAddress)
	fill(&g.Admin.Dashboard, true)
	fill(&g.Admin.Pprof, false)
	fill(&g.AccessLog.Format, settings.AccessLogJSON)
	fill(&g.AccessLog.Path, "stdout")
	fill(&g.AccessLog.SamplePercent, 100)
	fill(&g.Metrics.BindAddress, settings.DefaultMetricsAddress)
	fill(&g.Tracing.SamplePercent, 100)
	setReference(g.Tracing.CARef)
	fill(&g.RateLimitStore.TimeoutMs, 50)
	setReference(g.RateLimitStore.PasswordRef)
	setReference(g.RateLimitStore.CARef)
	l := &g.Limits
	fill(&l.MaxConnections, 65536)
	fill(&l.MaxRequests, 32768)
	fill(&l.MaxRequestLineBytes, 8192)
	fill(&l.MaxHeaderBytes, 65536)
	fill(&l.MaxHeaders, 128)
	fill(&l.HeaderTimeoutMs, 10000)
	fill(&l.MinBodyBytesPerSec, 100)
	fill(&l.WorkerThreads, 0)
	fill(&l.DrainTimeoutSecs, 30)
	fill(&l.Via, false)
}

// Service fills in what is unset of a service. Fields of routes that inherit the service's settings stay unset.
func Service(s *v1alpha1.ProxyServiceSpec, from v1alpha1.Origin) {
	fill(&s.Protocol, v1alpha1.ProtocolHTTP)
	fill(&s.TLS, false)
	if c := s.TLSConfig; c != nil {
		fill(&c.Mode, v1alpha1.TLSTerminate)
		fill(&c.MinVersion, v1alpha1.TLS12)
		if c.ClientAuth != nil {
			fill(&c.ClientAuth.Mode, v1alpha1.ClientAuthRequire)
		}
	}
	setBackends(s.Backends)
	if s.UpstreamTLS != nil {
		fill(&s.UpstreamTLS.InsecureSkipVerify, false)
	}
	fill(&s.HealthCheck, v1alpha1.HealthCheck{})
	HealthCheck(s.HealthCheck)
	fill(&s.LoadBalancing, v1alpha1.LoadBalancing{})
	LoadBalancing(s.LoadBalancing)
	fill(&s.Timeouts, v1alpha1.Timeouts{})
	fill(&s.Timeouts.ConnectMs, 1000)
	fill(&s.Timeouts.RequestMs, 30000)
	fill(&s.Timeouts.IdleSecs, 60)
	if *s.Protocol == v1alpha1.ProtocolHTTP {
		fill(&s.Retry, v1alpha1.Retry{})
		setRetry(s.Retry)
	}
	setCircuitBreaker(s.CircuitBreaker)
	if s.ClientIP != nil {
		fill(&s.ClientIP.ProxyProtocol, false)
	}
	Auth(s.Auth)
	setRateLimits(s.RateLimits)
	if s.Sanitize != nil {
		fill(&s.Sanitize.AllowUnderscores, false)
		fill(&s.Sanitize.MergeSlashes, true)
	}
	switch {
	case *s.Protocol != v1alpha1.ProtocolHTTP || from == v1alpha1.FromCluster:
		fill(&s.HealthPath, v1alpha1.Off)
	default:
		fill(&s.HealthPath, "/health")
	}
	for i := range s.Routes {
		setRoute(&s.Routes[i])
	}
	v1alpha1.References(s, func(_ string, r *v1alpha1.Reference) { setReference(r) })
}

// LoadBalancing fills in what is unset of a load balancing, which may be nil.
func LoadBalancing(l *v1alpha1.LoadBalancing) {
	if l == nil {
		return
	}
	fill(&l.Algorithm, v1alpha1.AlgorithmRoundRobin)
	if *l.Algorithm == v1alpha1.AlgorithmConsistentHash {
		fill(&l.HashOn, v1alpha1.HashOn{})
		fill(&l.HashOn.Type, v1alpha1.HashClientIP)
	}
	if l.Sticky != nil {
		fill(&l.Sticky.CookieName, "PXS")
		fill(&l.Sticky.TTLSecs, 3600)
	}
	fill(&l.ZoneAware, true)
}

func setRetry(r *v1alpha1.Retry) {
	if r == nil {
		return
	}
	fill(&r.Attempts, 2)
	fill(&r.BudgetPercent, 20)
}

func setCircuitBreaker(c *v1alpha1.CircuitBreaker) {
	if c == nil {
		return
	}
	fill(&c.MaxConnections, 1024)
	fill(&c.MaxPending, 1024)
	fill(&c.MinRequests, 20)
	fill(&c.OpenSecs, 10)
}

// HealthCheck fills in what is unset of a health check, which may be nil.
func HealthCheck(h *v1alpha1.HealthCheck) {
	if h == nil {
		return
	}
	fill(&h.TimeoutMs, 500)
	fill(&h.FrequencySecs, 5)
	fill(&h.Type, v1alpha1.HealthCheckTCP)
	if *h.Type == v1alpha1.HealthCheckHTTP {
		fill(&h.Path, "/")
	}
	fill(&h.HealthyThreshold, 1)
	fill(&h.UnhealthyThreshold, 3)
	if p := h.Passive; p != nil {
		fill(&p.ConsecutiveErrors, 5)
		fill(&p.EjectionSecs, 30)
		fill(&p.MaxEjectionPercent, 50)
	}
}

// setRoute fills in what is unset and not the service's to say.
func setRoute(r *v1alpha1.Route) {
	setBackends(r.Backends)
	for i := range r.Matches {
		m := &r.Matches[i]
		if m.Path != nil {
			fill(&m.Path.Type, v1alpha1.PathMatchPrefix)
			if *m.Path.Type == v1alpha1.PathMatchPrefix {
				fill(&m.Path.Value, "/")
			}
		}
		for j := range m.Headers {
			fill(&m.Headers[j].Type, v1alpha1.ValueMatchExact)
		}
		for j := range m.Query {
			fill(&m.Query[j].Type, v1alpha1.ValueMatchExact)
		}
	}
	for i := range r.Filters {
		setFilter(&r.Filters[i])
	}
	HealthCheck(r.HealthCheck)
	LoadBalancing(r.LoadBalancing)
	setRetry(r.Retry)
	setCircuitBreaker(r.CircuitBreaker)
	Auth(r.Auth)
	setRateLimits(r.RateLimits)
}

func setBackends(list []v1alpha1.Backend) {
	for i := range list {
		setBackend(&list[i])
	}
}

func setBackend(b *v1alpha1.Backend) {
	if b == nil {
		return
	}
	fill(&b.Weight, 1)
	fill(&b.Role, v1alpha1.RolePrimary)
}

// setAside is setBackend for a backend that requests are not forwarded to: what `upstreamTLS` says is not meant for it.
func setAside(b *v1alpha1.Backend) {
	if b != nil {
		setBackend(b)
		fill(&b.Protocol, v1alpha1.BackendHTTP)
	}
}

func setReference(r *v1alpha1.Reference) {
	if r != nil && r.File == nil {
		fill(&r.Kind, v1alpha1.ReferenceSecret)
	}
}
