// Package sanitize is the filter that removes header fields by name: of requests, so that no client can say what endpoints
// take for somebody else's word, and of responses, so that they do not tell what they were made with.
//
// What is removed from every request without being asked for is not its business: proxy does that before any filter runs,
// as exchange.SpeaksForProxies says.
package sanitize
