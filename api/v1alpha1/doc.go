// Package v1alpha1 is the user's schema: the settings of one proxied service (ProxyServiceSpec). The standalone file and
// the custom resource are both decoded into these types, so that they mean the same thing.
//
// Fields are optional unless they are marked. Bounds and enumerations stand as markers beside the fields; the generator
// turns them into api/validation/zz_generated.bounds.go, into the configuration reference and into the JSON Schema. What is
// unset is filled in by api/defaults, and checked by api/validation. Reading files is left to controllers/standalone, and
// making runtime models of these types to controllers/translate.
// +kubebuilder:object:generate=true
// +groupName=pingora-proxy.dev
package v1alpha1

//go:generate go run ./gen
