package settings

import "github.com/pingora-proxy/pingora-proxy/api/v1alpha1"

// Config is a whole standalone configuration: the file's globals and its services.
type Config struct {
	Globals `json:",inline"`

	// Services that are proxied.
	// +kubebuilder:validation:MaxItems=16384
	Services []v1alpha1.ProxyServiceSpec `json:"services,omitempty"`
}

// Globals are the settings of the whole process. Each has an environment variable, which beats the file:
// `PINGORA_ADMIN_BIND_ADDRESS` for `admin.bind_address`, and so on.
type Globals struct {
	// Admin is the admin API: health of the process, live state of everything, the log level.
	Admin Admin `json:"admin,omitzero"`

	// AccessLog writes a line a request.
	AccessLog AccessLog `json:"accessLog,omitzero"`

	// Metrics are served in the Prometheus format, at `/metrics`.
	Metrics Metrics `json:"metrics,omitzero"`

	// Tracing sends spans of requests to an OpenTelemetry collector.
	Tracing Tracing `json:"tracing,omitzero"`

	// RateLimitStore is where rate limits of the scope `Shared` are counted for all replicas together.
	RateLimitStore RateLimitStore `json:"rateLimitStore,omitzero"`

	// Limits bound what clients may cost.
	Limits Limits `json:"limits,omitzero"`
}

// Admin is the admin API.
type Admin struct {
	// BindAddress is the IP address and port of the admin API. `off` turns it off, port 0 picks a free port and logs it. A
	// configured address that is taken is an error; the default, when it is taken, is skipped with a warning.
	// +kubebuilder:validation:MaxLength=128
	BindAddress *string `json:"bindAddress,omitempty"`

	// Dashboard serves the status page at `/` of the admin address.
	// +kubebuilder:example=false
	Dashboard *bool `json:"dashboard,omitempty"`

	// Pprof serves Go's profiles at `/debug/pprof` of the admin address.
	// +kubebuilder:example=true
	Pprof *bool `json:"pprof,omitempty"`
}

// AccessLogFormat is the format of a line.
// +kubebuilder:validation:Enum=JSON;Console
type AccessLogFormat string

// The formats of the access log.
const (
	AccessLogJSON    AccessLogFormat = "JSON"
	AccessLogConsole AccessLogFormat = "Console"
)

// AccessLog writes a line a request.
type AccessLog struct {
	// Format is `JSON`, or `Console` for people.
	Format *AccessLogFormat `json:"format,omitempty"`

	// Path is `stdout`, `stderr`, `off`, or a file, which is opened again on SIGUSR1 and on reload.
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:example="/var/log/pingora-proxy/access.log"
	Path *string `json:"path,omitempty"`

	// SamplePercent is the share of requests that are logged.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	// +kubebuilder:example=10
	SamplePercent *int32 `json:"samplePercent,omitempty"`
}

// Metrics are served in the Prometheus format.
type Metrics struct {
	// BindAddress is the IP address and port that serves `/metrics`, `/livez` and `/readyz`. `off` turns it off, port 0
	// picks a free port and logs it. A configured address that is taken is an error; the default, when it is taken, is
	// skipped with a warning.
	// +kubebuilder:validation:MaxLength=128
	BindAddress *string `json:"bindAddress,omitempty"`
}

// TracingProtocol is how spans travel to the collector.
// +kubebuilder:validation:Enum=GRPC;HTTP
type TracingProtocol string

// The protocols of OTLP.
const (
	TracingGRPC TracingProtocol = "GRPC"
	TracingHTTP TracingProtocol = "HTTP"
)

// Propagation is a format of the header fields that tell a trace.
// +kubebuilder:validation:Enum=W3C;B3
type Propagation string

// The formats of trace context.
const (
	PropagationW3C Propagation = "W3C"
	PropagationB3  Propagation = "B3"
)

