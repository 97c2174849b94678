// Package trace makes spans of exchanges and sends them to an OpenTelemetry collector: a server span for each, and a client
// span for each try. It reads and writes the header fields by which traces go from process to process (W3C Trace Context
// and B3).
//
// An exchange that is not traced costs a look at one pointer. Spans wait in bounded memory for a goroutine that sends them;
// a collector that is slow or away costs spans and never requests.
package trace
