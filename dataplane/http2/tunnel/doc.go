// Package tunnel carries the bytes of an upgraded connection between a stream of HTTP/2 and the endpoint behind it, until
// both directions have ended, one has failed, or nothing has come for too long.
package tunnel
