// Package headers is the filter that sets, adds and removes header fields of a request on its way to the endpoint, or
// of a response on its way to the client.
//
// Fields that frame a message or belong to one connection are not its business, and neither is Host, which the rewrite
// filter changes.
package headers
