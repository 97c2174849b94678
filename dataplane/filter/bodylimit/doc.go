// Package bodylimit is the filter that bounds the body of a request, whatever it is framed with: one that is announced as
// too long is refused before any of it is read, and one whose length nobody knows is counted while it is passed on. What
// is too long never looks complete to an endpoint.
package bodylimit
