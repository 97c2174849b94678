package v1alpha1

// Access says which client addresses may use a service or a route. Others get 403.
type Access struct {
	// Allow lists networks or single addresses. Unset: all.
	// +kubebuilder:validation:MaxItems=4096
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:example={10.0.0.0/8}
	Allow []string `json:"allow,omitempty"`

	// Deny lists networks or single addresses that may not, also where `allow` has them.
	// +kubebuilder:validation:MaxItems=4096
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:example={203.0.113.0/24}
	Deny []string `json:"deny,omitempty"`
}

// RateLimitKey says what a limit is counted for.
// +kubebuilder:validation:Enum=Service;ClientIP;Header;Cookie;JWTClaim
type RateLimitKey string

// The keys of rate limits.
const (
	LimitService  RateLimitKey = "Service"
	LimitClientIP RateLimitKey = "ClientIP"
	LimitHeader   RateLimitKey = "Header"
	LimitCookie   RateLimitKey = "Cookie"
	LimitJWTClaim RateLimitKey = "JWTClaim"
)

// RateLimitScope says who counts.
// +kubebuilder:validation:Enum=Local;Shared
type RateLimitScope string

// The scopes of rate limits.
const (
	ScopeLocal  RateLimitScope = "Local"
	ScopeShared RateLimitScope = "Shared"
)

// RateLimitMode says what happens above the limit.
// +kubebuilder:validation:Enum=Enforce;Observe
type RateLimitMode string

// The modes of rate limits.
const (
	LimitEnforce RateLimitMode = "Enforce"
	LimitObserve RateLimitMode = "Observe"
)

// RateLimit bounds the requests of a service, or of each of its clients. What is above gets 429.
// +kubebuilder:validation:XValidation:rule="(has(self.key) && self.key in ['Header', 'Cookie', 'JWTClaim']) == has(self.keyName)",message="`keyName` is for the keys `Header`, `Cookie` and `JWTClaim`, and must be set there"
type RateLimit struct {
	// Name of the limit in headers, logs and metrics.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:example="per-user"
	// +required
	Name string `json:"name,omitempty"`

	// Key says what is counted for: `Service` (all requests together), `ClientIP` (an IPv6 network of /64 is one client),
	// `Header`, `Cookie`, or `JWTClaim`. A request without the key is counted for its client's address.
	Key *RateLimitKey `json:"key,omitempty"`

	// KeyName is the name of the header field, cookie or claim.
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:example="sub"
	KeyName *string `json:"keyName,omitempty"`

	// Requests that are allowed in a period.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000000
	// +kubebuilder:example=100
	// +required
	Requests *int32 `json:"requests,omitempty"`

	// PeriodSecs is the period, in seconds.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	PeriodSecs *int32 `json:"periodSecs,omitempty"`

	// Burst is how many requests may come at once, after a time without any. Unset: as many as `requests`.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000000
	// +kubebuilder:example=20
	Burst *int32 `json:"burst,omitempty"`

	// Scope is `Local` (each replica allows that much), or `Shared` (all together do: through `rate_limit_store`, else each
	// allows its share).
	Scope *RateLimitScope `json:"scope,omitempty"`

	// Mode is `Enforce`, or `Observe` to count and log alone.
	Mode *RateLimitMode `json:"mode,omitempty"`
}

// SigningAlgorithm signs requests.
// +kubebuilder:validation:Enum=HMACSHA256;Ed25519
type SigningAlgorithm string

// The algorithms of signatures.
const (
	SignHMACSHA256 SigningAlgorithm = "HMACSHA256"
	SignEd25519    SigningAlgorithm = "Ed25519"
)

// RequestSigning signs requests to the endpoints (RFC 9421).
type RequestSigning struct {
	// Algorithm is `HMACSHA256` or `Ed25519`.
	// +required
	Algorithm *SigningAlgorithm `json:"algorithm,omitempty"`

	// KeyRef is the key: 32 bytes or more for `HMACSHA256`, a private key in PEM (PKCS #8) for `Ed25519`.
	// +required
	KeyRef *Reference `json:"keyRef,omitempty"`

	// KeyID tells endpoints which key it is. A new key gets a new one.
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:example="edge-1"
	// +required
	KeyID string `json:"keyID,omitempty"`

	// Components that are signed: header fields in lower case, `@method`, `@path`, `@query`, `@authority`, `content-digest`.
	// Unset: the method, the authority, the path, the query and, where there is a body that is known, its digest.
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:example={"@method", "@path", content-type}
	Components []string `json:"components,omitempty"`
}

// Sanitize says what is removed from requests and responses beside what is always removed.
type Sanitize struct {
	// RequestHeaders that are removed before a request is forwarded.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:example={X-Internal-User}
	RequestHeaders []string `json:"requestHeaders,omitempty"`

	// KeepRequestHeaders are fields of the default list (see docs/headers.md) that are forwarded all the same.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:example={X-Original-URI}
	KeepRequestHeaders []string `json:"keepRequestHeaders,omitempty"`

	// ResponseHeaders that are removed before a response is sent to the client.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:example={Server, X-Powered-By}
	ResponseHeaders []string `json:"responseHeaders,omitempty"`

	// AllowUnderscores forwards header fields with an underscore in their name, which some endpoints take for others.
	AllowUnderscores *bool `json:"allowUnderscores,omitempty"`

	// MergeSlashes makes one of several slashes in a row, for matching and forwarding alike. Object stores need `false`.
	MergeSlashes *bool `json:"mergeSlashes,omitempty"`
}
