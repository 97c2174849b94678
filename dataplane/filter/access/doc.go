// Package access is the filter that lets requests pass by their client's address, or answers 403.
//
// Which address is the client's is settled before any filter runs: the peer's, or the one that trusted proxies name.
package access
