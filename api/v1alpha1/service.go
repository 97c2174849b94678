package v1alpha1

import "k8s.io/apimachinery/pkg/util/intstr"

// ProxyServiceSpec is one proxied service: where it listens, which requests it takes and where they go.
// +kubebuilder:validation:XValidation:rule="has(self.upstreams) && size(self.upstreams) > 0 || has(self.backends) && size(self.backends) > 0 || has(self.routes) && size(self.routes) > 0 && self.routes.all(r, has(r.backends) && size(r.backends) > 0 || has(r.filters) && r.filters.exists(f, has(f.redirect) || has(f.respond)))",message="set `upstreams` or `backends`, or give every route its own backends or a redirect"
// +kubebuilder:validation:XValidation:rule="!has(self.tlsConfig) || has(self.tls) && self.tls",message="`tls` must be true when `tlsConfig` is set",fieldPath=".tlsConfig"
// +kubebuilder:validation:XValidation:rule="!has(self.routes) || size(self.routes) == 0 || !has(self.protocol) || self.protocol == 'HTTP'",message="`routes` may only be set when `protocol` is 'HTTP'",fieldPath=".routes"
// +kubebuilder:validation:XValidation:rule="!has(self.tlsConfig) || !has(self.tlsConfig.mode) || self.tlsConfig.mode != 'Passthrough' || has(self.protocol) && self.protocol == 'TCP' && has(self.hosts) && size(self.hosts) > 0",message="TLS passthrough needs `protocol: TCP` and `hosts`",fieldPath=".tlsConfig.mode"
// +kubebuilder:validation:XValidation:rule="!has(self.protocol) || self.protocol == 'HTTP' || !has(self.auth) && !has(self.rateLimits) && !has(self.requestSigning) && !has(self.retry) && !has(self.sanitize)",message="`auth`, `rateLimits`, `requestSigning`, `retry` and `sanitize` may only be set when `protocol` is 'HTTP'",fieldPath=".protocol"
type ProxyServiceSpec struct {
	// Name of the service in logs, metrics and messages: letters, digits, `-`, `_` and `.`, beginning and ending with a
	// letter or a digit. Unique within a configuration.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:example="admin-portal"
	Name string `json:"name,omitempty"`

	// ClassName names the installation of the proxy that serves the object: the one that runs with `--class` of the same
	// name. Unset: `default`. Only in a custom resource.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:example="internal"
	ClassName *string `json:"className,omitempty"`

	// BindAddress is the IP address and port to listen on. `0.0.0.0:8080` listens on every IPv4 address, `:8080` on every
	// address. Services with the same address share it as virtual hosts. Port 0, in a file only, picks a free port, which
	// is logged and shown by the admin API.
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^(\\\\[[0-9a-fA-F:.]+\\\\]|[0-9.]*):[0-9]+$')",message="must be an IP address and a port, such as `0.0.0.0:8080` or `[::]:8080`"
	// +kubebuilder:validation:XValidation:rule="!self.matches(':[0-9]+$') || self.matches(':[0-9]{1,5}$') && int(self.substring(self.lastIndexOf(':') + 1)) >= 1 && int(self.substring(self.lastIndexOf(':') + 1)) <= 65535",message="port must be between 1 and 65535"
	// +kubebuilder:example="0.0.0.0:6188"
	// +required
	BindAddress string `json:"bindAddress,omitempty"`

	// Protocol is `HTTP`, or `TCP` to pass bytes on as they are.
	Protocol *ServiceProtocol `json:"protocol,omitempty"`

	// Hosts that the service answers for: names like `shop.example.com`, wildcards like `*.shop.example.com` (any number
	// of labels in place of the star), or IP addresses. Compared without regard to case or port. Unset: every host.
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:example={shop.example.com, "*.shop.example.com"}
	Hosts []string `json:"hosts,omitempty"`

	// TLS terminates TLS at `bindAddress`. Without certificates a standalone file gets a self-signed one, and a custom
	// resource none: its handshakes fail.
	TLS *bool `json:"tls,omitempty"`

	// TLSConfig says how TLS is terminated. Only allowed with `tls: true`.
	TLSConfig *TLSConfig `json:"tlsConfig,omitempty"`

	// Upstreams are the addresses that requests are forwarded to, `host:port` each. An IPv6 address stands in brackets. A
	// DNS name is resolved again when its time to live ends. An entry is the same as an entry of `backends` of weight 1.
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=260
	// +kubebuilder:example={"127.0.0.1:3002"}
	Upstreams []string `json:"upstreams,omitempty"`

	// Backends are the addresses that requests are forwarded to, with weights and roles. Merged with `upstreams`.
	// +kubebuilder:validation:MaxItems=256
	Backends []Backend `json:"backends,omitempty"`

	// UpstreamTLS speaks TLS to the endpoints.
	UpstreamTLS *UpstreamTLS `json:"upstreamTLS,omitempty"`

	// UpstreamProxyProtocol sends a header of the PROXY protocol, with the client's address, in front of each connection to
	// an endpoint. Connections are then not shared between requests.
	// +kubebuilder:example=v2
	UpstreamProxyProtocol *ProxyProtocolVersion `json:"upstreamProxyProtocol,omitempty"`

	// HealthCheck says how the endpoints are watched. Unset: a TCP check with the defaults below.
	HealthCheck *HealthCheck `json:"healthCheck,omitempty"`

	// LoadBalancing says how an endpoint is picked.
	LoadBalancing *LoadBalancing `json:"loadBalancing,omitempty"`

	// Timeouts of connections and requests. Routes may override them, field by field.
	Timeouts *Timeouts `json:"timeouts,omitempty"`

	// Retry says when a failed request is tried at another endpoint.
	Retry *Retry `json:"retry,omitempty"`

	// CircuitBreaker refuses requests at once while the endpoints cannot take them. Unset: off.
	CircuitBreaker *CircuitBreaker `json:"circuitBreaker,omitempty"`

	// Limits of the service. Unset: none but the process's.
	Limits *ServiceLimits `json:"limits,omitempty"`

	// ClientIP says how the client's address is found.
	ClientIP *ClientIP `json:"clientIP,omitempty"`

	// Access says which client addresses may use the service. Routes add to it.
	Access *Access `json:"access,omitempty"`

	// Auth says who may use the service. A route's own takes its place.
	Auth *Auth `json:"auth,omitempty"`

	// RateLimits of the service, counted over all of its routes. Routes add their own.
	// +kubebuilder:validation:MaxItems=16
	RateLimits []RateLimit `json:"rateLimits,omitempty"`

	// RequestSigning signs requests to the endpoints (RFC 9421), so that they can tell that these came through the proxy.
	RequestSigning *RequestSigning `json:"requestSigning,omitempty"`

	// Sanitize says what is removed from requests and responses beside what is always removed.
	Sanitize *Sanitize `json:"sanitize,omitempty"`

	// HealthPath is the path at which the proxy itself answers for the service: 200 while at least one endpoint can
	// serve, else 503, to GET and HEAD, before routing; a route that matches the path exactly wins over it. `off` turns it
	// off. Unset: `/health` in a file, `off` in a custom resource.
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:example="/healthz"
	HealthPath *string `json:"healthPath,omitempty"`

	// Routes say which requests go where. The most specific route wins, whatever its place in the list: exact host, then
	// the longest wildcard; exact path, then the longest prefix, then regular expressions; then method; then most header
	// conditions, then most query conditions; then the first in the list. What no route takes goes to the service's own
	// `upstreams` and `backends`, under the route name `default`; without any it is answered with 404.
	// +kubebuilder:validation:MaxItems=512
	// +listType=map
	// +listMapKey=name
	Routes []Route `json:"routes,omitempty"`
}

