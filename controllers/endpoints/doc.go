// Package endpoints turns the EndpointSlices of a Service into the endpoints of a cluster. It is pure: which Services
// count, and when they are looked at, is left to package controllers.
package endpoints
