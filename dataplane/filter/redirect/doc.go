// Package redirect is the filter that answers with another address for what was asked: the request's own, with the
// parts replaced that are configured.
package redirect