// ServiceProtocol is what a service speaks.
// +kubebuilder:validation:Enum=HTTP;TCP
type ServiceProtocol string

// The protocols of a service.
const (
	ProtocolHTTP ServiceProtocol = "HTTP"
	ProtocolTCP  ServiceProtocol = "TCP"
)

// ProxyProtocolVersion is a version of the PROXY protocol.
// +kubebuilder:validation:Enum=v1;v2
type ProxyProtocolVersion string

// The versions of the PROXY protocol.
const (
	ProxyProtocolV1 ProxyProtocolVersion = "v1"
	ProxyProtocolV2 ProxyProtocolVersion = "v2"
)

// BackendProtocol is what a backend speaks.
// +kubebuilder:validation:Enum=HTTP;HTTPS;H2;H2C
type BackendProtocol string

// The protocols of backends.
const (
	BackendHTTP  BackendProtocol = "HTTP"
	BackendHTTPS BackendProtocol = "HTTPS"
	BackendH2    BackendProtocol = "H2"
	BackendH2C   BackendProtocol = "H2C"
)

// BackendRole says when a backend serves.
// +kubebuilder:validation:Enum=Primary;Backup
type BackendRole string

// The roles of a backend.
const (
	RolePrimary BackendRole = "Primary"
	RoleBackup  BackendRole = "Backup"
)

