// Package ratelimit is the filter that bounds how often clients may come. It counts with GCRA, the leaky bucket that is one
// point in time a client (see table), in this process or, for all replicas together, in the store behind filter.Env.Shared;
// where that has no answer, or there is none, each replica allows its share.
//
// Whoever is above a limit is answered with 429 and Retry-After. Everybody learns what is left from the fields of
// draft-ietf-httpapi-ratelimit-headers-11: RateLimit-Policy and RateLimit.
package ratelimit
