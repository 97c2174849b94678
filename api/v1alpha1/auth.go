package v1alpha1

// AuthMode says whether clients must prove who they are.
// +kubebuilder:validation:Enum=Required;None
type AuthMode string

// The modes of authentication.
const (
	AuthRequired AuthMode = "Required"
	AuthNone     AuthMode = "None"
)

// Auth says who may use a service or a route. Exactly one of `jwt`, `basic`, `apiKey` and `forward` is set, or `mode: None`.
// +kubebuilder:validation:XValidation:rule="has(self.mode) && self.mode == 'None' ? !has(self.jwt) && !has(self.basic) && !has(self.apiKey) && !has(self.forward) : [has(self.jwt) && size(self.jwt) > 0, has(self.basic), has(self.apiKey), has(self.forward)].filter(x, x).size() == 1",message="exactly one of `jwt`, `basic`, `apiKey` or `forward` must be set, or `mode: None`"
type Auth struct {
	// Mode is `Required`, or `None` for a route that everybody may use.
	Mode *AuthMode `json:"mode,omitempty"`

	// JWT lists the providers of tokens. A token must be one of theirs, by its issuer.
	// +kubebuilder:validation:MaxItems=16
	JWT []JWTProvider `json:"jwt,omitempty"`

	// Basic asks for a name and a password (RFC 7617).
	Basic *BasicAuth `json:"basic,omitempty"`

	// APIKey asks for a key.
	APIKey *APIKeyAuth `json:"apiKey,omitempty"`

	// Forward asks another HTTP service about each request.
	Forward *ForwardAuth `json:"forward,omitempty"`
}

// JWTAlgorithm is an algorithm of signatures (RFC 7518, RFC 8037).
// +kubebuilder:validation:Enum=RS256;RS384;RS512;PS256;PS384;PS512;ES256;ES384;ES512;EdDSA
type JWTAlgorithm string

// JWTProvider is somebody whose tokens are believed (RFC 7519). Exactly one of `jwksURL`, `jwksRef` and `jwks` is set.
// +kubebuilder:validation:XValidation:rule="[has(self.jwksURL), has(self.jwksRef), has(self.jwks)].filter(x, x).size() == 1",message="exactly one of `jwksURL`, `jwksRef` or `jwks` must be set"
type JWTProvider struct {
	// Name of the provider in logs and messages.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:example="corp"
	// +required
	Name string `json:"name,omitempty"`

	// Issuer that the claim `iss` must name.
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:example="https://id.example.com"
	// +required
	Issuer string `json:"issuer,omitempty"`

	// Audiences, one of which the claim `aud` must name. Unset: any.
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=1024
	// +kubebuilder:example={shop}
	Audiences []string `json:"audiences,omitempty"`

	// JWKSURL is where the provider's keys are (RFC 7517). They are fetched in the background, and again before they are old.
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:example="https://id.example.com/jwks.json"
	JWKSURL *string `json:"jwksURL,omitempty"`

	// JWKSRef is a set of keys that is kept elsewhere.
	JWKSRef *Reference `json:"jwksRef,omitempty"`

	// JWKS is a set of keys, as JSON.
	// +kubebuilder:validation:MaxLength=65536
	// +kubebuilder:example="{\"keys\": []}"
	JWKS *string `json:"jwks,omitempty"`

	// Algorithms that signatures may have. Each key allows its own kind alone. Unset: all of the list.
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:example={RS256}
	Algorithms []JWTAlgorithm `json:"algorithms,omitempty"`

	// RequiredClaims are claims with the values that they must have. Of one that is a list, or words with spaces between
	// them like `scope`, one entry must be the value.
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:example={scope: shop.read}
	RequiredClaims map[string]string `json:"requiredClaims,omitempty"`

	// ClaimsToHeaders are claims that are forwarded in header fields, whose names are the values. What a client sends under
	// these names is removed.
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:example={sub: X-User}
	ClaimsToHeaders map[string]string `json:"claimsToHeaders,omitempty"`

	// FromCookie is a cookie that holds the token where the request has no `Authorization` field.
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:example="session"
	FromCookie *string `json:"fromCookie,omitempty"`

	// ForwardToken forwards the token to the endpoint.
	ForwardToken *bool `json:"forwardToken,omitempty"`

	// LeewaySecs is how far the provider's clock may be off, in seconds.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=300
	LeewaySecs *int32 `json:"leewaySecs,omitempty"`
}

// BasicAuth asks for a name and a password (RFC 7617).
type BasicAuth struct {
	// UsersRef is a list of users as `htpasswd -B` writes it: `name:hash` a line, with hashes of bcrypt or argon2.
	// +required
	UsersRef *Reference `json:"usersRef,omitempty"`

	// Realm that the client is told.
	// +kubebuilder:validation:MaxLength=256
	Realm *string `json:"realm,omitempty"`

	// UserHeader is a header field that tells the endpoint the user's name.
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:example="X-User"
	UserHeader *string `json:"userHeader,omitempty"`
}

// APIKeyAuth asks for a key.
type APIKeyAuth struct {
	// KeysRef is a list of keys: `name:sha256:HEX` a line, with the SHA-256 of the key in hexadecimal.
	// +required
	KeysRef *Reference `json:"keysRef,omitempty"`

	// Header field that holds the key.
	// +kubebuilder:validation:MaxLength=256
	Header *string `json:"header,omitempty"`

	// ForwardKey forwards the key to the endpoint.
	ForwardKey *bool `json:"forwardKey,omitempty"`

	// UserHeader is a header field that tells the endpoint the key's name.
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:example="X-Client"
	UserHeader *string `json:"userHeader,omitempty"`
}

// ForwardAuth asks another HTTP service about each request, with its method, host and path in the fields
// `X-Forwarded-Method`, `-Host`, `-Proto` and `-Uri`. A status from 200 to 299 lets it pass; any other answer goes to the
// client. No answer is 503.
type ForwardAuth struct {
	// Backend that is asked.
	// +required
	Backend *Backend `json:"backend,omitempty"`

	// Path that it is asked for.
	// +kubebuilder:validation:MaxLength=1024
	Path *string `json:"path,omitempty"`

	// TimeoutMs is how long it may take, in milliseconds.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=60000
	TimeoutMs *int32 `json:"timeoutMs,omitempty"`

	// RequestHeaders that it gets of the request, beside `Authorization` and `Cookie`.
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:example={X-Tenant}
	RequestHeaders []string `json:"requestHeaders,omitempty"`

	// ResponseHeaders of its answer that are forwarded with the request. What a client sends under these names is removed.
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:example={X-User}
	ResponseHeaders []string `json:"responseHeaders,omitempty"`
}
