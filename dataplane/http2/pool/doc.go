// Package pool chooses among the connections to one endpoint that carry many requests at once: the one with the fewest, or
// another one that is opened where none has room.
//
// What a connection is, and how it carries requests, is left to package client.
package pool
