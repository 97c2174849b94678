package admin

import (
	"cmp"
	"time"
)

// A State is what the admin API shows of the process. Its methods are called once a request, from any goroutine, and
// what they return is not changed afterwards. Order does not matter: the API sorts.
type State interface {
	// Ready reports whether a configuration is being served and the process is not about to stop.
	Ready() bool
	Overview() Overview
	Listeners() []Listener
	Services() []Service
	Routes() []Route
	Endpoints() []Endpoint
	Config() Config
	// Status is everything at once, for the status page.
	Status() Status
	// Outline is the configuration that serves, for a comparison.
	Outline() Outline
	// Explain says what would become of a request. An error says what is wrong with the question.
	Explain(q Question) (*Explanation, error)
}

// An Overview is the process in figures.
type Overview struct {
	Version         string        `json:"version"`
	StartedAt       time.Time     `json:"started_at"`
	UptimeSeconds   int64         `json:"uptime_seconds"`
	Ready           bool          `json:"ready"`
	ConfigHash      string        `json:"config_hash"`
	Listeners       int           `json:"listeners"`
	Services        int           `json:"services"`
	Routes          int           `json:"routes"`
	Endpoints       EndpointCount `json:"endpoints"`
	OpenConnections int64         `json:"open_connections"`
	ActiveRequests  int64         `json:"active_requests"`
	OpenTunnels     int64         `json:"open_tunnels"`
}

// An EndpointCount says how many of some endpoints can serve.
type EndpointCount struct {
	Healthy int `json:"healthy"` // and not ejected
	Total   int `json:"total"`
}

// A Listener is an address that clients connect to.
type Listener struct {
	Address  string   `json:"address"`         // as configured
	Bound    string   `json:"bound,omitempty"` // with the port that was chosen for port 0
	TLS      bool     `json:"tls,omitempty"`
	Services []string `json:"services"` // namespace/name, or name
}

// A Service is one entry of the configuration.
type Service struct {
	Namespace      string        `json:"namespace,omitempty"`
	Name           string        `json:"name"`
	Protocol       string        `json:"protocol,omitempty"` // TCP; none: HTTP
	Listener       string        `json:"listener"`
	Hosts          []string      `json:"hosts"` // none: every host
	HealthPath     string        `json:"health_path,omitempty"`
	TrustedProxies []string      `json:"trusted_proxies,omitempty"`
	Routes         int           `json:"routes"`
	Endpoints      EndpointCount `json:"endpoints"`
}

// A Route says which requests it takes and where they go.
type Route struct {
	Namespace string         `json:"namespace,omitempty"`
	Service   string         `json:"service"`
	Name      string         `json:"name"`
	Listener  string         `json:"listener"`
	Hosts     []string       `json:"hosts"`   // none: every host
	Matches   []Match        `json:"matches"` // none: every request
	Filters   []string       `json:"filters,omitempty"`
	Clusters  []RouteCluster `json:"clusters"`
	Invalid   string         `json:"invalid,omitempty"` // why it answers 503
	Timeouts  Timeouts       `json:"timeouts"`
	Retry     Retry          `json:"retry"`
}

// A Match is a set of conditions that must all hold. Of headers and query parameters only the names are shown: their
// values may be secrets.
type Match struct {
	PathType string   `json:"path_type"`
	Path     string   `json:"path"`
	Methods  []string `json:"methods,omitempty"`
	Headers  []string `json:"headers,omitempty"`
	Query    []string `json:"query,omitempty"`
}

// A RouteCluster is a share of a route's requests.
type RouteCluster struct {
	Cluster string `json:"cluster"`
	Weight  uint32 `json:"weight"`
	Backup  bool   `json:"backup,omitempty"`
}

// Timeouts of a route.
type Timeouts struct {
	ConnectMS int64 `json:"connect_ms"`
	RequestMS int64 `json:"request_ms"` // 0: none
	IdleSecs  int64 `json:"idle_secs"`
}

// Retry says when a route tries another endpoint.
type Retry struct {
	Attempts        int   `json:"attempts"`
	Codes           []int `json:"codes,omitempty"`
	PerTryTimeoutMS int64 `json:"per_try_timeout_ms,omitempty"`
	BudgetPercent   int   `json:"budget_percent,omitempty"`
}

// An Endpoint is the live state of one address of a cluster.
type Endpoint struct {
	Address             string     `json:"address"`
	Cluster             string     `json:"cluster"`
	Service             string     `json:"service"`
	Weight              uint32     `json:"weight"`
	Healthy             bool       `json:"healthy"` // by its checks
	Serving             bool       `json:"serving"` // healthy, not ejected, and has a weight
	EjectedUntil        *time.Time `json:"ejected_until,omitempty"`
	LastError           string     `json:"last_error,omitempty"` // of a check or of a request
	LastErrorAt         *time.Time `json:"last_error_at,omitempty"`
	LastCheck           *time.Time `json:"last_check,omitempty"`
	FailedChecks        int        `json:"failed_checks"`        // in a row
	ConsecutiveFailures int        `json:"consecutive_failures"` // of requests
	InFlight            int64      `json:"in_flight"`
	IdleConnections     int        `json:"idle_connections"`
	Requests            uint64     `json:"requests"`
}

// Config is the configuration that serves.
type Config struct {
	Hash        string     `json:"hash"`
	Source      string     `json:"source"` // a file, a directory, or the command line
	LoadedAt    time.Time  `json:"loaded_at"`
	LastError   string     `json:"last_error,omitempty"` // of the last reload, where it was refused
	LastErrorAt *time.Time `json:"last_error_at,omitempty"`
	StaleSince  *time.Time `json:"stale_since,omitempty"` // when it was written to the last good file that it was read from
	Snapshot    *Snapshot  `json:"snapshot"`
}

func byListener(a, b Listener) int { return cmp.Compare(a.Address, b.Address) }

func byService(a, b Service) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Listener, b.Listener))
}

func byRoute(a, b Route) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Name, b.Name),
		cmp.Compare(a.Listener, b.Listener))
}

func byEndpoint(a, b Endpoint) int {
	return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Address, b.Address))
}
