package v1alpha1

// TLSVersion is a version of TLS.
// +kubebuilder:validation:Enum="1.2";"1.3"
type TLSVersion string

// The versions of TLS.
const (
	TLS12 TLSVersion = "1.2"
	TLS13 TLSVersion = "1.3"
)

// TLSMode says what becomes of TLS.
// +kubebuilder:validation:Enum=Terminate;Passthrough
type TLSMode string

// The modes of TLS.
const (
	TLSTerminate   TLSMode = "Terminate"
	TLSPassthrough TLSMode = "Passthrough"
)

// TLSConfig says how TLS is terminated.
type TLSConfig struct {
	// Mode is `Terminate`, or `Passthrough`: connections go to the endpoints as they are, by the name that the client asks
	// for (SNI). The latter needs `protocol: TCP` and `hosts`.
	Mode *TLSMode `json:"mode,omitempty"`

	// MinVersion is the oldest version of TLS that clients may use.
	MinVersion *TLSVersion `json:"minVersion,omitempty"`

	// Certificates of the service's hosts. Which one a client gets is chosen by the name that it asks for (SNI) and by what
	// it supports. One that is missing or bad fails the handshakes of these hosts, and no others.
	// +kubebuilder:validation:MaxItems=32
	Certificates []CertificateSource `json:"certificates,omitempty"`

	// ClientAuth asks clients for certificates. The verified one's subject and fingerprint go to the endpoint in the fields
	// `X-Client-Cert-Subject` and `X-Client-Cert-Fingerprint`, which no client can forge.
	ClientAuth *ClientAuth `json:"clientAuth,omitempty"`

	// RedirectHTTPFrom is an IP address and port where plain HTTP is answered with a redirection (308) to `https` on this
	// service's address.
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^(\\\\[[0-9a-fA-F:.]+\\\\]|[0-9.]*):[0-9]+$')",message="must be an IP address and a port, such as `0.0.0.0:8080` or `[::]:8080`"
	// +kubebuilder:validation:XValidation:rule="!self.matches(':[0-9]+$') || self.matches(':[0-9]{1,5}$') && int(self.substring(self.lastIndexOf(':') + 1)) >= 1 && int(self.substring(self.lastIndexOf(':') + 1)) <= 65535",message="port must be between 1 and 65535"
	// +kubebuilder:example="0.0.0.0:8080"
	RedirectHTTPFrom *string `json:"redirectHTTPFrom,omitempty"`
}

// ClientAuthMode says whether a client must show a certificate.
// +kubebuilder:validation:Enum=Require;Optional
type ClientAuthMode string

// The modes of client certificates.
const (
	ClientAuthRequire  ClientAuthMode = "Require"
	ClientAuthOptional ClientAuthMode = "Optional"
)

// ClientAuth asks clients for certificates.
type ClientAuth struct {
	// Mode is `Require`, or `Optional`: a client may come without a certificate, but not with one that cannot be verified.
	Mode *ClientAuthMode `json:"mode,omitempty"`

	// CARef is a bundle of certificates (PEM) that clients' certificates are verified with.
	// +required
	CARef *Reference `json:"caRef,omitempty"`
}

// UpstreamTLS speaks TLS to the endpoints. Their certificates are verified.
type UpstreamTLS struct {
	// ServerName that the endpoint is asked for (SNI) and that its certificate must have. Unset: the DNS name of the
	// backend, else the endpoint's IP address.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:example="shop.internal"
	ServerName *string `json:"serverName,omitempty"`

	// CARef is a bundle of certificates (PEM) that the endpoint's certificate is verified with. Unset: the system's.
	CARef *Reference `json:"caRef,omitempty"`

	// Certificate that the proxy shows to endpoints that ask for one.
	Certificate *CertificateSource `json:"certificate,omitempty"`

	// InsecureSkipVerify takes any certificate. Whoever sits between the proxy and the endpoint can then read and change
	// everything: it is for tests.
	// +kubebuilder:example=false
	InsecureSkipVerify *bool `json:"insecureSkipVerify,omitempty"`
}

// CertificateSource is one certificate with its chain and its private key: from a Secret in a custom resource, from
// files in a standalone file.
// +kubebuilder:validation:XValidation:rule="!has(self.certFile) && !has(self.keyFile)",message="file paths are only allowed in the standalone file"
// +kubebuilder:validation:XValidation:rule="has(self.secretRef) || has(self.certFile) || has(self.keyFile)",message="set `secretRef`"
type CertificateSource struct {
	// SecretRef is a Secret of type `kubernetes.io/tls`, with the keys `tls.crt` and `tls.key`. Only in a custom resource.
	SecretRef *SecretReference `json:"secretRef,omitempty"`

	// CertFile is a PEM file with the certificate and its chain. Only in a standalone file; it is read again when it
	// changes.
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:example="/etc/pingora-proxy/shop.crt"
	CertFile *string `json:"certFile,omitempty"`

	// KeyFile is a PEM file with the private key.
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:example="/etc/pingora-proxy/shop.key"
	KeyFile *string `json:"keyFile,omitempty"`
}

// SecretReference names a Secret.
type SecretReference struct {
	// Name of the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:example="shop-tls"
	// +required
	Name string `json:"name,omitempty"`

	// Namespace of the Secret. Another one than the object's needs a ReferenceGrant there. Unset: the object's.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:example="certificates"
	Namespace *string `json:"namespace,omitempty"`
}

// ReferenceKind is the kind of object that a Reference names.
// +kubebuilder:validation:Enum=Secret;ConfigMap
type ReferenceKind string

// The kinds of references.
const (
	ReferenceSecret    ReferenceKind = "Secret"
	ReferenceConfigMap ReferenceKind = "ConfigMap"
)

// Reference is content that is kept elsewhere: a file in a standalone file, a key of a Secret or ConfigMap in a custom
// resource. It is read again when it changes.
// +kubebuilder:validation:XValidation:rule="!has(self.file)",message="file paths are only allowed in the standalone file"
// +kubebuilder:validation:XValidation:rule="has(self.file) || has(self.name) && has(self.key)",message="set `name` and `key`"
type Reference struct {
	// File that holds the content. Only in a standalone file.
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:example="/etc/pingora-proxy/clients.pem"
	File *string `json:"file,omitempty"`

	// Kind is `Secret` or `ConfigMap`. Only in a custom resource, like the following fields.
	Kind *ReferenceKind `json:"kind,omitempty"`

	// Name of the Secret or ConfigMap.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:example="client-ca"
	Name *string `json:"name,omitempty"`

	// Key of the content in it.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:example="ca.crt"
	Key *string `json:"key,omitempty"`

	// Namespace of the Secret or ConfigMap. Another one than the object's needs a ReferenceGrant there. Unset: the object's.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:example="certificates"
	Namespace *string `json:"namespace,omitempty"`
}
