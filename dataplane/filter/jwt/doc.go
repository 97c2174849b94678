// Package jwt is the filter that lets requests pass which carry a token (RFC 7519) that one of its providers has signed.
//
// A token is believed for what its signature proves and for nothing else: which algorithm may have made it is the key's
// word and not the token's, and what a token says of where keys are to be found (jku, x5u, jwk, x5c) is not read at all.
// Keys of providers come from the configuration or are fetched in the background. What was found out of a token is kept
// for as long as the token and its key are good, under the token's digest: the token itself is not kept.
package jwt
