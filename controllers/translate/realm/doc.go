// Package realm knows what custom resources live in: the Services of their cluster, what other namespaces grant them, and
// what the policy of the installation lets them want. It resolves what they list into where requests go.
//
// A World that is nil is that of a file, where everything is allowed and no Service is known.
package realm
