package controllers

// What the controller may do. `make manifests` writes config/rbac/role.yaml from this.
//
// In every namespace: read what ProxyServices are made of, write their status, and tell their owners.
//
// +kubebuilder:rbac:groups=pingora-proxy.dev,resources=proxyservices,verbs=get;list;watch
// +kubebuilder:rbac:groups=pingora-proxy.dev,resources=proxyservices/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=configmaps;secrets;services,verbs=get;list;watch
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=get;list;watch
// +kubebuilder:rbac:groups=gateway.networking.k8s.io,resources=referencegrants,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
//
// In its own namespace: elect a leader, say what each replica serves, and keep the ports of its own Service.
//
// +kubebuilder:rbac:namespace=pingora-proxy-system,groups=coordination.k8s.io,resources=leases,verbs=get;list;watch;create;update;patch;delete
// +kubebuilder:rbac:namespace=pingora-proxy-system,groups="",resources=services,resourceNames=pingora-proxy,verbs=get;patch
