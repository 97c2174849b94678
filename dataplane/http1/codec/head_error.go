package codec

import (
	"errors"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// HeadError refuses a head or a chunked body. The connection it came on is out of step: it must be closed.
type HeadError struct {
	Status int             // to answer the client with; 502 for everything that an endpoint sent
	Reason exchange.Reason // to log
	Detail string          // what was wrong; constant text, never a byte that the peer sent
}

// Error implements error.
func (e *HeadError) Error() string { return "http1: " + e.Detail }

// Unwrap says the same in the words of those who know no codec.
func (e *HeadError) Unwrap() error {
	return &exchange.Failure{Reason: e.Reason, Err: errors.New(e.Detail)}
}

// A refusal is a HeadError for either side, made once, so that refusing costs an attacker's requests no allocation.
type refusal struct{ request, response HeadError }

func refuse(status int, reason exchange.Reason, detail string) *refusal {
	return &refusal{
		request:  HeadError{Status: status, Reason: reason, Detail: detail},
		response: HeadError{Status: 502, Reason: exchange.UpstreamProtocol, Detail: detail},
	}
}

func malformed(detail string) *refusal { return refuse(400, exchange.BadRequest, detail) }

// Refusals of a head's first line.
var (
	errURITooLong     = refuse(414, exchange.URITooLong, "the first line is too long")
	errEmptyLines     = malformed("more than one empty line before the request line")
	errMethod         = malformed("the method is not a token of at most 32 bytes")
	errTarget         = malformed("the request target has a byte that must be percent-encoded, or a fragment")
	errTargetForm     = malformed("the request target has none of the four forms of RFC 9112 §3.2")
	errScheme         = malformed("the request target has a scheme other than http and https")
	errAuthority      = malformed("the authority of the request target is not host or host:port")
	errVersionSyntax  = malformed("the request line does not end in an HTTP version and CR LF")
	errVersionForeign = malformed("the version does not belong on an HTTP/1 connection")
	errVersion        = refuse(505, exchange.VersionUnsupported, "the version is neither HTTP/1.0 nor HTTP/1.1")
	errStatusLine     = malformed("the status line is malformed")
	errStatus         = malformed("the status is not between 100 and 599")
	errReasonPhrase   = malformed("the reason phrase has a control character")
)

// Refusals of fields.
var (
	errHeadTooLarge  = refuse(431, exchange.HeaderTooLarge, "the head is too large")
	errTooManyFields = refuse(431, exchange.HeaderTooLarge, "the head has too many fields")
	errNameTooLong   = refuse(431, exchange.HeaderTooLarge, "a field name is too long")
	errFieldName     = malformed("a field name is not a token followed by a colon")
	errFold          = malformed("a field line is folded or begins with white space")
	errFieldValue    = malformed("a field value has a control character")
	errBareLF        = malformed("a line ends in LF without CR")
	errBareCR        = malformed("a CR is not followed by LF")
)

// Refusals of what the fields mean.
var (
	errNoHost          = malformed("an HTTP/1.1 request without Host")
	errTwoHosts        = malformed("more than one Host")
	errHost            = malformed("Host is not host or host:port")
	errLength          = malformed("Content-Length is not one decimal number")
	errTwoLengths      = malformed("more than one Content-Length")
	errTwoCodings      = malformed("more than one Transfer-Encoding")
	errCoding          = malformed("Transfer-Encoding is not exactly chunked")
	errCodingUnknown   = refuse(501, exchange.NotImplemented, "a transfer coding other than chunked")
	errCodingHTTP10    = malformed("Transfer-Encoding in an HTTP/1.0 message")
	errLengthAndCoding = malformed("both Content-Length and Transfer-Encoding")
	errExpectation     = refuse(417, exchange.ExpectationFailed, "an expectation other than 100-continue")
	errInterimBody     = malformed("an interim response that announces a body")
)

// Refusals of a chunked body.
var (
	errChunkSize      = malformed("a chunk size is not one to fifteen hexadecimal digits")
	errChunkExtension = malformed("a chunk extension has a control character or is too long")
	errChunkOverhead  = malformed("the chunked body is mostly framing")
	errChunkEnd       = malformed("a chunk's data is not followed by CR LF")
	errTrailerSize    = malformed("the trailer is too large")
)
