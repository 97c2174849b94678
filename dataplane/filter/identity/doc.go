// Package identity is the filter that removes what clients send under the names of fields in which a service tells its
// endpoints who asks, on a route that does not fill them in: nobody may say there who he is.
package identity
