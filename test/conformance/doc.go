// Package conformance tries the HTTP/1 side of the proxy as a hostile client and a hostile endpoint do: request
// smuggling, response desynchronisation, paths and fields in disguise, and clients that cost more than they bring.
//
// The corpus is one table, in the files corpus_*_test.go: a row says what a client sends, what the endpoint does with
// what reaches it, and what must come of it. What decides is never what the proxy happens to do but RFC 9110, RFC 9112
// and the strict reading of them, where two parsers might disagree: refuse, and forward nothing. Each row is judged on
// the bytes that the endpoint got, on the answers, and on what other clients get afterwards over the same connections;
// and it is judged again with its bytes cut into pieces.
//
// The proxy runs in the process of the test, so that hundreds of rows are quick and the race detector watches them. What
// needs a process of its own, as memory does, uses package harness.
package conformance
