// Package load puts load on proxies: it reads what wrk and h2load report, and holds idle connections.
package load
