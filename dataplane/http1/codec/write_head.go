package codec

import (
	"net/http"
	"strconv"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// written are the fields that the Append functions write themselves, whatever a header says.
const (
	writtenInRequest  = 1<<exchange.Host | 1<<exchange.ContentLength | 1<<exchange.TransferEncoding
	writtenInResponse = 1<<exchange.ContentLength | 1<<exchange.TransferEncoding
)

// statusLines has the status line of every status with its usual reason phrase.
var statusLines = func() (lines [600]string) {
	for status := range lines {
		lines[status] = "HTTP/1.1 " + strconv.Itoa(status) + " " + http.StatusText(status) + "\r\n"
	}
	return lines
}()

// AppendRequestHead appends the head of a request as it goes to an endpoint: the target in origin-form (Path, or RawPath
// where Path is nil), Host first, the header's other fields in their order, and the one framing. The caller vouches that
// what it changed is valid, has removed hop-by-hop fields, and sends a body as framing says; UntilClose is not for
// requests and announces no body.
func AppendRequestHead(dst []byte, r *exchange.Request, framing Framing) []byte {
	if len(r.MethodName) > 0 {
		dst = append(dst, r.MethodName...)
	} else {
		dst = append(dst, r.Method.String()...)
	}
	dst = append(dst, ' ')
	if r.Path != nil {
		dst = append(dst, r.Path...)
	} else {
		dst = append(dst, r.RawPath...)
	}
	if r.HasQuery {
		dst = append(dst, '?')
		dst = append(dst, r.Query...)
	}
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, r.Host...)
	dst = append(dst, '\r', '\n')
	dst = appendFields(dst, &r.Header, writtenInRequest)
	switch framing {
	case LengthBody:
		dst = appendLength(dst, r.ContentLength)
	case ChunkedBody:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	case NoBody, UntilClose:
		// Methods that are expected to have content say that there is none (RFC 9110 §8.6).
		if r.Method == exchange.POST || r.Method == exchange.PUT || r.Method == exchange.PATCH {
			dst = appendLength(dst, 0)
		}
	}
	return append(dst, '\r', '\n')
}

// AppendResponseHead appends the head of a response as it goes to the client. With NoBody a length that is known is
// still announced, as HEAD and 304 may; a 1xx or 204 never has framing. UntilClose writes none: the caller closes, and
// has said so in Connection.
func AppendResponseHead(dst []byte, r *exchange.Response, framing Framing) []byte {
	if len(r.Reason) == 0 && r.Status >= 100 && r.Status < len(statusLines) {
		dst = append(dst, statusLines[r.Status]...)
	} else {
		dst = append(dst, "HTTP/1.1 "...)
		dst = strconv.AppendInt(dst, int64(r.Status), 10)
		dst = append(dst, ' ')
		dst = append(dst, r.Reason...)
		dst = append(dst, '\r', '\n')
	}
	dst = appendFields(dst, &r.Header, writtenInResponse)
	if r.Status >= 200 && r.Status != 204 {
		switch {
		case framing == ChunkedBody:
			dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
		case framing != UntilClose && r.ContentLength >= 0:
			dst = appendLength(dst, r.ContentLength)
		}
	}
	return append(dst, '\r', '\n')
}

// appendFields appends all fields but those whose bit is set in without.
func appendFields(dst []byte, h *exchange.Header, without uint64) []byte {
	for i := range h.Len() {
		id, name, value, ok := h.At(i)
		if !ok || without>>id&1 != 0 {
			continue
		}
		dst = append(dst, name...)
		dst = append(dst, ':', ' ')
		dst = append(dst, value...)
		dst = append(dst, '\r', '\n')
	}
	return dst
}

func appendLength(dst []byte, n int64) []byte {
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, '\r', '\n')
}

// AppendChunkHeader appends the line that begins a chunk of n bytes; n is not 0. CR LF follows the chunk's data.
func AppendChunkHeader(dst []byte, n int) []byte {
	dst = strconv.AppendUint(dst, uint64(n), 16)
	return append(dst, '\r', '\n')
}

// AppendLastChunk appends the end of a chunked body with its trailer, which may be nil.
func AppendLastChunk(dst []byte, trailer *exchange.Header) []byte {
	dst = append(dst, '0', '\r', '\n')
	if trailer != nil {
		dst = appendFields(dst, trailer, writtenInRequest)
	}
	return append(dst, '\r', '\n')
}

// AppendData appends data as the framing has it: as it is, or as a chunk.
func AppendData(dst, data []byte, framing Framing) []byte {
	if framing != ChunkedBody {
		return append(dst, data...)
	}
	dst = AppendChunkHeader(dst, len(data))
	dst = append(dst, data...)
	return append(dst, '\r', '\n')
}
