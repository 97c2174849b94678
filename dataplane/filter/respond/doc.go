// Package respond is the filter that answers with a fixed response. Its route needs no endpoints.
package respond
