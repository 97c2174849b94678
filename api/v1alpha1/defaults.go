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
	fill(&g.Admin.Pprof, false)
	fill(&g.AccessLog.Format, AccessLogJSON)
	fill(&g.AccessLog.Path, "stdout")
	fill(&g.AccessLog.SamplePercent, 100)
	fill(&g.Metrics.BindAddress, DefaultMetricsAddress)
	l := &g.Limits
	fill(&l.MaxConnections, 65536)
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
	fill(&s.TLS, false)
	if s.TLSConfig != nil {
		fill(&s.TLSConfig.MinVersion, TLS12)
	}
	setBackends(s.Backends)
	fill(&s.HealthCheck, HealthCheck{})
	s.HealthCheck.SetDefaults()
	fill(&s.LoadBalancing, LoadBalancing{})
	fill(&s.LoadBalancing.Algorithm, AlgorithmRoundRobin)
	fill(&s.Timeouts, Timeouts{})
	fill(&s.Timeouts.ConnectMs, 1000)
	fill(&s.Timeouts.RequestMs, 30000)
	fill(&s.Timeouts.IdleSecs, 60)
	fill(&s.Retry, Retry{})
	fill(&s.Retry.Attempts, 2)
	fill(&s.Retry.BudgetPercent, 20)
	if from == FromFile {
		fill(&s.HealthPath, "/health")
	} else {
		fill(&s.HealthPath, Off)
	}
	for i := range s.Routes {
		s.Routes[i].SetDefaults()
	}
}

// SetDefaults fills in what is unset.
func (h *HealthCheck) SetDefaults() {
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
		if d := r.Filters[i].Redirect; d != nil {
			fill(&d.Code, 302)
		}
	}
}

func setBackends(list []Backend) {
	for i := range list {
		fill(&list[i].Weight, 1)
		fill(&list[i].Role, RolePrimary)
	}
}
