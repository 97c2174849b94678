package exchange

import (
	"net/netip"
	"time"
)

// An Exchange is one request and its response. An engine makes it, calls Handler.Serve with it, and uses its memory
// again when Serve has returned.
type Exchange struct {
	Request  Request
	Response Response

	Conn       *Conn
	Downstream Downstream

	ClientIP      netip.Addr // who asks, after trusted proxies were believed
	ClientTrusted bool       // the peer is a trusted proxy
	PrefixLen     int        // how many bytes of Request.Path the route's prefix matched, for rewrites
	RequestID     []byte     // kept from a trusted peer, else made here

	Identity Identity // who asks, as a filter of authentication has found out

	Origin []byte // of the page that asks (Fetch standard), as it came; set where a filter needs it for the response
	Coding uint8  // with which the response may be compressed, as the compress filter numbers them; 0: with none

	Quotas []Quota // what the rate limits that the request was counted for leave to the client, for the response

	Idle time.Duration // the route's limit between bytes of bodies and in tunnels; 0: the listener's

	Trace  Trace // nil: not traced
	Record Record

	local   Bytes  // the body of a response made here
	scratch []byte // memory for values that filters build; see Scratch
	idBuf   [36]byte
}

// A Conn is what is known of the client's connection; it does not change while exchanges come and go on it.
type Conn struct {
	Listener int // the listener's slot in the route table
	Remote   netip.AddrPort
	Local    netip.AddrPort
	RemoteIP []byte // Remote's address as text, made once a connection
	Secure   bool   // the client speaks TLS to us

	TLSVersion string // such as 1.3; empty where Secure is not set
	ServerName string // that the client opened the connection for (SNI), in lower case; empty where it gave none

	Certificate *ClientCertificate // that the client has shown and that was verified; nil: none

	Seat       *Seat  // where the connection counts; nil: nowhere
	ClientAuth string // snapshot.ClientAuth.Digest of what the client was asked for; empty: for nothing
}

// A ClientCertificate is what endpoints are told of a client's certificate.
type ClientCertificate struct {
	Subject     string // RFC 2253
	Fingerprint string // SHA-256 of the certificate, in hexadecimal digits
}

// An Identity is who asks.
type Identity struct {
	User   string // a name, for the log and for limits; empty: nobody has asked
	Claims Claims // of a token; nil: there is none
}

// A Quota is what a rate limit leaves to a client.
type Quota struct {
	Limit     any           // whose it is
	Remaining int           // requests that may come now
	Next      time.Duration // until there may be one more
}

// Claims are what a token says (RFC 7519).
type Claims interface {
	// Text returns a claim that is a text, a number or true or false, as text.
	Text(name string) (string, bool)
}

// A Handler serves exchanges. An engine calls Serve when a request's head is complete, from the goroutine of its
// connection; Serve returns when the response was passed on, or could not be. It calls Downstream.Respond at most once;
// where it did not, the engine closes the client's connection.
type Handler interface {
	Serve(x *Exchange)

	// Refuse answers a request whose head could not be read; as much of x.Request is filled in as was understood. The
	// engine closes the connection behind it.
	Refuse(x *Exchange, status int, reason Reason)
}

// A Trace is told how an exchange goes, and makes the spans of a distributed trace of it.
type Trace interface {
	// Attempt is called before each try, when x.Record.UpstreamStart is known; it changes the fields that endpoints get.
	Attempt(x *Exchange)
	// Attempted is called behind it, with why there is no response, if there is none.
	Attempted(x *Exchange, failure *Failure)
	// Done is called when the exchange is over and x.Record complete.
	Done(x *Exchange)
}

// Downstream is the engine's side of an exchange: the way back to the client.
type Downstream interface {
	// Interim sends a 1xx response with the fields of h (RFC 9110 §15.2), at once. 101 is not interim. h may be nil.
	// Engines leave it out for HTTP/1.0 clients.
	Interim(x *Exchange, status int, h *Header) error

	// Respond sends x.Response: the head, the body to its end, the trailer. For 101 it then carries Response.Tunnel
	// until both directions have ended. An error means that the client did not get all of it, for either side's fault:
	// x.Record.Reason says whose.
	Respond(x *Exchange) error
}

// Leave says that what serves the exchange may wait from now on, until the exchange is over, for something other than the
// connections that it goes over. An engine that serves several exchanges on one goroutine moves this one to another.
func (x *Exchange) Leave() {
	if engine, ok := x.Downstream.(interface{ Leave() }); ok {
		engine.Leave()
	}
}

// A Stream is the upstream side of a response. Release says that the exchange is over: nothing of the response is read
// any more, its memory is free, and the connection goes back to its endpoint if it can be used again.
type Stream interface {
	Release()
}

// maxScratch is how much memory an exchange keeps for the next request, in bytes. One long request is not paid for as
// long as the connection lasts.
const maxScratch = 8192

// Reset makes x ready for the next request of a connection.
func (x *Exchange) Reset() {
	x.Request = Request{Header: x.Request.Header, Trailer: x.Request.Trailer, sealed: x.Request.sealed[:0]}
	x.Request.Header.Reset(nil)
	x.Request.Trailer.Reset(nil)
	x.ResetResponse()
	x.ClientIP, x.ClientTrusted, x.PrefixLen = netip.Addr{}, false, 0
	x.Identity = Identity{}
	x.RequestID, x.Idle = nil, 0
	x.Origin, x.Coding = nil, 0
	x.Quotas = x.Quotas[:0]
	x.Record, x.Trace = Record{}, nil
	if cap(x.scratch) > maxScratch {
		x.scratch = nil
	}
	x.scratch = x.scratch[:0]
}

// ResetResponse releases and forgets the response, so that another attempt, or an answer made here, can take its place.
func (x *Exchange) ResetResponse() {
	if x.Response.Stream != nil {
		x.Response.Stream.Release()
	}
	x.Response = Response{Header: x.Response.Header, Trailer: x.Response.Trailer}
	x.Response.Header.Reset(nil)
	x.Response.Trailer.Reset(nil)
}

// Scratch returns n bytes that live as long as the exchange. Slices returned earlier stay valid.
func (x *Exchange) Scratch(n int) []byte {
	if cap(x.scratch)-len(x.scratch) < n {
		x.scratch = make([]byte, 0, max(1024, 2*n))
	}
	at := len(x.scratch)
	x.scratch = x.scratch[:at+n]
	return x.scratch[at : at+n : at+n]
}
