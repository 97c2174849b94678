// Package accesslog writes a line a request, and a line a connection of services that pass bytes on. A line is encoded
// without allocation and left in bounded memory; a goroutine writes it. What cannot be written is dropped and counted.
package accesslog
