package group

import "github.com/pingora-proxy/pingora-proxy/dataplane/upstream"

// A Choice is what one exchange says about the endpoint that it goes to, and what it has tried. The zero value says
// nothing; it is made to lie on the caller's stack, and is released when the exchange is over.
type Choice struct {
	upstream.Choice

	directed bool               // one of the following is set
	override *upstream.Cluster  // that the exchange asks for
	stuck    *upstream.Endpoint // that the client's cookie names
	renew    bool               // the cookie is about to end
}

// base is what clusters see of w, which may be nil.
func (w *Choice) base() *upstream.Choice {
	if w == nil {
		return nil
	}
	return &w.Choice
}
