package v1alpha1

// TLSVersion is a version of TLS.
// +kubebuilder:validation:Enum="1.2";"1.3"
type TLSVersion string

// The versions of TLS.
const (
	TLS12 TLSVersion = "1.2"
	TLS13 TLSVersion = "1.3"
)

// TLSConfig says how TLS is terminated.
type TLSConfig struct {
	// MinVersion is the oldest version of TLS that clients may use.
	MinVersion *TLSVersion `json:"minVersion,omitempty"`

	// Certificates of the service's hosts. Which one a client gets is chosen by the name that it asks for (SNI) and by what
	// it supports. One that is missing or bad fails the handshakes of these hosts, and no others.
	// +kubebuilder:validation:MaxItems=32
	Certificates []CertificateSource `json:"certificates,omitempty"`
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
