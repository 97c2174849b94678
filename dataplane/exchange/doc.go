// Package exchange holds one request and its response, in a form that no protocol owns: the engines (HTTP/1.1, later
// HTTP/2) fill it in, filters read and change it, an upstream connection sends it, and telemetry writes it down.
//
// It is the leaf of the data plane and imports the standard library alone. It does no I/O of its own: Body and
// Downstream are what an engine puts behind it.
//
// Memory: byte slices handed out by a Header, and the ones in Request and Response, lie in buffers that the engine
// reuses for the next exchange. Whoever keeps one beyond Done copies it.
package exchange
