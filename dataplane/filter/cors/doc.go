// Package cors is the filter that lets pages of other origins use a route, after the CORS protocol of the Fetch standard
// (https://fetch.spec.whatwg.org/#http-cors-protocol). It answers preflight requests itself, and it alone speaks for the
// route: what an endpoint says of origins is removed.
//
// It keeps nobody out. A client that is no browser may send whatever Origin it likes.
package cors
