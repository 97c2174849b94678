// Package http1 is the client's side of the HTTP/1.1 engine (RFC 9112): a Server serves connections, a goroutine each,
// from reading a head to relaying the response and the tunnels behind a 101.
//
// Below it lie codec, which reads and writes messages without I/O, and wire, which does with sockets what both sides
// need; beside it client, the endpoint's side. What becomes of a request is its exchange.Handler's to say.
package http1
