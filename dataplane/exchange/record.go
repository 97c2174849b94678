package exchange

import (
	"net/netip"
	"time"
)

// A Reason says why the proxy itself answered, or why an exchange ended before its response did. It is empty where an
// endpoint answered and the answer was passed on whole.
type Reason string

// The reasons. docs/troubleshooting.md explains each.
const (
	NoRoute            Reason = "no_route"             // 404: no route matches
	NoHealthyUpstream  Reason = "no_healthy_upstream"  // 503: no endpoint can serve
	NoEndpoints        Reason = "no_endpoints"         // 503: the cluster has no endpoint at all
	ConnectFailed      Reason = "connect_failed"       // 502: no connection to the endpoint
	ConnectTimeout     Reason = "connect_timeout"      // 504: no connection in time
	ProxyExhausted     Reason = "proxy_exhausted"      // 503: no connection, for want of descriptors, ports or memory on this machine
	UpstreamTLS        Reason = "upstream_tls"         // 502: no secure connection to the endpoint: its certificate, or ours, or no agreement
	AddressNotAllowed  Reason = "address_not_allowed"  // 502: the endpoint's address must not be reached
	UpstreamTimeout    Reason = "upstream_timeout"     // 504: no response head in time
	UpstreamReset      Reason = "upstream_reset"       // 502: the connection ended before the response did
	UpstreamProtocol   Reason = "upstream_protocol"    // 502: the response is not valid HTTP
	UpstreamTruncated  Reason = "upstream_truncated"   // the body was cut off after its head was passed on
	UpstreamIdle       Reason = "upstream_idle"        // the body stalled after its head was passed on
	BadRequest         Reason = "bad_request"          // 400: malformed or ambiguous
	HeaderTooLarge     Reason = "header_too_large"     // 431: too many header bytes or fields
	URITooLong         Reason = "uri_too_long"         // 414: the request line is too long
	NotImplemented     Reason = "not_implemented"      // 501: an unknown transfer coding
	VersionUnsupported Reason = "http_version"         // 505: not HTTP/1.0 or HTTP/1.1
	MethodRefused      Reason = "method_refused"       // 405: CONNECT or TRACE
	LastForward        Reason = "last_forward"         // 204: OPTIONS with Max-Forwards: 0
	ExpectationFailed  Reason = "expectation_failed"   // 417: an Expect other than 100-continue
	RequestTimeout     Reason = "request_timeout"      // 408: head or body did not arrive in time
	ClientReset        Reason = "client_reset"         // 499 in the log: the client went away
	ClientSlow         Reason = "client_slow"          // the client did not take the response in time
	Overload           Reason = "too_many_connections" // 503: limits.max_connections is reached
	Misdirected        Reason = "misdirected_request"  // 421: the connection was opened for another host, under another certificate
	TLSHandshake       Reason = "tls_handshake"        // no answer: the handshake failed, or HTTP came without TLS
	TooManyHandshakes  Reason = "too_many_handshakes"  // no answer: it was the oldest of too many handshakes that are not over
	ProxyHeader        Reason = "proxy_protocol"       // no answer: the PROXY header is malformed, or its sender not trusted
	Drained            Reason = "drained"              // a connection of a TCP service was cut when the time to drain was over
	UnknownName        Reason = "unrecognized_name"    // no answer: no TCP service has the host that the client asks for
	Redirected         Reason = "redirect"             // 3xx by a redirect filter
	HealthEndpoint     Reason = "health_endpoint"      // 200 or 503 by health_path
	TunnelIdle         Reason = "tunnel_idle"          // an upgraded connection was idle for too long
	AccessDenied       Reason = "access_denied"        // 403: access does not let the client's address pass
	Unauthorized       Reason = "unauthorized"         // 401: the client did not say who it is
	CredentialsInvalid Reason = "credentials_invalid"  // 401: a wrong name, password or key
	JWTMissing         Reason = "jwt_missing"          // 401: there is no token
	JWTInvalid         Reason = "jwt_invalid"          // 401: the token cannot be believed
	JWTExpired         Reason = "jwt_expired"          // 401: the token is too old, or not good yet
	JWTClaims          Reason = "jwt_claims"           // 403: the token lacks a claim or scope that is asked for
	AuthUnavailable    Reason = "auth_unavailable"     // 503: there is nothing to check the client with
	AuthDenied         Reason = "auth_denied"          // the forward auth service's answer
	RateLimited        Reason = "rate_limited"         // 429: a rate limit
	CircuitOpen        Reason = "circuit_open"         // 503: the circuit breaker
	TooManyRequests    Reason = "too_many_requests"    // 503: limits.max_requests is reached
	BodyTooLarge       Reason = "body_too_large"       // 413: the request's body is too long
	Preflight          Reason = "cors_preflight"       // 204: a preflight request
	Responded          Reason = "respond"              // the answer of a respond filter
	InvalidConfig      Reason = "invalid_config"       // 503: the route could not be built
	Internal           Reason = "internal_error"       // 500: a panic was caught
)

// Nanos is a time on the process's monotonic clock, in nanoseconds since an arbitrary start. 0 means not yet.
type Nanos int64

var clockStart = time.Now()

// Now reads the monotonic clock.
func Now() Nanos { return Nanos(time.Since(clockStart)) }

// A Record is what the access log and the metrics tell of an exchange. Whoever knows a fact writes it down here, once.
type Record struct {
	Start         Nanos // the head's first byte was read
	Connect       Nanos // the duration of the last attempt's connect; 0 on a connection used again
	UpstreamStart Nanos // the last attempt began
	UpstreamHead  Nanos // the response's head was complete
	End           Nanos

	Status         int // sent to the client; 499 where it went away before
	UpstreamStatus int
	Reason         Reason
	Attempts       int
	BytesIn        int64 // of the request's body
	BytesOut       int64 // of the response's body

	Host, Path                []byte // by which the route was looked for, before a rewrite; nil where it came to none
	Namespace, Service, Route string
	Upstream                  netip.AddrPort // of the last attempt
	RateLimited               string         // the name of the limit that the request was above
	TraceID                   [16]byte       // zero: not traced
}
