// Package conformance tries the proxy as a hostile client and a hostile endpoint do: request smuggling, response
// desynchronisation, paths and fields in disguise, and clients that cost more than they bring. docs/conformance.md says what
// is tried, and by what.
//
// The corpus is one table, in the files corpus_*_test.go: a row says what a client sends, what the endpoint does with
// what reaches it, and what must come of it. What decides is never what the proxy happens to do but RFC 9110, RFC 9112,
// RFC 9113 and the strict reading of them, where two parsers might disagree: refuse, and forward nothing. Each row is judged
// on the bytes that the endpoint got, which package readers must find to be one message, on the answers, and on what other
// clients get afterwards over the same connections. It is judged again with its bytes cut into pieces, over TLS, and over
// HTTP/2 where it has a form there. dangers_test.go lists what must never happen, with the rows and tests that try it.
//
// The proxy runs in the process of the test, so that hundreds of rows are quick and the race detector watches them. What
// needs a process of its own, as memory does, uses package harness.
package conformance
