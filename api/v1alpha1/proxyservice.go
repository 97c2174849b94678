package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ProxyService is one proxied service of a cluster: it is served by every replica of the proxy whose class it names.
// `status` says whether it is, and if not, why.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=proxyservices,shortName=pxs,categories=proxy,scope=Namespaced
// +kubebuilder:printcolumn:name="Bind",type=string,JSONPath=`.spec.bindAddress`
// +kubebuilder:printcolumn:name="Hosts",type=string,JSONPath=`.spec.hosts`
// +kubebuilder:printcolumn:name="TLS",type=boolean,JSONPath=`.spec.tls`
// +kubebuilder:printcolumn:name="Endpoints",type=string,JSONPath=`.status.endpointsSummary`
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Accepted")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ProxyService struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says where the service listens, which requests it takes and where they go.
	// +required
	Spec ProxyServiceSpec `json:"spec,omitzero"`

	// Status says what became of it. It is written by the proxy.
	Status ProxyServiceStatus `json:"status,omitzero"`
}

// ProxyServiceList is a list of ProxyServices.
//
// +kubebuilder:object:root=true
type ProxyServiceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items of the list.
	Items []ProxyService `json:"items"`
}

// DefaultClass is the class of the objects that name none.
const DefaultClass = "default"

// Class is the class of the object: which installation of the proxy serves it.
func (p *ProxyService) Class() string {
	if c := p.Spec.ClassName; c != nil && *c != "" {
		return *c
	}
	return DefaultClass
}
