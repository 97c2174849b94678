// Package v1alpha1 is the user's schema: the settings of one proxied service (ProxyServiceSpec) and of the whole
// process (Globals). The standalone file and the custom resource are both decoded into these types, so that they mean
// the same thing.
//
// Fields are optional unless they are marked. SetDefaults and Validate are pure. Bounds and enumerations stand as markers
// beside the fields; the generator turns them into zz_generated.bounds.go (which Validate reads), into the configuration
// reference and into the JSON Schema. Reading files is left to controllers/standalone, and making runtime models of
// these types to controllers/translate.
// +kubebuilder:object:generate=true
// +groupName=pingora-proxy.dev
package v1alpha1

//go:generate go run ./gen
