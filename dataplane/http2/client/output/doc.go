// Package output is what leaves on a connection of HTTP/2 to an endpoint: an Outlet, in which the frames of many exchanges
// leave together, and functions that append frames and the field blocks of requests.
//
// HPACK is written without its dynamic table: fields cost some bytes on a short way, and a connection no table that must be
// searched and filled. Frames are read by the Framer of golang.org/x/net, in package client.
package output
