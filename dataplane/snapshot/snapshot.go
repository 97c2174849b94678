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
	Tracing   Tracing
	Store     Store
}

// Limits bound what clients may cost. Zero means no limit for counts; durations are never zero.
type Limits struct {
	MaxConnections int           // client connections of all listeners together
	MaxRequests    int           // that run at the same time, of all listeners together
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

	// ProxyProtocol lists the peers that send a header of the PROXY protocol in front of each connection; nobody else may
	// connect then. nil: nobody sends one.
	ProxyProtocol []netip.Prefix
	// Streams are the services of a listener that passes bytes on instead of HTTP; it has no Services and Routes then.
	Streams []*Stream
	Routes  []*Route // in the order of their owners' age: earlier wins a tie
}

// A Service is what the routes of one ProxyService (or one entry of the file) have in common.
type Service struct {
	Namespace, Name string
	Hosts           []string       // exact or "*.example.com"; empty: every host
	TrustedProxies  []netip.Prefix // peers whose X-Forwarded-* and X-Request-Id are believed
	HealthPath      string         // the path that answers for the service's health; empty: none
	IdleTimeout     time.Duration  // of kept-alive client connections
	TLS             *TLS           // nil: clients speak plain HTTP

	MaxConnections int  // client connections that use the service at the same time; 0: no limit
	MaxRequests    int  // that run at the same time; 0: no limit
	Underscores    bool // header fields with an underscore in their name are forwarded
	KeepSlashes    bool // several slashes in a row stay as they are
	// KeepHeaders are header fields that are forwarded though clients could speak for a proxy with them.
	KeepHeaders []string
}

// A Stream is a service whose bytes are passed on as they are.
type Stream struct {
	Namespace, Name string
	Hosts           []string // that clients ask for (SNI); empty: all
	TLS             *TLS     // that ends here; nil: plain bytes, or TLS that is passed through
	Passthrough     bool     // clients speak TLS, and it ends at the endpoint
	Clusters        []WeightedCluster
	Timeouts        Timeouts // of connecting, and of silence
	MaxConnections  int      // at the same time; 0: no limit
	Balance         Balance
	Access          filter.Config // which clients may come; nil: all
	Invalid         string        // why it could not be built: its connections are closed
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
	Balance  Balance
}

// A Balance is what a route's requests themselves say about the endpoint that they go to.
type Balance struct {
	HashOn   HashOn
	HashName string  // of the header field or cookie
	Sticky   *Sticky // nil: clients have no endpoint of their own
}

// A HashOn says what the hash of a request is made of.
type HashOn uint8

// The keys of hashes.
const (
	HashNothing HashOn = iota // the algorithm needs none
	HashClientIP
	HashHeader
	HashCookie
	HashPath
)

// Sticky keeps a client at its endpoint with a cookie.
type Sticky struct {
	Cookie string
	TTL    time.Duration // 0: for as long as the browser runs
	Key    Secret        // that the cookie is signed with
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
	Value string `outline:"secret"`
	Regex bool   // Value is an RE2 expression, matched anywhere unless anchored
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

	Override Override // requests that go here whatever the weights; zero: none
}

// An Override is what a request carries that must go to one cluster. One of Header and Cookie is set.
type Override struct {
	Header, Cookie string // names
	Value          string `outline:"secret"`
}

// An Algorithm picks endpoints.
type Algorithm uint8

// The algorithms.
const (
	RoundRobin   Algorithm = iota // smooth and weighted
	LeastRequest                  // the less busy of two random ones
	Random
	ConsistentHash // the same endpoint for the same Balance.HashOn
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
	TLS           *UpstreamTLS  // nil: plaintext
	ProxyProtocol uint8         // the version of the PROXY header in front of each connection to an endpoint: 1, 2; 0: none
	SlowStart     time.Duration // in which an endpoint that is new or well again comes to its share; 0: at once
	ZoneAware     bool          // endpoints of the proxy's own zone are preferred, as Endpoint.Zones say
	Breaker       *Breaker      // nil: none
}

// A Breaker refuses requests at once while a cluster cannot take them.
type Breaker struct {
	MaxConnections int           // to the endpoints of the cluster
	MaxPending     int           // requests that wait for one
	ErrorPercent   int           // of requests that fails opens the circuit; 0: none does
	MinRequests    int           // within ten seconds, below which ErrorPercent is not looked at
	Open           time.Duration // until a few requests probe the endpoints
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
	Zones  string // for which it is meant, by the hints of EndpointSlices, with commas between them; empty: all
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

// Tracing says which spans go where.
type Tracing struct {
	Endpoint      string // of the collector; empty: no tracing
	HTTP          bool   // OTLP over HTTP, not gRPC
	SamplePercent float64
	W3C, B3       bool   // the fields that endpoints get
	CA            []byte // PEM; empty: the system's
}

// A Store is where shared rate limits are counted.
type Store struct {
	RedisURL string // empty: every replica allows its share
	Password Secret
	CA       []byte // PEM; empty: the system's
	Timeout  time.Duration
}
