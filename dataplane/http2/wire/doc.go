// Package wire is what both sides of the HTTP/2 engine share (RFC 9113), over the Framer and the hpack of
// golang.org/x/net: reading frames where they lie, collecting and judging the fields of a header block, encoding those of
// a message, flow control both ways, and one Output a connection, in which the frames of all its streams leave together.
//
// It knows no streams' states: what a frame means is the server's and the client's to say.
package wire