// Backend is where requests are forwarded to. Exactly one of `service` and `address` is set.
// +kubebuilder:validation:XValidation:rule="has(self.service) != has(self.address)",message="exactly one of `service` or `address` must be set"
type Backend struct {
	// Service is a Kubernetes Service, whose endpoints requests are forwarded to directly. Its weight is shared by all of
	// its endpoints, however many they are. Only in a custom resource.
	Service *BackendService `json:"service,omitempty"`

	// Address is `host:port`. An IPv6 address stands in brackets. A DNS name is resolved again when its time to live ends;
	// its weight is shared by all of its addresses, however many they are.
	// +kubebuilder:validation:MaxLength=260
	// +kubebuilder:example="10.0.0.9:3002"
	Address string `json:"address,omitempty"`

	// Weight is the share of requests, relative to the others of the same role. 0: none.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	// +kubebuilder:example=90
	Weight *int32 `json:"weight,omitempty"`

	// Protocol is `HTTP` or `HTTPS` (HTTP/1.1), `H2` or `H2C` (HTTP/2). `HTTPS` and `H2` speak TLS, as `upstreamTLS` says;
	// `HTTP` and `H2C` never do. Unset: `HTTPS` where `upstreamTLS` is set, else `HTTP`; of a mirror and of forward
	// authentication always `HTTP`.
	// +kubebuilder:example=H2C
	Protocol *BackendProtocol `json:"protocol,omitempty"`

	// Override sends requests that carry a header field or a cookie to this backend, whatever the weights.
	Override *BackendOverride `json:"override,omitempty"`

	// Role is `Primary`, or `Backup` for one that serves only when no primary can.
	Role *BackendRole `json:"role,omitempty"`
}

// BackendOverride is what a request carries that must go to one backend. Exactly one of `header` and `cookie` is set.
// +kubebuilder:validation:XValidation:rule="has(self.header) != has(self.cookie)",message="exactly one of `header` or `cookie` must be set"
type BackendOverride struct {
	// Header is the name of a header field.
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:example="X-Canary"
	Header *string `json:"header,omitempty"`

	// Cookie is the name of a cookie.
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:example="canary"
	Cookie *string `json:"cookie,omitempty"`

	// Value that it must have.
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:example="always"
	// +required
	Value string `json:"value,omitempty"`
}

// BackendService names a port of a Kubernetes Service.
type BackendService struct {
	// Name of the Service.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:example="shop"
	// +required
	Name string `json:"name,omitempty"`

	// Namespace of the Service. Another one than the object's needs a ReferenceGrant there. Unset: the object's.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:example="backends"
	Namespace *string `json:"namespace,omitempty"`

	// Port of the Service, by its number or its name.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="type(self) != int || self >= 1 && self <= 65535",message="port must be between 1 and 65535, or the name of a port"
	// +kubebuilder:example=8080
	// +required
	Port intstr.IntOrString `json:"port,omitzero"`
}

// Algorithm picks an endpoint for a request.
// +kubebuilder:validation:Enum=RoundRobin;LeastRequest;Random;ConsistentHash
type Algorithm string

// The algorithms.
const (
	AlgorithmRoundRobin     Algorithm = "RoundRobin"
	AlgorithmLeastRequest   Algorithm = "LeastRequest"
	AlgorithmRandom         Algorithm = "Random"
	AlgorithmConsistentHash Algorithm = "ConsistentHash"
)

// LoadBalancing says how an endpoint is picked.
// +kubebuilder:validation:XValidation:rule="has(self.algorithm) && self.algorithm == 'ConsistentHash' || !has(self.hashOn)",message="may only be set when `algorithm` is 'ConsistentHash'",fieldPath=".hashOn"
type LoadBalancing struct {
	// Algorithm is `RoundRobin` (smooth and weighted: exact over any run of requests as long as the sum of the weights),
	// `LeastRequest` (the less busy of two random endpoints), `Random` (weighted), or `ConsistentHash` (the same endpoint for
	// the same key, and no more than a quarter above the average for each).
	Algorithm *Algorithm `json:"algorithm,omitempty"`

	// HashOn is the key of `ConsistentHash`. Unset: the client's address.
	HashOn *HashOn `json:"hashOn,omitempty"`

	// SlowStartSecs is how long an endpoint that is new or healthy again gets less than its share, rising evenly, in seconds.
	// Unset: it gets its share at once.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	// +kubebuilder:example=30
	SlowStartSecs *int32 `json:"slowStartSecs,omitempty"`

	// Sticky keeps a client at its endpoint with a cookie, for as long as that one can serve.
	Sticky *Sticky `json:"sticky,omitempty"`

	// ZoneAware prefers endpoints of the proxy's own zone, as the hints of EndpointSlices say. Only in a custom resource.
	ZoneAware *bool `json:"zoneAware,omitempty"`
}

