package exchange

import (
	"math/rand/v2"
	"net/http"
	"strconv"
)

const hexDigits = "0123456789abcdef"

// MakeRequestID gives the exchange a random request id of 128 bits, as 32 hexadecimal digits.
func (x *Exchange) MakeRequestID() {
	hi, lo := rand.Uint64(), rand.Uint64() // ChaCha8 of the runtime: fast, and not to be guessed
	for i := range 16 {
		x.idBuf[i] = hexDigits[hi>>(60-4*i)&15]
		x.idBuf[16+i] = hexDigits[lo>>(60-4*i)&15]
	}
	x.RequestID = x.idBuf[:32]
}

// Answer makes the proxy's own response: a short application/problem+json body (RFC 9457) that names the reason and
// the request, and nothing of what is inside. Where the status must not have a body, it has none.
func (x *Exchange) Answer(status int, reason Reason) {
	x.ResetResponse()
	x.Record.Reason = reason
	r := &x.Response
	r.Status, r.Local, r.Protocol = status, true, HTTP11
	b := x.Scratch(192 + len(x.RequestID))[:0]
	b = append(b, `{"type":"about:blank","title":"`...)
	b = append(b, http.StatusText(status)...)
	b = append(b, `","status":`...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, `,"reason":"`...)
	b = append(b, reason...)
	if len(x.RequestID) > 0 {
		b = append(b, `","request_id":"`...)
		b = appendJSONText(b, x.RequestID)
	}
	b = append(b, '"', '}', '\n')
	x.AnswerBody("application/problem+json", b)
	r.Header.Add("Cache-Control", "no-store")
}

// AnswerBody gives the proxy's own response a body of that media type; the response's status is set already. body must
// live as long as the exchange.
func (x *Exchange) AnswerBody(contentType string, body []byte) {
	r := &x.Response
	r.Local = true
	if status := r.Status; status < 200 || status == 204 || status == 304 {
		return
	}
	r.Header.AddIDString(ContentType, contentType)
	r.ContentLength = int64(len(body))
	if x.Request.Method != HEAD {
		x.local.Reset(body)
		r.Body = &x.local
	}
}

// appendJSONText appends what may stand in a JSON string as it is. A request id from a trusted peer is any field value.
func appendJSONText(dst, text []byte) []byte {
	for _, c := range text {
		if c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			c = '?'
		}
		dst = append(dst, c)
	}
	return dst
}
