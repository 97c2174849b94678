// Package rewrite is the filter that changes what the endpoint is asked for: the path, or the prefix of it that the
// route matched, and the host. What comes out is checked like a path from the client.
package rewrite
