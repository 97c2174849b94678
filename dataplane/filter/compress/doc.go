// Package compress is the filter that compresses responses (RFC 9110 §8.4) for clients that can read that. What an endpoint
// has compressed already, what says that it must not be changed, parts of a representation and what is too small to be worth
// it pass as they are.
//
// A stream stays one: what the endpoint has sent and nothing follows at once is passed on, compressed as it may be by then.
//
// Compression tells by its length what is alike in a response. Where one holds a secret beside what a client chose, somebody
// who sees the lengths can guess the secret (BREACH); such a response should not be compressed.
package compress
