package accesslog

import (
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// maxKeptLine bounds the memory that an encoder keeps for the next line.
const maxKeptLine = 16 << 10

// An encoder writes one line at a time into memory of its own.
type encoder struct {
	line []byte
	// The wall clock is read once a second and advanced by the monotonic one in between. Taking it from the process's
	// start would miss what the clock was set to since.
	wall   int64 // nanoseconds to add to exchange.Nanos for Unix time
	second int64 // the Unix second that stamp shows
	stamp  [len("2006-01-02T15:04:05")]byte
}

// json appends the line of x in JSON, a field of the schema each, in its order. What does not apply is left out: the
// reason of an answer passed on whole, the upstream's fields where none was asked, an empty namespace.
func (e *encoder) json(x *exchange.Exchange, configHash string) {
	if x.Request.Protocol == exchange.TCP {
		e.streamJSON(x, configHash)
		return
	}
	rec := &x.Record
	host, path := asked(x)
	b := append(e.line[:0], `{"ts":"`...)
	b = e.appendTime(b, rec.End)
	b = append(b, `","request_id":"`...)
	b = appendEscaped(b, x.RequestID)
	if rec.TraceID != ([16]byte{}) {
		b = append(b, `","trace_id":"`...)
		for _, c := range rec.TraceID {
			b = append(b, hexDigits[c>>4], hexDigits[c&15])
		}
	}
	b = append(b, `","client_ip":"`...)
	if x.ClientIP.IsValid() {
		b = x.ClientIP.AppendTo(b)
	}
	b = append(b, `","method":"`...)
	b = appendMethod(b, x)
	b = append(b, `","host":"`...)
	b = appendEscaped(b, host)
	b = append(b, `","path":"`...)
	b = appendEscaped(b, path)
	b = append(b, `","protocol":"`...)
	b = append(b, x.Request.Protocol.String()...)
	b = append(b, `","status":`...)
	b = strconv.AppendInt(b, int64(rec.Status), 10)
	if rec.Reason != "" {
		b = append(b, `,"reason":"`...)
		b = appendEscaped(b, rec.Reason)
		b = append(b, '"')
	}
	b = append(b, `,"bytes_in":`...)
	b = strconv.AppendInt(b, rec.BytesIn, 10)
	b = append(b, `,"bytes_out":`...)
	b = strconv.AppendInt(b, rec.BytesOut, 10)
	b = append(b, `,"duration_ms":`...)
	b = appendMillis(b, rec.End-rec.Start)
	if rec.Namespace != "" {
		b = append(b, `,"namespace":"`...)
		b = appendEscaped(b, rec.Namespace)
		b = append(b, '"')
	}
	b = append(b, `,"service":"`...)
	b = appendEscaped(b, rec.Service)
	b = append(b, `","route":"`...)
	b = appendEscaped(b, rec.Route)
	b = append(b, '"')
	if rec.Attempts > 0 {
		if rec.Upstream.IsValid() {
			b = append(b, `,"upstream_addr":"`...)
			b = rec.Upstream.AppendTo(b)
			b = append(b, '"')
		}
		if rec.UpstreamStatus != 0 {
			b = append(b, `,"upstream_status":`...)
			b = strconv.AppendInt(b, int64(rec.UpstreamStatus), 10)
		}
		b = append(b, `,"upstream_connect_ms":`...)
		b = appendMillis(b, rec.Connect)
		if rec.UpstreamHead != 0 {
			b = append(b, `,"upstream_duration_ms":`...)
			b = appendMillis(b, rec.UpstreamHead-rec.UpstreamStart)
		}
	}
	b = append(b, `,"attempts":`...)
	b = strconv.AppendInt(b, int64(rec.Attempts), 10)
	if c := x.Conn; c != nil && c.Secure {
		b = append(b, `,"tls_version":"`...)
		b = append(b, c.TLSVersion...)
		b = append(b, '"')
		if c.ServerName != "" {
			b = append(b, `,"sni":"`...)
			b = appendEscaped(b, c.ServerName)
			b = append(b, '"')
		}
	}
	if user := x.Identity.User; user != "" {
		b = append(b, `,"user":"`...)
		b = appendEscaped(b, user)
		b = append(b, '"')
	}
	if rec.RateLimited != "" {
		b = append(b, `,"rate_limited":"`...)
		b = appendEscaped(b, rec.RateLimited)
		b = append(b, '"')
	}
	b = append(b, `,"config_hash":"`...)
	b = appendEscaped(b, configHash)
	e.line = append(b, "\"}\n"...)
}

// console appends the line of x for people who watch a terminal:
//
//	15:04:05.123 200 GET shop.example/cart 1.250ms 512B 192.0.2.7 > 10.0.0.3:8080 shop/cart
func (e *encoder) console(x *exchange.Exchange) {
	if x.Request.Protocol == exchange.TCP {
		e.streamConsole(x)
		return
	}
	rec := &x.Record
	host, path := asked(x)
	b := e.appendTime(e.line[:0], rec.End)
	b = append(b[:0], b[len("2006-01-02T"):len(b)-1]...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(rec.Status), 10)
	b = append(b, ' ')
	b = appendMethod(b, x)
	b = append(b, ' ')
	b = appendEscaped(b, host)
	b = appendEscaped(b, path)
	b = append(b, ' ')
	b = appendMillis(b, rec.End-rec.Start)
	b = append(b, "ms "...)
	b = strconv.AppendInt(b, rec.BytesOut, 10)
	b = append(b, 'B')
	if x.ClientIP.IsValid() {
		b = append(b, ' ')
		b = x.ClientIP.AppendTo(b)
	}
	if rec.Attempts > 0 && rec.Upstream.IsValid() {
		b = append(b, " > "...)
		b = rec.Upstream.AppendTo(b)
	}
	if rec.Service != "" {
		b = append(b, ' ')
		b = appendEscaped(b, rec.Service)
		b = append(b, '/')
		b = appendEscaped(b, rec.Route)
	}
	if rec.Attempts > 1 {
		b = append(b, " tries="...)
		b = strconv.AppendInt(b, int64(rec.Attempts), 10)
	}
	if rec.Reason != "" {
		b = append(b, " reason="...)
		b = appendEscaped(b, rec.Reason)
	}
	e.line = append(b, '\n')
}

// asked returns the host and the path that the client asked for. The query is in neither: it may hold secrets.
func asked(x *exchange.Exchange) (host, path []byte) {
	host, path = x.Record.Host, x.Record.Path
	if host == nil {
		host = x.Request.Host
	}
	if path == nil {
		path = x.Request.Path
	}
	if path == nil {
		path = x.Request.RawPath
	}
	return host, path
}

func appendMethod(b []byte, x *exchange.Exchange) []byte {
	if m := x.Request.Method; m != exchange.MethodOther && m < exchange.MethodCount {
		return append(b, m.String()...)
	}
	return appendEscaped(b, x.Request.MethodName)
}

// appendTime appends n as RFC 3339 in UTC, with milliseconds.
func (e *encoder) appendTime(b []byte, n exchange.Nanos) []byte {
	unix := int64(n) + e.wall
	if unix/1e9 != e.second || e.wall == 0 {
		e.wall = time.Now().UnixNano() - int64(exchange.Now())
		unix = int64(n) + e.wall
		e.second = unix / 1e9
		time.Unix(e.second, 0).UTC().AppendFormat(e.stamp[:0], "2006-01-02T15:04:05")
	}
	milli := unix / 1e6 % 1000
	b = append(b, e.stamp[:]...)
	return append(b, '.', '0'+byte(milli/100), '0'+byte(milli/10%10), '0'+byte(milli%10), 'Z')
}

// appendMillis appends a duration in milliseconds, to the microsecond.
func appendMillis(b []byte, n exchange.Nanos) []byte {
	micro := int64(max(n, 0)) / 1000
	b = strconv.AppendInt(b, micro/1000, 10)
	micro %= 1000
	return append(b, '.', '0'+byte(micro/100), '0'+byte(micro/10%10), '0'+byte(micro%10))
}

// plain are the bytes that stand in a JSON string as they are: printable ASCII but for the quote and the backslash.
var plain = func() (table [256]bool) {
	for c := byte(' '); c < 0x7f; c++ {
		table[c] = c != '"' && c != '\\'
	}
	return table
}()

const hexDigits = "0123456789abcdef"

// appendEscaped appends the inside of a JSON string that means s. Everything but printable ASCII is escaped: no line can
// be forged, and no terminal or editor be fooled by control characters or by text that changes direction. A byte that is
// not UTF-8 becomes U+FFFD.
func appendEscaped[T ~string | ~[]byte](b []byte, s T) []byte {
	start := 0
	for i := 0; i < len(s); {
		if plain[s[i]] {
			i++
			continue
		}
		b = append(b, s[start:i]...)
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
			i++
		case c == '\n':
			b = append(b, '\\', 'n')
			i++
		case c == '\r':
			b = append(b, '\\', 'r')
			i++
		case c == '\t':
			b = append(b, '\\', 't')
			i++
		case c < utf8.RuneSelf:
			b = appendUnit(b, rune(c))
			i++
		default:
			var tail [utf8.UTFMax]byte // a generic slice of s has no rune decoder of its own
			n := copy(tail[:], s[i:])
			r, size := utf8.DecodeRune(tail[:n])
			if r >= 0x10000 { // a surrogate pair (RFC 8259 §7)
				b = appendUnit(b, 0xd800+(r-0x10000)>>10)
				b = appendUnit(b, 0xdc00+(r-0x10000)&0x3ff)
			} else {
				b = appendUnit(b, r)
			}
			i += size
		}
		start = i
	}
	return append(b, s[start:]...)
}

func appendUnit(b []byte, r rune) []byte {
	return append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}
