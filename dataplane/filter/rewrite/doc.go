// Package rewrite is the filter that changes what the endpoint is asked for: the path, the prefix of it that the route
// matched or what a regular expression matches in it, and the host. What comes out is checked like a path from the client.
package rewrite
