package snapshot

import (
	"net/netip"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

// A Snapshot is a whole configuration.
type Snapshot struct {
	Hash      string // of the configuration it was made from; shown in logs and by the admin API
	Listeners []*Listener
	Clusters  []*Cluster
	Limits    Limits
	AccessLog AccessLog
}

// Limits bound what clients may cost. Zero means no limit for counts; durations are never zero.
type Limits struct {
	MaxConnections int           // client connections of all listeners together
	MaxRequestLine int           // bytes of method, target and version
	MaxHeaderBytes int           // bytes of a whole head
	MaxHeaders     int           // fields of a head
	HeaderTimeout  time.Duration // from a request's first byte (or the connection's start) to the end of its head
	MinBodyRate    int           // bytes a second that a client must send or take on average, once HeaderTimeout has passed
	DrainTimeout   time.Duration // for what runs when the proxy stops
	Via            bool          // add a Via field to requests and responses (RFC 9110 §7.6.3)
}

// AccessLog says where requests are written down.
type AccessLog struct {
	Path          string // stdout, stderr, off, or a file
	Format        string // JSON or Console
	SamplePercent float64
}

// A Listener is a bound address with the virtual hosts that share it.
type Listener struct {
	Address  string // as configured, host:port; the key under which it stays open across reloads
	TLS      bool   // clients speak TLS; each of the services has its TLS then
	Services []*Service
	Routes   []*Route // in the order of their owners' age: earlier wins a tie
}

// A Service is what the routes of one ProxyService (or one entry of the file) have in common.
type Service struct {
	Namespace, Name string
	Hosts           []string       // exact or "*.example.com"; empty: every host
	TrustedProxies  []netip.Prefix // peers whose X-Forwarded-* and X-Request-Id are believed
	HealthPath      string         // the path that answers for the service's health; empty: none
	IdleTimeout     time.Duration  // of kept-alive client connections
	TLS             *TLS           // nil: clients speak plain HTTP
}

// A Route says which requests it takes and what becomes of them.
type Route struct {
	Service *Service
	Name    string
	Hosts   []string // its own; empty: the service's
	Matches []Match  // any of them; empty: every request
	Filters []filter.Config

	Clusters []WeightedCluster // none: a filter answers, or 503
	Invalid  string            // why the route could not be built: it answers 503

	Timeouts Timeouts
	Retry    Retry
}

// ID names the route among all: its metrics and its position in the rotation survive a reload under it.
func (r *Route) ID() string {
	return r.Service.Namespace + "/" + r.Service.Name + "/" + r.Name
}

// A PathType says how a path is compared.
type PathType uint8

// The path types.
const (
	PathPrefix PathType = iota // whole segments: /api matches /api and /api/x, not /apix
	PathExact
	PathRegex // RE2, anchored as written
)

// A Match is a set of conditions that must all hold.
type Match struct {
	PathType PathType
	Path     string // empty: "/" as a prefix
	Methods  []string
	Headers  []ValueMatch
	Query    []ValueMatch
}

// A ValueMatch compares the value of a header field or a query parameter.
type ValueMatch struct {
	Name  string // header names in any case, query names to the letter
	Value string
	Regex bool // Value is an RE2 expression, matched anywhere unless anchored
}

// Timeouts of one try and of the whole exchange.
type Timeouts struct {
	Connect time.Duration // to open a connection to an endpoint
	Request time.Duration // from the request's head to the response's, all tries together; 0: no limit
	Idle    time.Duration // between bytes of bodies and in tunnels
}

// Retry says when another endpoint is tried.
type Retry struct {
	Attempts      int   // all tries together; 1: no retry
	Codes         []int // statuses that are tried again, for idempotent requests
	PerTryTimeout time.Duration
	BudgetPercent int // retries, as a share of requests; 0: no limit
}

// A WeightedCluster is a share of a route's requests.
type WeightedCluster struct {
	Cluster string // Cluster.ID
	Weight  uint32 // 0: gets nothing
	Backup  bool   // serves only when no primary can
}

// An Algorithm picks endpoints.
type Algorithm uint8

// The algorithms.
const (
	RoundRobin   Algorithm = iota // smooth and weighted
	LeastRequest                  // the less busy of two random ones
	Random
)

// A Cluster is a set of endpoints and how to balance over them.
type Cluster struct {
	ID        string // stable across reloads
	Service   string // namespace/name or name of the owner, for logs and metrics
	DNS       *DNSName
	Origin    *Origin    // nil unless somebody outside follows the endpoints, with SetEndpoints
	Endpoints []Endpoint // of plain addresses; empty where DNS is set. Where Origin is set: those to begin with
	Algorithm Algorithm
	Health    HealthCheck
	Passive   *Passive

	Protocol      Protocol
	TLS           *UpstreamTLS // nil: plaintext
	ProxyProtocol uint8        // the version of the PROXY header in front of each connection to an endpoint: 1, 2; 0: none
}

// An Origin is a port of a Kubernetes Service, whose endpoints come and go without the configuration.
type Origin struct {
	Namespace, Name string
	Port            string // its name; the only port of a Service may have none
}

// A DNSName is resolved by the data plane, again and again.
type DNSName struct {
	Host string
	Port uint16
}

// An Endpoint is one address of a cluster.
type Endpoint struct {
	Addr   netip.AddrPort
	Weight uint32 // 0: gets nothing
}

// A CheckType says how an endpoint's health is asked.
type CheckType uint8

// The check types.
const (
	CheckTCP CheckType = iota
	CheckHTTP
	CheckDisabled
	CheckGRPC
)

// A HealthCheck is asked of every endpoint of a cluster.
type HealthCheck struct {
	Type               CheckType
	Timeout            time.Duration
	Interval           time.Duration
	Path               string // of an HTTP check: a 2xx or 3xx answer is healthy
	Host               string // the Host field of an HTTP check; empty: the endpoint's address
	Service            string // that a gRPC check asks about; empty: the server as a whole
	HealthyThreshold   int    // successes in a row that bring an endpoint back
	UnhealthyThreshold int    // failures in a row that take it out
}

// Passive takes endpoints out that fail real requests.
type Passive struct {
	ConsecutiveErrors  int           // connect failures, resets, time-outs and 5xx of gateways, in a row
	Ejection           time.Duration // the first time; each further one takes as much longer
	MaxEjectionPercent int           // of the cluster's endpoints
}

// A Health counts the endpoints of a service.
type Health struct {
	Healthy int // can serve now
	Total   int
}
