package codec

import (
	"encoding/binary"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// Framing says how the end of a message's body is found, or shown.
type Framing uint8

// The framings.
const (
	NoBody      Framing = iota // the message ends with its head
	LengthBody                 // a Content-Length
	ChunkedBody                // Transfer-Encoding: chunked
	UntilClose                 // the connection's end; responses only
)

// ResponseHead is what ParseResponse found besides the response itself.
type ResponseHead struct {
	Size      int // bytes of the head; 0 while it is not complete
	Framing   Framing
	KeepAlive bool // the connection can carry another exchange when the body has been read
}

// ParseResponse parses the response head at the start of buf into r, whose slices then lie in buf. method is the
// request's: what follows the head depends on it (RFC 9112 §6.3). scanned is as for ParseRequest. An error is a
// *HeadError; the connection must not be used again.
//
// 1xx heads are returned as heads without a body, 101 among them; after any other the caller reads on.
//
// Where a 204 announces a body, the response ends with its head all the same, and KeepAlive is false: what such an
// origin may send behind it must never be taken for the next response. Without a length to doubt (Content-Length: 0, as
// many origins write) the connection is kept. A 1xx that announces a body is an error, for there the reading goes on.
func ParseResponse(
	r *exchange.Response, method exchange.Method, buf []byte, scanned int, lim Limits,
) (ResponseHead, error) {
	lim = lim.WithDefaults()
	if !worthParsing(buf, scanned, &lim) {
		return ResponseHead{}, nil
	}
	head, e := parseResponse(r, method, buf, &lim)
	if e != nil {
		return ResponseHead{}, &e.response
	}
	return head, nil
}

func parseResponse(
	r *exchange.Response, method exchange.Method, buf []byte, lim *Limits,
) (ResponseHead, *refusal) {
	head := buf[:min(len(buf), lim.Bytes)]
	line := head[:min(len(head), lim.RequestLine+2)]
	p, e := parseStatusLine(r, line)
	if e != nil {
		return ResponseHead{}, e
	}
	if p == 0 {
		if len(line) == lim.RequestLine+2 || len(line) == lim.Bytes {
			return ResponseHead{}, errURITooLong
		}
		return ResponseHead{}, nil
	}

	r.Header.Reset(head)
	facts := fieldFacts{length: -1}
	n, e := parseFields(&r.Header, &facts, head, p, responseHead, lim.Fields)
	if e != nil {
		return ResponseHead{}, e
	}
	if n == 0 {
		if len(head) == lim.Bytes {
			return ResponseHead{}, errHeadTooLarge
		}
		return ResponseHead{}, nil
	}
	result, e := settleResponse(r, method, &facts)
	result.Size = n
	return result, e
}

// parseStatusLine parses the line at the start of b. It returns the place behind it, or 0 while it is not complete. The
// space behind the status may be missing when there is no reason phrase, as many origins have it.
func parseStatusLine(r *exchange.Response, b []byte) (int, *refusal) {
	const blank = "HTTP/1.1 200"
	if len(b) < len(blank)+1 {
		return 0, partialStatusLine(b)
	}
	switch binary.LittleEndian.Uint64(b) {
	case version11:
		r.Protocol = exchange.HTTP11
	case version10:
		r.Protocol = exchange.HTTP10
	default:
		return 0, errStatusLine
	}
	if b[8] != ' ' {
		return 0, errStatusLine
	}
	r.Status = 0
	for _, c := range b[9:12] {
		if c < '0' || c > '9' {
			return 0, errStatusLine
		}
		r.Status = r.Status*10 + int(c-'0')
	}
	if r.Status < 100 || r.Status > 599 {
		return 0, errStatus
	}

	p := 12
	switch b[p] {
	case ' ':
		p++
	case '\r':
	default:
		return 0, errStatusLine
	}
	reason := p
	p = scanValue(b, p)
	if p == len(b) {
		return 0, nil
	}
	if b[p] != '\r' {
		if b[p] == '\n' {
			return 0, errBareLF
		}
		return 0, errReasonPhrase
	}
	if p+1 == len(b) {
		return 0, nil
	}
	if b[p+1] != '\n' {
		return 0, errBareCR
	}
	r.Reason = b[reason:p:p]
	return p + 2, nil
}

// partialStatusLine checks the start of a status line, so that what is no HTTP is refused at once.
func partialStatusLine(b []byte) *refusal {
	const prefix = "HTTP/1."
	if string(b[:min(len(b), len(prefix))]) != prefix[:min(len(b), len(prefix))] {
		return errStatusLine
	}
	for _, c := range b {
		if c == '\n' {
			return errStatusLine
		}
	}
	return nil
}

// settleResponse finds out what follows a complete head (RFC 9112 §6.3), and whether the connection lives on (§9.3).
func settleResponse(r *exchange.Response, method exchange.Method, f *fieldFacts) (ResponseHead, *refusal) {
	http11 := r.Protocol == exchange.HTTP11
	if f.chunked {
		if f.length >= 0 {
			return ResponseHead{}, errLengthAndCoding
		}
		if !http11 {
			return ResponseHead{}, errCodingHTTP10
		}
	}
	keep := !f.close && (http11 || f.keepAlive)
	announced := f.chunked || f.length > 0

	r.ContentLength = f.length
	switch {
	case r.Status < 200:
		if announced {
			return ResponseHead{}, errInterimBody
		}
		r.ContentLength = 0
		return ResponseHead{Framing: NoBody, KeepAlive: keep && r.Status != 101}, nil
	case method == exchange.CONNECT && r.Status < 300:
		r.ContentLength = 0
		return ResponseHead{Framing: NoBody}, nil // the connection is a tunnel now
	case r.Status == 204:
		r.ContentLength = 0
		return ResponseHead{Framing: NoBody, KeepAlive: keep && !announced}, nil
	case r.Status == 304 || method == exchange.HEAD:
		return ResponseHead{Framing: NoBody, KeepAlive: keep}, nil
	case f.chunked:
		return ResponseHead{Framing: ChunkedBody, KeepAlive: keep}, nil
	case f.length > 0:
		return ResponseHead{Framing: LengthBody, KeepAlive: keep}, nil
	case f.length == 0:
		return ResponseHead{Framing: NoBody, KeepAlive: keep}, nil
	}
	return ResponseHead{Framing: UntilClose}, nil
}
