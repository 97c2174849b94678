package v1alpha1

// Route says which requests it takes and what becomes of them.
type Route struct {
	// Name of the route in logs, metrics and messages. Unique within its service.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:example="api-v2"
	// +required
	Name string `json:"name,omitempty"`

	// Hosts that the route takes, each one of the service's hosts or covered by one of its wildcards. Unset: all of the
	// service's.
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:example={api.example.com}
	Hosts []string `json:"hosts,omitempty"`

	// Matches are the requests that the route takes: those for which all conditions of at least one entry hold. Unset:
	// every request.
	// +kubebuilder:validation:MaxItems=64
	Matches []Match `json:"matches,omitempty"`

	// Filters change a request or its response, or answer in place of an endpoint. They run in their order.
	// +kubebuilder:validation:MaxItems=16
	Filters []Filter `json:"filters,omitempty"`

	// Backends of the route, in place of the service's `upstreams` and `backends`.
	// +kubebuilder:validation:MaxItems=256
	Backends []Backend `json:"backends,omitempty"`

	// Timeouts that differ from the service's. What is unset here is the service's.
	Timeouts *Timeouts `json:"timeouts,omitempty"`

	// HealthCheck in place of the service's, for the route's own `backends`.
	HealthCheck *HealthCheck `json:"healthCheck,omitempty"`

	// LoadBalancing in place of the service's.
	LoadBalancing *LoadBalancing `json:"loadBalancing,omitempty"`

	// Retry in place of the service's.
	Retry *Retry `json:"retry,omitempty"`

	// CircuitBreaker in place of the service's, for the route's own `backends`.
	CircuitBreaker *CircuitBreaker `json:"circuitBreaker,omitempty"`

	// Limits of the route: `maxBodyBytes` in place of the service's.
	Limits *ServiceLimits `json:"limits,omitempty"`

	// Access adds to the service's: both must let a client pass.
	Access *Access `json:"access,omitempty"`

	// Auth in place of the service's. `mode: None` lets everybody pass.
	Auth *Auth `json:"auth,omitempty"`

	// RateLimits beside the service's.
	// +kubebuilder:validation:MaxItems=16
	RateLimits []RateLimit `json:"rateLimits,omitempty"`
}

// Match is a set of conditions that must all hold.
type Match struct {
	// Path condition. Unset: every path.
	Path *PathMatch `json:"path,omitempty"`

	// Headers of the request, all of which must match.
	// +kubebuilder:validation:MaxItems=16
	Headers []ValueMatch `json:"headers,omitempty"`

	// Query parameters of the request, all of which must match.
	// +kubebuilder:validation:MaxItems=16
	Query []ValueMatch `json:"query,omitempty"`

	// Methods, one of which the request must have. Unset: any.
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=32
	// +kubebuilder:example={GET, POST}
	Methods []string `json:"methods,omitempty"`
}

// PathMatchType says how a path is compared. Case always counts.
// +kubebuilder:validation:Enum=Exact;Prefix;Regex
type PathMatchType string

// The types of path conditions.
const (
	PathMatchExact  PathMatchType = "Exact"
	PathMatchPrefix PathMatchType = "Prefix"
	PathMatchRegex  PathMatchType = "Regex"
)

// PathMatch is a condition on the normalised path of a request, without its query.
// +kubebuilder:validation:XValidation:rule="has(self.type) && self.type == 'Regex' || !has(self.value) || self.value.startsWith('/')",message="must start with '/'",fieldPath=".value"
type PathMatch struct {
	// Type is `Exact`, `Prefix` (whole segments: `/api` matches `/api` and `/api/x`, not `/apix`), or `Regex` (RE2 syntax,
	// found anywhere in the path unless anchored with `^` and `$`).
	Type *PathMatchType `json:"type,omitempty"`

	// Value is the path, the prefix or the regular expression. The first two begin with `/`.
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:example="/api/v2"
	Value *string `json:"value,omitempty"`
}

// ValueMatchType says how a value is compared. Case always counts.
// +kubebuilder:validation:Enum=Exact;Regex
type ValueMatchType string

// The types of conditions on values.
const (
	ValueMatchExact ValueMatchType = "Exact"
	ValueMatchRegex ValueMatchType = "Regex"
)

// ValueMatch is a condition on a header field or a query parameter.
type ValueMatch struct {
	// Name of the header field (case does not count) or of the query parameter (case counts).
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:example="X-Beta"
	// +required
	Name string `json:"name,omitempty"`

	// Type is `Exact`, or `Regex` (RE2 syntax, found anywhere in the value unless anchored with `^` and `$`).
	Type *ValueMatchType `json:"type,omitempty"`

	// Value is the value or the regular expression. `''` matches a field that is present and empty.
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:example="1"
	// +required
	Value *string `json:"value,omitempty"`
}

