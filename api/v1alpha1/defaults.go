package v1alpha1

// Origin says where a configuration comes from: some defaults and some rules depend on it.
type Origin uint8

// The origins.
const (
	FromFile    Origin = iota // a standalone file
	FromCluster               // a custom resource
)

// Off is the value that turns an address, a path or a log off.
const Off = "off"

// The addresses that the process serves unless it is told otherwise. One that is taken is skipped with a warning.
const (
	DefaultAdminAddress   = "127.0.0.1:9901"
	DefaultMetricsAddress = "127.0.0.1:9102"
)

func fill[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}

// SetDefaults fills in the globals that are unset.
func (g *Globals) SetDefaults() {
	fill(&g.Admin.BindAddress, DefaultAdminAddress)
	fill(&g.Admin.Dashboard, true)
	fill(&g.Admin.Pprof, false)
	fill(&g.AccessLog.Format, AccessLogJSON)
	fill(&g.AccessLog.Path, "stdout")
	fill(&g.AccessLog.SamplePercent, 100)
	fill(&g.Metrics.BindAddress, DefaultMetricsAddress)
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

// SetDefaults fills in what is unset. Fields of routes that inherit the service's settings stay unset.
func (s *ProxyServiceSpec) SetDefaults(from Origin) {
	fill(&s.Protocol, ProtocolHTTP)
	fill(&s.TLS, false)
	if c := s.TLSConfig; c != nil {
		fill(&c.Mode, TLSTerminate)
		fill(&c.MinVersion, TLS12)
		if c.ClientAuth != nil {
			fill(&c.ClientAuth.Mode, ClientAuthRequire)
		}
	}
	setBackends(s.Backends)
	if s.UpstreamTLS != nil {
		fill(&s.UpstreamTLS.InsecureSkipVerify, false)
	}
	fill(&s.HealthCheck, HealthCheck{})
	s.HealthCheck.SetDefaults()
	fill(&s.LoadBalancing, LoadBalancing{})
	s.LoadBalancing.SetDefaults()
	fill(&s.Timeouts, Timeouts{})
	fill(&s.Timeouts.ConnectMs, 1000)
	fill(&s.Timeouts.RequestMs, 30000)
	fill(&s.Timeouts.IdleSecs, 60)
	if *s.Protocol == ProtocolHTTP {
		fill(&s.Retry, Retry{})
		s.Retry.SetDefaults()
	}
	s.CircuitBreaker.SetDefaults()
	if s.ClientIP != nil {
		fill(&s.ClientIP.ProxyProtocol, false)
	}
	s.Auth.SetDefaults()
	setRateLimits(s.RateLimits)
	if s.Sanitize != nil {
		fill(&s.Sanitize.AllowUnderscores, false)
		fill(&s.Sanitize.MergeSlashes, true)
	}
	switch {
	case *s.Protocol != ProtocolHTTP || from == FromCluster:
		fill(&s.HealthPath, Off)
	default:
		fill(&s.HealthPath, "/health")
	}
	for i := range s.Routes {
		s.Routes[i].SetDefaults()
	}
	References(s, func(_ string, r *Reference) { setReference(r) })
}

// SetDefaults fills in what is unset.
func (l *LoadBalancing) SetDefaults() {
	if l == nil {
		return
	}
	fill(&l.Algorithm, AlgorithmRoundRobin)
	if *l.Algorithm == AlgorithmConsistentHash {
		fill(&l.HashOn, HashOn{})
		fill(&l.HashOn.Type, HashClientIP)
	}
	if l.Sticky != nil {
		fill(&l.Sticky.CookieName, "PXS")
		fill(&l.Sticky.TTLSecs, 3600)
	}
	fill(&l.ZoneAware, true)
}

// SetDefaults fills in what is unset.
func (r *Retry) SetDefaults() {
	if r == nil {
		return
	}
	fill(&r.Attempts, 2)
	fill(&r.BudgetPercent, 20)
}

// SetDefaults fills in what is unset.
func (c *CircuitBreaker) SetDefaults() {
	if c == nil {
		return
	}
	fill(&c.MaxConnections, 1024)
	fill(&c.MaxPending, 1024)
	fill(&c.MinRequests, 20)
	fill(&c.OpenSecs, 10)
}

// SetDefaults fills in what is unset.
func (h *HealthCheck) SetDefaults() {
	if h == nil {
		return
	}
	fill(&h.TimeoutMs, 500)
	fill(&h.FrequencySecs, 5)
	fill(&h.Type, HealthCheckTCP)
	if *h.Type == HealthCheckHTTP {
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

// SetDefaults fills in what is unset and not the service's to say.
func (r *Route) SetDefaults() {
	setBackends(r.Backends)
	for i := range r.Matches {
		m := &r.Matches[i]
		if m.Path != nil {
			fill(&m.Path.Type, PathMatchPrefix)
			if *m.Path.Type == PathMatchPrefix {
				fill(&m.Path.Value, "/")
			}
		}
		for j := range m.Headers {
			fill(&m.Headers[j].Type, ValueMatchExact)
		}
		for j := range m.Query {
			fill(&m.Query[j].Type, ValueMatchExact)
		}
	}
	for i := range r.Filters {
		r.Filters[i].SetDefaults()
	}
	r.HealthCheck.SetDefaults()
	r.LoadBalancing.SetDefaults()
	r.Retry.SetDefaults()
	r.CircuitBreaker.SetDefaults()
	r.Auth.SetDefaults()
	setRateLimits(r.RateLimits)
}

func setBackends(list []Backend) {
	for i := range list {
		list[i].SetDefaults()
	}
}

// SetDefaults fills in what is unset.
func (b *Backend) SetDefaults() {
	if b == nil {
		return
	}
	fill(&b.Weight, 1)
	fill(&b.Role, RolePrimary)
}

func setReference(r *Reference) {
	if r != nil && r.File == nil {
		fill(&r.Kind, ReferenceSecret)
	}
}
