// Package router is the compiled route table: it finds the route of a request among all, in about the time of a few map
// look-ups however many there are.
//
// A Table is immutable; a new configuration is a new Table. Of the requests that a route takes, the most specific
// decides (the Gateway API's order): exact host, longest wildcard, any host; then exact path, longest prefix, regular
// expression, no path at all; then a method; then most headers, most query parameters; then the earlier route. A route
// takes a request only when all of its match holds, so a host whose routes do not match leaves the request to a less
// specific one.
//
// It does not act on what it finds: that is the proxy's part. It compares Request.Path, which the engine has normalised,
// with the paths of the configuration in the same form.
package router