// Tracing sends spans of requests to an OpenTelemetry collector.
type Tracing struct {
	// OTLPEndpoint is the URL of the collector, `http://` or `https://`. Unset: no tracing.
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:example="http://otel:4317"
	OTLPEndpoint *string `json:"otlpEndpoint,omitempty"`

	// Protocol of OTLP: `GRPC` or `HTTP`. Unset: `HTTP` where the endpoint's port is 4318 or it has a path, else `GRPC`.
	// +kubebuilder:example=GRPC
	Protocol *TracingProtocol `json:"protocol,omitempty"`

	// SamplePercent is the share of requests without a trace of their own that are traced. A request that comes with a
	// trace follows that one's decision.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	// +kubebuilder:example=10
	SamplePercent *int32 `json:"samplePercent,omitempty"`

	// Propagation lists the formats of the trace's header fields towards endpoints: `W3C` (`traceparent`, `tracestate`) and
	// `B3`. Both are understood from clients. Unset: `W3C`.
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:example={W3C, B3}
	Propagation []Propagation `json:"propagation,omitempty"`

	// CARef is a bundle of certificates (PEM) that the collector's certificate is verified with. Unset: the system's.
	CARef *v1alpha1.Reference `json:"caRef,omitempty"`
}

// RateLimitStore is where rate limits of the scope `Shared` are counted for all replicas together.
type RateLimitStore struct {
	// RedisURL is the Redis server: `redis://host:port/db`, or `rediss://` for TLS. Unset: every replica allows its share.
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:example="redis://redis:6379/0"
	RedisURL *string `json:"redisURL,omitempty"`

	// PasswordRef is the password of the server.
	PasswordRef *v1alpha1.Reference `json:"passwordRef,omitempty"`

	// CARef is a bundle of certificates (PEM) that the server's certificate is verified with. Unset: the system's.
	CARef *v1alpha1.Reference `json:"caRef,omitempty"`

	// TimeoutMs is how long a request waits for the server, in milliseconds. Later the replica's own count decides.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	TimeoutMs *int32 `json:"timeoutMs,omitempty"`
}

// Limits bound what clients may cost.
type Limits struct {
	// MaxConnections of clients at the same time, all services together. One more is answered with 503 and closed.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000000
	MaxConnections *int32 `json:"maxConnections,omitempty"`

	// MaxRequests that run at the same time, all services together. One more is answered with 503 and `Retry-After`.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000000
	MaxRequests *int32 `json:"maxRequests,omitempty"`

	// MaxRequestLineBytes of a request's first line: method, target and version. A longer one is answered with 414.
	// +kubebuilder:validation:Minimum=256
	// +kubebuilder:validation:Maximum=1048576
	MaxRequestLineBytes *int32 `json:"maxRequestLineBytes,omitempty"`

	// MaxHeaderBytes of a whole head, the first line included. A longer one is answered with 431.
	// +kubebuilder:validation:Minimum=1024
	// +kubebuilder:validation:Maximum=1048576
	MaxHeaderBytes *int32 `json:"maxHeaderBytes,omitempty"`

	// MaxHeaders is the number of fields of a head. More are answered with 431.
	// +kubebuilder:validation:Minimum=8
	// +kubebuilder:validation:Maximum=1000
	MaxHeaders *int32 `json:"maxHeaders,omitempty"`

	// HeaderTimeoutMs is the time in which a request's head must arrive, in milliseconds from its first byte (or from the
	// opening of a connection).
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=600000
	HeaderTimeoutMs *int32 `json:"headerTimeoutMs,omitempty"`

	// MinBodyBytesPerSec is the rate at which a client must send a body or take a response on average, in bytes a second,
	// once `header_timeout_ms` has passed. A slower one is cut off. 0: no such limit.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000000
	MinBodyBytesPerSec *int32 `json:"minBodyBytesPerSec,omitempty"`

	// WorkerThreads is the number of threads that run the proxy at the same time. 0: as many as the process may use of the
	// machine's processors. The variable `WORKER_THREADS` sets it as well. Read at the start only.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4096
	// +kubebuilder:example=4
	WorkerThreads *int32 `json:"workerThreads,omitempty"`

	// DrainTimeoutSecs is the time that running requests and WebSockets get when the proxy stops, in seconds.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=86400
	DrainTimeoutSecs *int32 `json:"drainTimeoutSecs,omitempty"`

	// Via adds a `Via` header field to requests and responses (RFC 9110, section 7.6.3).
	// +kubebuilder:example=true
	Via *bool `json:"via,omitempty"`
}

// The addresses that the process serves unless it is told otherwise. One that is taken is skipped with a warning.
const (
	DefaultAdminAddress   = "127.0.0.1:9901"
	DefaultMetricsAddress = "127.0.0.1:9102"
)
