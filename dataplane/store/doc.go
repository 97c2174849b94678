// Package store counts rate limits for all replicas together, in Redis or what speaks its protocol. It implements
// filter.Shared.
//
// Requests that ask at the same time share one pipeline; the script that counts is atomic and goes by the clock of Redis.
// No request waits for a Redis that is away: the first one that gets no answer in time opens a circuit, those that follow
// are told at once that nobody knows, and the store looks by itself until there is an answer again.
package store
