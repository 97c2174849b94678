// Package buffer is the filter that reads the whole body of a request before an endpoint is picked. A slow client then holds
// no endpoint up, the endpoint is told how long the body is, and the request can be sent to another one when the first
// fails. It costs memory: as much as the body, for as long as the exchange.
package buffer
