// Package scale measures the controller with many objects: how long a cold start takes until everything is Programmed, how
// long a change of endpoints or of an object takes until requests see it, the memory of the process, and what it writes
// to the API server.
//
// `make scale` measures 1,000 ProxyServices with 5,000 pods and writes the figures into docs/benchmarks.md. A plain `go
// test` does the same with a few objects, to show that the measurement works, and judges nothing.
package scale
