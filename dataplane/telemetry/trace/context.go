package trace

import (
	"encoding/hex"
	"strings"

	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// A parent is what a request says of the trace that it belongs to.
type parent struct {
	trace   oteltrace.TraceID
	span    oteltrace.SpanID
	sampled bool
	decided bool // sampled means something
}

// The header fields of the formats.
const (
	traceparent = "Traceparent"
	tracestate  = "Tracestate"
	b3Single    = "B3"
	b3Trace     = "X-B3-Traceid"
	b3Span      = "X-B3-Spanid"
	b3Parent    = "X-B3-Parentspanid"
	b3Sampled   = "X-B3-Sampled"
	b3Flags     = "X-B3-Flags"
)

// read finds the parent that a request names: W3C first, then B3 in one field, then B3 in several. What is malformed counts
// as not there.
func read(h *exchange.Header) (p parent, found bool) {
	if v, ok := h.Get(traceparent); ok {
		if p, ok := readW3C(string(v)); ok {
			return p, true
		}
	}
	if v, ok := h.Get(b3Single); ok {
		return readB3(strings.Split(string(v), "-"))
	}
	id, ok := h.Get(b3Trace)
	if !ok {
		return p, false
	}
	span, _ := h.Get(b3Span)
	parts := []string{string(id), string(span)}
	if flags, _ := h.Get(b3Flags); string(flags) == "1" {
		parts = append(parts, "d")
	} else if sampled, ok := h.Get(b3Sampled); ok {
		parts = append(parts, string(sampled))
	}
	return readB3(parts)
}

// readW3C reads a traceparent (W3C Trace Context, section 3.2). A version of the future may say more than this one.
func readW3C(v string) (p parent, ok bool) {
	const length = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if len(v) < length || v[2] != '-' || v[35] != '-' || v[52] != '-' || strings.ToLower(v) != v {
		return p, false
	}
	version, err := hex.DecodeString(v[:2])
	if err != nil || version[0] == 0xff || version[0] == 0 && len(v) != length || len(v) > length && v[length] != '-' {
		return p, false
	}
	if !decode(p.trace[:], v[3:35]) || !decode(p.span[:], v[36:52]) {
		return p, false
	}
	flags, err := hex.DecodeString(v[53:55])
	if err != nil || !p.trace.IsValid() || !p.span.IsValid() {
		return p, false
	}
	p.sampled, p.decided = flags[0]&1 == 1, true
	return p, true
}

// readB3 reads trace, span and, where it is there, the decision. Traces may have 64 bits.
func readB3(parts []string) (p parent, ok bool) {
	if len(parts) < 2 {
		return p, false
	}
	id := strings.ToLower(parts[0])
	if len(id) == 16 {
		id = "0000000000000000" + id
	}
	if !decode(p.trace[:], id) || !decode(p.span[:], strings.ToLower(parts[1])) || !p.trace.IsValid() || !p.span.IsValid() {
		return p, false
	}
	if len(parts) > 2 {
		switch parts[2] {
		case "1", "d", "true":
			p.sampled, p.decided = true, true
		case "0", "false":
			p.decided = true
		}
	}
	return p, true
}

func decode(into []byte, text string) bool {
	if len(text) != 2*len(into) {
		return false
	}
	_, err := hex.Decode(into, []byte(text))
	return err == nil
}

// write makes the fields say that the request belongs to a span. What other formats said before would be wrong now.
func write(h *exchange.Header, s oteltrace.SpanContext, w3c, b3 bool) {
	for _, name := range [...]string{b3Single, b3Trace, b3Span, b3Parent, b3Sampled, b3Flags} {
		h.Del(name)
	}
	h.Del(traceparent)
	trace, span := s.TraceID(), s.SpanID()
	var buf [55]byte
	text := append(buf[:0], "00-"...)
	text = hex.AppendEncode(text, trace[:])
	text = append(text, '-')
	text = hex.AppendEncode(text, span[:])
	if w3c {
		h.Add("traceparent", string(append(text, "-01"...)))
	} else {
		h.Del(tracestate)
	}
	if b3 {
		h.Add("b3", string(append(text[3:], "-1"...)))
	}
}
