// Package client is the endpoint's side of the HTTP/1.1 engine: a Conn sends a request, passes interim responses on,
// reads the response's head in place and its body as it is asked for, and knows afterwards whether the connection can be
// used again.
//
// Which connection a request takes, and what happens when there is no response, is left to package upstream.
package client
