// Package signing is the filter that signs requests to endpoints (RFC 9421, HTTP Message Signatures), so that these can tell
// what came through the proxy from what did not.
//
// It signs each try anew, after every other filter, over what the endpoint gets: the path and the authority as they were
// rewritten. Bodies are covered by a Content-Digest (RFC 9530) where one is known. docs/request-signing.md says how an
// endpoint verifies.
package signing
