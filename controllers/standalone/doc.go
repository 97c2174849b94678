// Package standalone reads the configuration of a proxy that runs without Kubernetes: a YAML file or a folder of them,
// environment variables and flags. It decodes strictly, reports every problem with its place, watches the files, and
// keeps the last good configuration when a new one is bad.
//
// What the fields mean and which values they may have is the schema's (api/v1alpha1); what the proxy makes of them is
// translate's.
package standalone
