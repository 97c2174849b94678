package controllers

import (
	"net/http"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
)

const gatewayGroup = "gateway.networking.k8s.io"

// staticMapper knows the resources of the kinds that are watched without asking the API server.
func staticMapper(*rest.Config, *http.Client) (meta.RESTMapper, error) {
	m := meta.NewDefaultRESTMapper(nil)
	for _, kind := range []schema.GroupVersionKind{
		v1alpha1.GroupVersion().WithKind("ProxyService"),
		corev1.SchemeGroupVersion.WithKind("Service"),
		corev1.SchemeGroupVersion.WithKind("Secret"),
		corev1.SchemeGroupVersion.WithKind("ConfigMap"),
		discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"),
		{Group: gatewayGroup, Version: "v1", Kind: "ReferenceGrant"},
		{Group: gatewayGroup, Version: "v1beta1", Kind: "ReferenceGrant"},
	} {
		m.Add(kind, meta.RESTScopeNamespace)
		// A cache of some namespaces asks for the list by its own kind.
		m.Add(kind.GroupVersion().WithKind(kind.Kind+"List"), meta.RESTScopeNamespace)
	}
	return m, nil
}
