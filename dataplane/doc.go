// Package dataplane is the facade over everything that serves requests, and the owner of all that is live in it:
// listeners, connections, clusters, filters, checks, names that are being resolved.
//
// The control side drives it with Apply (a whole Snapshot) and SetEndpoints (one cluster); both have one writer. A
// configuration change never costs state: what did not change keeps its sockets, health, counters and positions.
package dataplane
