// Package wire is what both sides of the HTTP/1.1 engine do with sockets below the protocol: receive, send and splice
// without the detours that the standard library takes, deadlines that cost a store, and buffers that are shared.
package wire
