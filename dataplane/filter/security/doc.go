// Package security is the filter that adds the header fields with which a response tells browsers to be careful. A field that
// the response has already stays as it is: who wrote it knew the page.
package security
