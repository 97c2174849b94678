// Package dial makes connections to the endpoints of a cluster ready for use: the PROXY header in front, TLS with its
// verification, session resumption and protocol negotiation.
//
// A Way is made once from a cluster's settings and serves every connection of it; one that differs in anything that
// matters for connections is another Way, with sessions of its own. Which endpoint is asked, and which connections are
// kept, is left to package upstream.
package dial
