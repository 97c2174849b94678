// Package settings is the user's schema for the whole process: what stands beside the services in the standalone file, and
// in the chart's configuration. The services are those of api/v1alpha1.
// +kubebuilder:object:generate=true
package settings
