// Package listener owns the sockets that clients connect to: it binds an address, accepts, keeps to the limit of open
// connections, makes TLS connections of them where a service wants that, and stops accepting without losing what the
// kernel has queued.
//
// What happens on a connection is the engines' part; which listeners there are is the facade's.
package listener
