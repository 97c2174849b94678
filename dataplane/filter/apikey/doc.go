// Package apikey is the filter that asks for a key, of which the configuration knows the SHA-256 alone.
//
// Keys are random and long, so that one round of a fast hash hides them, as it would not hide a password. What a client
// sends is hashed and the digest looked up; how long that takes says something about digests and nothing about keys.
package apikey
