// Package group holds what routes balance over: clusters by weight, those that stand in for them, and those that a request
// itself asks for, by a header field, a cookie, or a key.
//
// Groups is the registry of all of them; a Group's position and its budget of retries live on under its key. Which endpoint
// of a cluster serves, and whether its circuit breaker lets it, is left to package upstream.
package group
