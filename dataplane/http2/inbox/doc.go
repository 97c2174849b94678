// Package inbox holds what has arrived on a stream of HTTP/2 and was not read: the body of a message, within the window
// that the peer was given.
package inbox
