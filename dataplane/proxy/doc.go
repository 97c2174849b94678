// Package proxy is the straight line of a request: it finds the route, runs the filters, tries endpoints, passes the
// response on and writes down what happened.
//
// Proxy.Serve reads top to bottom. What the steps are made of lives elsewhere: reading and writing in the engines,
// the table in router, endpoints in upstream, features in filter. No feature appears here by name.
package proxy
