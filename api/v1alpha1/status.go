package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// The types of conditions.
const (
	ConditionAccepted     = "Accepted"     // the object can be served as it stands
	ConditionResolvedRefs = "ResolvedRefs" // everything that it names is there and may be used
	ConditionProgrammed   = "Programmed"   // every ready replica serves this generation
	ConditionConflicted   = "Conflicted"   // something older takes what it wants
)

// The reasons of conditions that stand for success, or for waiting.
const (
	ReasonAccepted     = "Accepted"
	ReasonResolvedRefs = "ResolvedRefs"
	ReasonProgrammed   = "Programmed"
	ReasonPending      = "Pending"
	ReasonNotAccepted  = "NotAccepted"
	ReasonNoConflict   = "NoConflict"
	ReasonHolds        = "Holds" // others want what this object has
	ReasonBindFailed   = "BindFailed"
)

// The reasons why something cannot be served as it stands.
const (
	ReasonInvalid           = "Invalid"           // a part cannot be built
	ReasonListenerConflict  = "ListenerConflict"  // another service holds the address
	ReasonRouteShadowed     = "RouteShadowed"     // another route takes the same requests
	ReasonPortNotAllowed    = "PortNotAllowed"    // the port is not among those that objects may bind
	ReasonHostNotOwned      = "HostNotOwned"      // another namespace has the host
	ReasonAddressNotAllowed = "AddressNotAllowed" // a static address that the policy refuses
)

// The reasons why something that an object names cannot be used.
const (
	ReasonBackendNotFound       = "BackendNotFound"
	ReasonRefNotFound           = "RefNotFound" // a Secret or a ConfigMap, or its key
	ReasonRefNotPermitted       = "RefNotPermitted"
	ReasonInvalidCertificateRef = "InvalidCertificateRef"
)

// ProxyServiceStatus says what became of a ProxyService.
type ProxyServiceStatus struct {
	// ObservedGeneration is the generation of the spec that this status is about.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: `Accepted` (it can be served as it stands), `ResolvedRefs` (all that it names is there and may be used),
	// `Programmed` (every ready replica serves this generation) and `Conflicted` (something older takes what it wants).
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Routes are the conditions of each route.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=512
	Routes []RouteStatus `json:"routes,omitempty"`

	// Endpoints that can serve now, as the leading replica sees them.
	Endpoints *EndpointCounts `json:"endpoints,omitempty"`

	// EndpointsSummary is the same in one word: `4/5`.
	// +kubebuilder:validation:MaxLength=32
	EndpointsSummary string `json:"endpointsSummary,omitempty"`

	// Replicas of the proxy that serve this generation.
	Replicas *ReplicaCounts `json:"replicas,omitempty"`

	// ConfigHash tells versions of the spec apart. It covers the spec of this object alone.
	// +kubebuilder:validation:MaxLength=64
	ConfigHash string `json:"configHash,omitempty"`

	// Addresses are where clients reach the service, `host:port` each, as far as the proxy's own Service tells.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=300
	// +listType=set
	Addresses []string `json:"addresses,omitempty"`
}

// RouteStatus says what became of one route.
type RouteStatus struct {
	// Name of the route.
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name,omitempty"`

	// Conditions: `Accepted`, `ResolvedRefs` and `Conflicted`, of the route alone.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// EndpointCounts count endpoints.
type EndpointCounts struct {
	// Healthy endpoints, which can serve.
	Healthy int32 `json:"healthy"`

	// Total of the endpoints.
	Total int32 `json:"total"`
}

// ReplicaCounts count replicas of the proxy.
type ReplicaCounts struct {
	// Programmed replicas, which serve this generation.
	Programmed int32 `json:"programmed"`

	// Total of the ready replicas.
	Total int32 `json:"total"`
}