// HashOnType says what a hash is made of.
// +kubebuilder:validation:Enum=Header;Cookie;ClientIP;Path
type HashOnType string

// The keys of a hash.
const (
	HashHeader   HashOnType = "Header"
	HashCookie   HashOnType = "Cookie"
	HashClientIP HashOnType = "ClientIP"
	HashPath     HashOnType = "Path"
)

// HashOn is the key of `ConsistentHash`. A request without it gets any endpoint.
// +kubebuilder:validation:XValidation:rule="(has(self.type) && self.type in ['Header', 'Cookie']) == has(self.name)",message="`name` is for the types `Header` and `Cookie`, and must be set there"
type HashOn struct {
	// Type is `Header`, `Cookie`, `ClientIP` or `Path`.
	// +required
	Type *HashOnType `json:"type,omitempty"`

	// Name of the header field or the cookie.
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:example="X-Tenant"
	Name *string `json:"name,omitempty"`
}

// Sticky keeps a client at its endpoint with a cookie, which is signed, and hidden from scripts.
type Sticky struct {
	// CookieName is the name of the cookie.
	// +kubebuilder:validation:MaxLength=256
	CookieName *string `json:"cookieName,omitempty"`

	// TTLSecs is how long the cookie lasts, in seconds. 0: as long as the browser runs.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=31536000
	TTLSecs *int32 `json:"ttlSecs,omitempty"`

	// KeyRef is the key that cookies are signed with, 16 bytes or more. Unset: one that the proxy makes of what it knows,
	// the same in all replicas.
	KeyRef *Reference `json:"keyRef,omitempty"`
}

// CircuitBreaker refuses requests at once while the endpoints cannot take them: 503 with `Retry-After`.
type CircuitBreaker struct {
	// MaxConnections to the endpoints of one backend at the same time.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	MaxConnections *int32 `json:"maxConnections,omitempty"`

	// MaxPending is how many requests may wait for one of these connections.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	MaxPending *int32 `json:"maxPending,omitempty"`

	// ErrorPercent of requests that fail (no connection, reset, time-out, 502, 503, 504) opens the circuit.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +kubebuilder:example=50
	ErrorPercent *int32 `json:"errorPercent,omitempty"`

	// MinRequests within 10 seconds, below which `errorPercent` is not looked at.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	MinRequests *int32 `json:"minRequests,omitempty"`

	// OpenSecs is how long the circuit stays open before a few requests probe the endpoints, in seconds.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	OpenSecs *int32 `json:"openSecs,omitempty"`
}

// ServiceLimits bound what the clients of one service may cost.
type ServiceLimits struct {
	// MaxConnections of clients that use the service at the same time. Only on a service, like `maxRequests`.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000000
	// +kubebuilder:example=10000
	MaxConnections *int32 `json:"maxConnections,omitempty"`

	// MaxRequests that run at the same time. One more is answered with 503 and `Retry-After`.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000000
	// +kubebuilder:example=4096
	MaxRequests *int32 `json:"maxRequests,omitempty"`

	// MaxBodyBytes of a request. A longer body is answered with 413.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=9007199254740991
	// +kubebuilder:example=10485760
	MaxBodyBytes *int64 `json:"maxBodyBytes,omitempty"`
}

// Timeouts of one request.
type Timeouts struct {
	// ConnectMs is the time to open a connection to an endpoint, in milliseconds.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=600000
	ConnectMs *int32 `json:"connectMs,omitempty"`

	// RequestMs is the time from a request's head to the response's head, all tries together, in milliseconds. When it is
	// over the client gets 504. Bodies are not counted.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400000
	RequestMs *int32 `json:"requestMs,omitempty"`

	// IdleSecs is the longest silence between bytes of a body and in a tunnel (WebSocket), and how long a client's
	// connection is kept open between requests, in seconds.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	IdleSecs *int32 `json:"idleSecs,omitempty"`
}

