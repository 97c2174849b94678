package wire

import (
	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/codec"
)

// A Fault refuses one message. Its stream ends; the connection goes on, for the header block was read to its end.
type Fault = codec.HeadError

// A refusal is a Fault for either side, made once.
type refusal struct{ request, response Fault }

func refuse(status int, reason exchange.Reason, detail string) *refusal {
	return &refusal{
		request:  Fault{Status: status, Reason: reason, Detail: detail},
		response: Fault{Status: 502, Reason: exchange.UpstreamProtocol, Detail: detail},
	}
}

func malformed(detail string) *refusal { return refuse(400, exchange.BadRequest, detail) }

// Refusals of one field.
var (
	errTooLarge      = refuse(431, exchange.HeaderTooLarge, "the fields are too large")
	errTooMany       = refuse(431, exchange.HeaderTooLarge, "there are too many fields")
	errNameTooLong   = refuse(431, exchange.HeaderTooLarge, "a field name is too long")
	errName          = malformed("a field name is not a token in lower case")
	errValue         = malformed("a field value has a control character, or white space around it")
	errPseudo        = malformed("a pseudo-header field that is not known here")
	errPseudoTwice   = malformed("a pseudo-header field stands there twice")
	errPseudoLate    = malformed("a pseudo-header field stands behind an ordinary one")
	errPseudoTrailer = malformed("a pseudo-header field in a trailer")
	errConnection    = malformed("a field that HTTP/2 does not have, such as Connection")
	errTE            = malformed("TE is not exactly trailers")
	errTwoHosts      = malformed("more than one Host")
	errLength        = malformed("Content-Length is not one decimal number")
	errTwoLengths    = malformed("more than one Content-Length")
	errExpectation   = refuse(417, exchange.ExpectationFailed, "an expectation other than 100-continue")
)

// Refusals of what the fields say together.
var (
	errIncomplete = malformed("a pseudo-header field is missing")
	errMethod     = malformed("the method is not a token of at most 32 bytes")
	errScheme     = malformed("the scheme is neither http nor https")
	errAuthority  = malformed("the authority is not host or host:port")
	errMismatch   = malformed("Host is not what :authority says")
	errPath       = malformed("the path does not begin with a slash, or has a byte that must be percent-encoded")
	errURITooLong = refuse(414, exchange.URITooLong, "the path is too long")
	errConnect    = malformed("CONNECT with a path or a scheme, or without an authority")
	errProtocol   = malformed("a protocol without CONNECT")
	errStatus     = malformed("the status is not between 100 and 599")
	errEnded      = malformed("the message ends with its fields and announces a body")
)

// Faults of a body.
var (
	ErrBodyLength  = &Fault{Status: 400, Reason: exchange.BadRequest, Detail: "the body has another length than Content-Length says"}
	ErrBodyTimeout = &Fault{Status: 408, Reason: exchange.RequestTimeout, Detail: "the body did not arrive in time"}
)
