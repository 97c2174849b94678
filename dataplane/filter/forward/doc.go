// Package forward is the filter that asks another HTTP service about each request: whether it may pass, and what the
// endpoint is to be told of who asks.
//
// The service is asked with GET and without the request's body, for what the request says in its head. A status from 200
// to 299 lets the request pass. Any other answer goes to the client as it is. No answer, or one that cannot be judged, is
// 503: nobody passes whom the service has not let pass.
package forward