// Retry says when a failed request is tried at another endpoint. A request whose connection failed (nothing was sent)
// is always tried again; one that was sent, only if its method is idempotent and nothing of the response has arrived.
type Retry struct {
	// Attempts counts all tries together, the first included. 1: no retry.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10
	// +kubebuilder:example=3
	Attempts *int32 `json:"attempts,omitempty"`

	// Codes are statuses of responses that are tried again as well, for idempotent methods.
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:Minimum=400
	// +kubebuilder:validation:items:Maximum=599
	// +kubebuilder:example={502, 503}
	Codes []int32 `json:"codes,omitempty"`

	// PerTryTimeoutMs is the time that one try may take until the response's head, in milliseconds. Unset: what is left
	// of `timeouts.request_ms`.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400000
	// +kubebuilder:example=5000
	PerTryTimeoutMs *int32 `json:"perTryTimeoutMs,omitempty"`

	// BudgetPercent caps retries as a share of requests, so that retries cannot multiply an overload.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	BudgetPercent *int32 `json:"budgetPercent,omitempty"`
}

// HealthCheckType says how an endpoint is asked for its health.
// +kubebuilder:validation:Enum=TCP;HTTP;GRPC;Disabled
type HealthCheckType string

// The types of health checks.
const (
	HealthCheckTCP      HealthCheckType = "TCP"
	HealthCheckHTTP     HealthCheckType = "HTTP"
	HealthCheckGRPC     HealthCheckType = "GRPC"
	HealthCheckDisabled HealthCheckType = "Disabled"
)

// HealthCheck says how endpoints are watched. A new endpoint counts as healthy until its first check.
type HealthCheck struct {
	// TimeoutMs is the time that a check may take, in milliseconds.
	// +kubebuilder:validation:XValidation:rule="self >= 1",message="must be greater than or equal to 1"
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=600000
	TimeoutMs *int32 `json:"timeoutMs,omitempty"`

	// FrequencySecs is the time from one check to the next, in seconds.
	// +kubebuilder:validation:XValidation:rule="self >= 1",message="must be greater than or equal to 1"
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	FrequencySecs *int32 `json:"frequencySecs,omitempty"`

	// Type is `TCP` (a connection can be opened), `HTTP` (GET `path` answers with a status from 200 to 399), `GRPC` (the
	// endpoint's health service answers SERVING, over HTTP/2), or `Disabled` (no active checks).
	Type *HealthCheckType `json:"type,omitempty"`

	// Path that an `HTTP` check asks for. Only allowed with `type: HTTP`, where it is `/` unless set.
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:example="/healthz"
	Path *string `json:"path,omitempty"`

	// Service that a `GRPC` check asks for. Unset: the endpoint as a whole.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:example="shop.v1.Catalog"
	Service *string `json:"service,omitempty"`

	// HealthyThreshold is the number of successful checks in a row that bring an endpoint back.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	HealthyThreshold *int32 `json:"healthyThreshold,omitempty"`

	// UnhealthyThreshold is the number of failed checks in a row that take an endpoint out.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	UnhealthyThreshold *int32 `json:"unhealthyThreshold,omitempty"`

	// Passive takes endpoints out that fail real requests. Unset: off; `{}`: on, with the defaults below.
	Passive *PassiveHealthCheck `json:"passive,omitempty"`
}

// PassiveHealthCheck takes endpoints out for a while that fail real requests.
type PassiveHealthCheck struct {
	// ConsecutiveErrors in a row take an endpoint out: failed connections, resets, time-outs and the statuses 502, 503 and
	// 504.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	ConsecutiveErrors *int32 `json:"consecutiveErrors,omitempty"`

	// EjectionSecs is how long it stays out the first time, in seconds; each further ejection takes longer.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	EjectionSecs *int32 `json:"ejectionSecs,omitempty"`

	// MaxEjectionPercent caps the share of endpoints that are out at the same time.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	MaxEjectionPercent *int32 `json:"maxEjectionPercent,omitempty"`
}

// ClientIP says how the client's address is found.
type ClientIP struct {
	// ProxyProtocol expects a header of the PROXY protocol (v1 or v2) in front of each connection, from trusted proxies
	// alone: connections of others are closed.
	ProxyProtocol *bool `json:"proxyProtocol,omitempty"`

	// TrustedProxies are the networks (or single addresses) of proxies in front of this one. From such a peer
	// `X-Forwarded-For`, `-Proto`, `-Host`, `Forwarded` and `X-Request-Id` are believed and extended; from anybody else
	// they are replaced.
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:example={10.0.0.0/8}
	TrustedProxies []string `json:"trustedProxies,omitempty"`
}
