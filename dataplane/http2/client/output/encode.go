package output

import (
	"strconv"

	"golang.org/x/net/http2"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// MaxFrame is the most that one frame carries, in either direction (RFC 9113 §4.2): every endpoint takes it.
const MaxFrame = 16 << 10

// FrameHead is how many bytes a frame begins with.
const FrameHead = 9

// AppendFrame appends the head of a frame (RFC 9113 §4.1).
func AppendFrame(b []byte, length int, kind http2.FrameType, flags http2.Flags, id uint32) []byte {
	return append(b, byte(length>>16), byte(length>>8), byte(length), byte(kind), byte(flags),
		byte(id>>24)&0x7f, byte(id>>16), byte(id>>8), byte(id))
}

// AppendUint32 appends a number in the byte order of networks.
func AppendUint32(b []byte, v uint32) []byte {
	return append(b, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

// AppendWindowUpdate appends WINDOW_UPDATE; id 0 is the connection.
func AppendWindowUpdate(b []byte, id uint32, n int) []byte {
	return AppendUint32(AppendFrame(b, 4, http2.FrameWindowUpdate, 0, id), uint32(n))
}

// AppendReset appends RST_STREAM.
func AppendReset(b []byte, id uint32, code http2.ErrCode) []byte {
	return AppendUint32(AppendFrame(b, 4, http2.FrameRSTStream, 0, id), uint32(code))
}

// AppendData appends DATA; end ends the stream.
func AppendData(b, data []byte, id uint32, end bool) []byte {
	var flags http2.Flags
	if end {
		flags = http2.FlagDataEndStream
	}
	return append(AppendFrame(b, len(data), http2.FrameData, flags, id), data...)
}

// AppendHeaders appends a field block as HEADERS, and CONTINUATION where it is larger than a frame.
func AppendHeaders(b, block []byte, id uint32, end bool) []byte {
	var flags http2.Flags
	if end {
		flags = http2.FlagHeadersEndStream
	}
	kind := http2.FrameHeaders
	for {
		n := min(len(block), MaxFrame)
		if n == len(block) {
			flags |= http2.FlagHeadersEndHeaders
		}
		b = append(AppendFrame(b, n, kind, flags, id), block[:n]...)
		if block = block[n:]; len(block) == 0 {
			return b
		}
		kind, flags = http2.FrameContinuation, 0
	}
}

// Places in HPACK's static table (RFC 7541, appendix A).
const (
	staticAuthority  = 1
	staticGET        = 2
	staticPOST       = 3
	staticPathRoot   = 4
	staticPath       = 4
	staticMethod     = 2
	staticSchemeHTTP = 6
	staticHTTPS      = 7
	staticLength     = 28
)

// staticName is the place of a named field in the static table, or 0.
func staticName(id exchange.ID) int {
	switch id {
	case exchange.Authorization:
		return 23
	case exchange.ContentEncoding:
		return 26
	case exchange.ContentLength:
		return staticLength
	case exchange.ContentType:
		return 31
	case exchange.Cookie:
		return 32
	case exchange.Date:
		return 33
	case exchange.Expect:
		return 35
	case exchange.MaxForwards:
		return 47
	case exchange.Server:
		return 54
	case exchange.UserAgent:
		return 58
	case exchange.Via:
		return 60
	}
	return 0
}

// NoTable tells the endpoint's decoder that its dynamic table is not used (RFC 7541 §6.3). Fields are written out each time:
// that costs bytes on a short way, and saves a table that every connection would have to keep, search and fill.
const NoTable = 0x20

// appendInt appends an integer with a prefix of so many bits (RFC 7541 §5.1); first holds what stands in front of it.
func appendInt(b []byte, first byte, bits uint, v int) []byte {
	most := 1<<bits - 1
	if v < most {
		return append(b, first|byte(v))
	}
	b = append(b, first|byte(most))
	for v -= most; v >= 128; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
}

func appendText[T ~string | ~[]byte](b []byte, s T) []byte {
	return append(appendInt(b, 0, 7, len(s)), s...)
}

// appendNamed appends a field whose name stands in the static table, without indexing.
func appendNamed[T ~string | ~[]byte](b []byte, name int, value T) []byte {
	return appendText(appendInt(b, 0, 4, name), value)
}

// appendField appends a field, its name in lower case.
func appendField(b []byte, id exchange.ID, name, value []byte) []byte {
	first := byte(0)
	if id == exchange.Authorization || id == exchange.Cookie || id == exchange.ProxyAuthorization {
		first = 0x10 // never indexed, by whoever passes it on
	}
	if place := staticName(id); place != 0 {
		return appendText(appendInt(b, first, 4, place), value)
	}
	b = append(b, first)
	b = appendInt(b, 0, 7, len(name))
	for _, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		b = append(b, c)
	}
	return appendText(b, value)
}

// WebSocketKey is the field that an extended CONNECT has no use for.
const WebSocketKey = "Sec-WebSocket-Key"

// ofConnection are the fields that HTTP/2 has no place for (RFC 9113 §8.2.2), and those that are written from elsewhere.
const ofConnection = 1<<exchange.Connection | 1<<exchange.KeepAlive | 1<<exchange.ProxyConnection | 1<<exchange.TransferEncoding |
	1<<exchange.Upgrade | 1<<exchange.HTTP2Settings | 1<<exchange.TE | 1<<exchange.Host | 1<<exchange.ContentLength

// AppendRequest appends the field block of a request (RFC 9113 §8.3.1). webSocket makes it an extended CONNECT (RFC 8441).
func AppendRequest(b []byte, r *exchange.Request, secure, webSocket bool) []byte {
	switch {
	case webSocket:
		b = appendNamed(b, staticMethod, "CONNECT")
		b = appendText(appendText(append(b, 0), ":protocol"), "websocket")
	case r.Method == exchange.GET:
		b = append(b, 0x80|staticGET)
	case r.Method == exchange.POST:
		b = append(b, 0x80|staticPOST)
	case len(r.MethodName) > 0:
		b = appendNamed(b, staticMethod, r.MethodName)
	default:
		b = appendNamed(b, staticMethod, r.Method.String())
	}
	if secure {
		b = append(b, 0x80|staticHTTPS)
	} else {
		b = append(b, 0x80|staticSchemeHTTP)
	}
	if len(r.Host) > 0 {
		b = appendNamed(b, staticAuthority, r.Host)
	}
	b = appendPath(b, r)
	for i := range r.Header.Len() {
		id, name, value, ok := r.Header.At(i)
		if !ok || id != exchange.Other && ofConnection>>id&1 != 0 {
			continue
		}
		if webSocket && id == exchange.Other && exchange.EqualFold(name, WebSocketKey) {
			continue
		}
		b = appendField(b, id, name, value)
	}
	if exchange.IsGRPC(&r.Header) {
		b = appendText(appendText(append(b, 0), "te"), "trailers") // its servers refuse who would not pass trailers on
	}
	switch {
	case r.Body != nil && r.ContentLength > 0,
		r.Body == nil && !webSocket && (r.Method == exchange.POST || r.Method == exchange.PUT || r.Method == exchange.PATCH):
		var digits [20]byte
		b = appendNamed(b, staticLength, strconv.AppendInt(digits[:0], max(r.ContentLength, 0), 10))
	}
	return b
}

func appendPath(b []byte, r *exchange.Request) []byte {
	path := r.Path
	if path == nil {
		path = r.RawPath
	}
	if !r.HasQuery {
		if string(path) == "/" {
			return append(b, 0x80|staticPathRoot)
		}
		return appendNamed(b, staticPath, path)
	}
	b = appendInt(b, 0, 4, staticPath)
	b = appendInt(b, 0, 7, len(path)+1+len(r.Query))
	b = append(b, path...)
	b = append(b, '?')
	return append(b, r.Query...)
}

// AppendTrailer appends the field block of a request's trailer; it is empty where there is none.
func AppendTrailer(b []byte, h *exchange.Header) []byte {
	for i := range h.Len() {
		if id, name, value, ok := h.At(i); ok && (id == exchange.Other || ofConnection>>id&1 == 0) {
			b = appendField(b, id, name, value)
		}
	}
	return b
}

// AppendGoAway appends GOAWAY: no stream of the peer was or will be served.
func AppendGoAway(b []byte, code http2.ErrCode) []byte {
	return AppendUint32(AppendUint32(AppendFrame(b, 8, http2.FrameGoAway, 0, 0), 0), uint32(code))
}
