package v1alpha1

// Origin says where a configuration comes from: some defaults and some rules depend on it.
type Origin uint8

// The origins.
const (
	FromFile    Origin = iota // a standalone file
	FromCluster               // a custom resource
)

// Off is the value that turns an address, a path or a log off.
const Off = "off"