// Filter is one step on the way of a request. Exactly one of its fields is set.
// +kubebuilder:validation:XValidation:rule="[has(self.requestHeaders), has(self.responseHeaders), has(self.rewrite), has(self.redirect), has(self.respond), has(self.cors), has(self.mirror), has(self.compression), has(self.securityHeaders), has(self.buffer)].filter(x, x).size() == 1",message="exactly one filter must be set per list entry"
type Filter struct {
	// RequestHeaders changes header fields of the request before it is forwarded.
	RequestHeaders *HeaderFilter `json:"requestHeaders,omitempty"`

	// ResponseHeaders changes header fields of the response before it is sent to the client.
	ResponseHeaders *HeaderFilter `json:"responseHeaders,omitempty"`

	// Rewrite changes the path or the host of the request before it is forwarded.
	Rewrite *RewriteFilter `json:"rewrite,omitempty"`

	// Redirect answers with a redirection. Such a route needs no backends.
	Redirect *RedirectFilter `json:"redirect,omitempty"`

	// Respond answers with a fixed response. Such a route needs no backends.
	Respond *RespondFilter `json:"respond,omitempty"`

	// CORS lets pages of other origins use the route.
	CORS *CORSFilter `json:"cors,omitempty"`

	// Mirror sends copies of requests to another backend, whose answers are dropped.
	Mirror *MirrorFilter `json:"mirror,omitempty"`

	// Compression compresses responses for clients that can read that.
	Compression *CompressionFilter `json:"compression,omitempty"`

	// SecurityHeaders adds header fields to responses that tell browsers to be careful.
	SecurityHeaders *SecurityHeadersFilter `json:"securityHeaders,omitempty"`

	// Buffer reads a request's whole body before the request is forwarded.
	Buffer *BufferFilter `json:"buffer,omitempty"`
}

// HeaderFilter changes header fields. It removes first, then sets, then adds. Fields that frame a message or belong to
// one connection (`Content-Length`, `Transfer-Encoding`, `Connection`, …) cannot be named; the host is changed by
// `rewrite.host`.
type HeaderFilter struct {
	// Set replaces a field, or adds it where it is missing.
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:example={X-Env: prod}
	Set map[string]string `json:"set,omitempty"`

	// Add adds a field beside those of the same name.
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:example={X-Served-By: shop}
	Add map[string]string `json:"add,omitempty"`

	// Remove removes all fields of these names.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:example={X-Debug}
	Remove []string `json:"remove,omitempty"`
}

// RewriteFilter changes the path or the host of a request. At least one field is set; of `path`,
// `replacePrefix` and `regex` at most one.
type RewriteFilter struct {
	// ReplacePrefix replaces the prefix that the route matched. The route's path conditions must be of type `Prefix`.
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:example="/"
	ReplacePrefix *string `json:"replacePrefix,omitempty"`

	// Path replaces the whole path; the query stays. In a route whose path conditions are all of type `Regex`, `$1` or
	// `${1}` stand for what the expression's groups matched, and `$$` for a dollar sign.
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:example="/index.html"
	Path *string `json:"path,omitempty"`

	// Regex replaces what a regular expression matches in the path, everywhere in it.
	Regex *RegexRewrite `json:"regex,omitempty"`

	// Host replaces the host that the endpoint sees, with a port if one is wanted.
	// +kubebuilder:validation:MaxLength=260
	// +kubebuilder:example="internal.example.com"
	Host *string `json:"host,omitempty"`
}

// RegexRewrite replaces what a regular expression matches.
type RegexRewrite struct {
	// Pattern is the regular expression (RE2 syntax).
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:example="^/users/([0-9]+)"
	// +required
	Pattern string `json:"pattern,omitempty"`

	// Substitution takes the place of a match. `$1` or `${1}` stand for what its groups matched, and `$$` for a dollar sign.
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:example="/people/$1"
	Substitution string `json:"substitution,omitempty"`
}

// RedirectScheme is the scheme of a redirection.
// +kubebuilder:validation:Enum=http;https
type RedirectScheme string

// RedirectCode is the status of a redirection.
// +kubebuilder:validation:Enum=301;302;303;307;308
type RedirectCode int32

// RedirectFilter answers with a redirection. At least one of `scheme`, `host`, `port` and `path` is set; the rest of
// the location is the request's.
type RedirectFilter struct {
	// Scheme of the location.
	// +kubebuilder:example=https
	Scheme *RedirectScheme `json:"scheme,omitempty"`

	// Host of the location, without a port.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:example="www.example.com"
	Host *string `json:"host,omitempty"`

	// Port of the location. Unset: the scheme's own if `scheme` is set, else the request's.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +kubebuilder:example=8443
	Port *int32 `json:"port,omitempty"`

	// Path of the location; the query stays. In a route whose path conditions are all of type `Regex`, `$1` or `${1}` stand
	// for what the expression's groups matched, and `$$` for a dollar sign.
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:example="/api/v2/$1"
	Path *string `json:"path,omitempty"`

	// Code is the status of the answer.
	// +kubebuilder:example=308
	Code *RedirectCode `json:"code,omitempty"`
}
