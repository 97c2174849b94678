// Package claims knows who was first where several want the same: which namespace has a host, and which route of which
// service takes a request.
package claims
