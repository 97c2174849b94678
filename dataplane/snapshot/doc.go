// Package snapshot is the intermediate model: everything the data plane serves, made by the control side and immutable
// once published. It is plain data. Nothing in it is live: clusters, endpoints and filters are described here and
// brought to life by the data plane, which reuses what already lives under the same ID or Key.
package snapshot
