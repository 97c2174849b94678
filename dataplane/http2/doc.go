// Package http2 is the client's side of the HTTP/2 engine (RFC 9113): a Server serves connections. One goroutine reads a
// connection's frames; each of its streams is an exchange, served on a goroutine of its own, and all that they answer
// leaves through one wire.Output.
//
// What a client may cost is bounded: streams, header bytes, what is buffered of bodies, time, and how often it may have
// work done for nothing. docs/http2.md lists the bounds.
package http2
