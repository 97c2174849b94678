package v1alpha1

// RespondFilter answers with a fixed response.
type RespondFilter struct {
	// Code is the status of the answer.
	// +kubebuilder:validation:Minimum=200
	// +kubebuilder:validation:Maximum=599
	Code *int32 `json:"code,omitempty"`

	// Body of the answer.
	// +kubebuilder:validation:MaxLength=65536
	// +kubebuilder:example="ok"
	Body *string `json:"body,omitempty"`

	// ContentType of the body.
	// +kubebuilder:validation:MaxLength=256
	ContentType *string `json:"contentType,omitempty"`
}

// CORSFilter lets pages of other origins use a route (the Fetch standard's CORS protocol). It answers preflight requests
// itself, before authentication.
type CORSFilter struct {
	// AllowOrigins are the origins whose pages may: `https://example.com`, `https://*.example.com`, or `*`.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=262
	// +kubebuilder:example={"https://example.com"}
	// +required
	AllowOrigins []string `json:"allowOrigins,omitempty"`

	// AllowMethods that they may use. Unset: GET, HEAD and POST, or those that the route's matches name.
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=32
	// +kubebuilder:example={GET, PUT}
	AllowMethods []string `json:"allowMethods,omitempty"`

	// AllowHeaders that they may send. Unset: those that the preflight request asks for.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:example={Content-Type}
	AllowHeaders []string `json:"allowHeaders,omitempty"`

	// ExposeHeaders of responses that they may read.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:example={X-Total}
	ExposeHeaders []string `json:"exposeHeaders,omitempty"`

	// AllowCredentials lets them send cookies. Not with the origin `*`.
	AllowCredentials *bool `json:"allowCredentials,omitempty"`

	// MaxAgeSecs is how long a browser may keep the answer to a preflight request, in seconds.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=86400
	MaxAgeSecs *int32 `json:"maxAgeSecs,omitempty"`
}

// MirrorFilter sends copies of requests to another backend. It never slows a request or fails it.
type MirrorFilter struct {
	// Backend that gets the copies.
	// +required
	Backend *Backend `json:"backend,omitempty"`

	// Percent of requests that are copied.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Percent *int32 `json:"percent,omitempty"`

	// MaxBodyBytes of a request's body; one with a longer body is not copied.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1048576
	MaxBodyBytes *int32 `json:"maxBodyBytes,omitempty"`
}

// CompressionAlgorithm is a content coding (RFC 9110, section 8.4.1).
// +kubebuilder:validation:Enum=gzip;br;zstd
type CompressionAlgorithm string

// The content codings.
const (
	CompressGzip   CompressionAlgorithm = "gzip"
	CompressBrotli CompressionAlgorithm = "br"
	CompressZstd   CompressionAlgorithm = "zstd"
)

// CompressionFilter compresses responses.
type CompressionFilter struct {
	// Algorithms in the order of preference, where the client has none. Unset: zstd, br, gzip.
	// +kubebuilder:validation:MaxItems=3
	// +kubebuilder:example={zstd, br, gzip}
	Algorithms []CompressionAlgorithm `json:"algorithms,omitempty"`

	// MinBytes of a body below which it is not worth it.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1073741824
	MinBytes *int32 `json:"minBytes,omitempty"`

	// ContentTypes that are compressed, such as `text/*`. Unset: text, JSON, JavaScript, XML, SVG, WebAssembly and fonts.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:example={"text/*", application/json}
	ContentTypes []string `json:"contentTypes,omitempty"`
}

// SecurityHeadersFilter adds header fields to responses that have none of the name.
type SecurityHeadersFilter struct {
	// HSTSMaxAgeSecs of `Strict-Transport-Security`, which is sent over TLS alone, in seconds. 0: not sent.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=126144000
	HSTSMaxAgeSecs *int32 `json:"hstsMaxAgeSecs,omitempty"`

	// HSTSIncludeSubDomains adds `includeSubDomains` to it.
	HSTSIncludeSubDomains *bool `json:"hstsIncludeSubDomains,omitempty"`

	// FrameOptions is `X-Frame-Options`: `DENY` or `SAMEORIGIN`; `off`: not sent.
	// +kubebuilder:validation:MaxLength=32
	FrameOptions *string `json:"frameOptions,omitempty"`

	// ReferrerPolicy is `Referrer-Policy`; `off`: not sent.
	// +kubebuilder:validation:MaxLength=64
	ReferrerPolicy *string `json:"referrerPolicy,omitempty"`

	// ContentSecurityPolicy is `Content-Security-Policy`. Unset: not sent.
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:example="default-src 'self'"
	ContentSecurityPolicy *string `json:"contentSecurityPolicy,omitempty"`

	// PermissionsPolicy is `Permissions-Policy`. Unset: not sent.
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:example="camera=()"
	PermissionsPolicy *string `json:"permissionsPolicy,omitempty"`
}

// BufferFilter reads a request's whole body before the request is forwarded.
type BufferFilter struct {
	// MaxBytes of a body. A longer one is answered with 413.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=16777216
	MaxBytes *int32 `json:"maxBytes,omitempty"`
}
