// Package mirror is the filter that sends copies of requests to another cluster, whose answers nobody reads. A copy is what
// the endpoint got: its path and its fields as the other filters left them, credentials among them.
//
// It never slows a request or fails it. A copy leaves when the endpoint has answered, on a goroutine of its own; a request
// is not copied at all where its body is too long, where copies are under way already in the number that there is memory
// for, where it becomes a tunnel, and where no endpoint was asked.
package mirror
