package dataplane

import (
	"crypto/tls"
	"net"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/loop"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http2"
)

// servers serve the connections of one listener, each in the protocol that its client speaks.
type servers struct {
	http1 *http1.Server
	http2 *http2.Server
}

func (d *DataPlane) newServers(o http1.ServerOptions) *servers {
	s := &servers{
		http1: http1.NewServer(d.proxy, d.sweeper, o, d.log),
		http2: http2.NewServer(d.proxy, d.sweeper, http2.ServerOptions(o), d.log),
	}
	s.http1.OnPreface(s.http2.Serve)
	return s
}

// SetOptions replaces the options; open connections follow with their next request.
func (s *servers) SetOptions(o http1.ServerOptions) {
	s.http1.SetOptions(o)
	s.http2.SetOptions(http2.ServerOptions(o))
}

// Serve serves a connection to its end. Over TLS both sides have agreed on a protocol; a client that knows that HTTP/2 is
// spoken here begins with its preface.
func (s *servers) Serve(nc net.Conn, facts *exchange.Conn) {
	if speaksHTTP2(nc) {
		s.http2.Serve(nc, facts, nil)
		return
	}
	s.http1.Serve(nc, facts)
}

// speaksHTTP2 reports whether both sides have agreed on HTTP/2. What it reads is large, and would stay on the stack of each
// connection: a stack of which an idle connection uses more than a quarter is never made smaller.
//
//go:noinline
func speaksHTTP2(nc net.Conn) bool {
	secured, ok := nc.(*tls.Conn)
	return ok && secured.ConnectionState().NegotiatedProtocol == "h2"
}

// Start has a Loop serve a connection that speaks HTTP without TLS, and calls ended when it is over.
func (s *servers) Start(sock *loop.Socket, facts exchange.Conn, ended func()) {
	s.http1.Start(sock, facts, ended)
}

// Drain lets every connection end.
func (s *servers) Drain(grace time.Duration) {
	s.http1.Drain(grace)
	s.http2.Drain(grace)
}

// Close ends every connection at once, and returns how many there were.
func (s *servers) Close() int { return s.http1.Close() + s.http2.Close() }
