// Package tcp serves the TCP services: for each connection of a client it picks an endpoint, opens a connection to it and
// passes bytes on both ways until both sides have ended.
//
// Accepting, PROXY headers and TLS of clients are the listener's part, which endpoints there are and how they are reached
// is the upstream's. Nothing of what passes is looked at.
package tcp
