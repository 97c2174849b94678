// Package client is the endpoint's side of the HTTP/2 engine (RFC 9113): a Conn carries many exchanges at once, each on a
// stream of its own, and a Pool holds the connections to one endpoint.
//
// One goroutine a connection reads frames and hands what they hold to the streams; whoever has something to send appends
// it to what waits already and sends all of it, so that frames of many exchanges leave together. Nobody waits for the
// socket but a goroutine that does nothing else.
//
// What it bounds of an endpoint that it does not trust: a response's fields in bytes and in number; the unread bytes of a
// body, by the window of its stream; frames that bring nothing, a second; what waits to be sent in answer to frames. A
// response whose body is not what its head announced is cut off, and never ends cleanly.
//
// Which endpoint is asked, and what follows a failure, is left to package upstream.
package client
