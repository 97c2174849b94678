package exchange

// ID names a header field that the proxy itself looks at, so that finding it compares a byte and not a string.
type ID uint8

// The fields with a name of their own; Other is every other field.
const (
	Other ID = iota
	Host
	Connection
	KeepAlive
	ProxyConnection
	TE
	Trailer
	TransferEncoding
	ContentLength
	Upgrade
	Expect
	Via
	Date
	Server
	Location
	ContentType
	ContentEncoding
	RetryAfter
	Authorization
	ProxyAuthorization
	ProxyAuthenticate
	Cookie
	SetCookie
	Forwarded
	XForwardedFor
	XForwardedProto
	XForwardedHost
	XForwardedPort
	XForwardedPrefix
	XForwardedServer
	XForwardedURI
	XRealIP
	XOriginalURL
	XRewriteURL
	XRequestID
	MaxForwards
	HTTP2Settings
	UserAgent
	idCount
)

// Last is the last ID that there is.
const Last = idCount - 1

var names = [idCount]string{
	Host:               "Host",
	Connection:         "Connection",
	KeepAlive:          "Keep-Alive",
	ProxyConnection:    "Proxy-Connection",
	TE:                 "TE",
	Trailer:            "Trailer",
	TransferEncoding:   "Transfer-Encoding",
	ContentLength:      "Content-Length",
	Upgrade:            "Upgrade",
	Expect:             "Expect",
	Via:                "Via",
	Date:               "Date",
	Server:             "Server",
	Location:           "Location",
	ContentType:        "Content-Type",
	ContentEncoding:    "Content-Encoding",
	RetryAfter:         "Retry-After",
	Authorization:      "Authorization",
	ProxyAuthorization: "Proxy-Authorization",
	ProxyAuthenticate:  "Proxy-Authenticate",
	Cookie:             "Cookie",
	SetCookie:          "Set-Cookie",
	Forwarded:          "Forwarded",
	XForwardedFor:      "X-Forwarded-For",
	XForwardedProto:    "X-Forwarded-Proto",
	XForwardedHost:     "X-Forwarded-Host",
	XForwardedPort:     "X-Forwarded-Port",
	XForwardedPrefix:   "X-Forwarded-Prefix",
	XForwardedServer:   "X-Forwarded-Server",
	XForwardedURI:      "X-Forwarded-Uri",
	XRealIP:            "X-Real-IP",
	XOriginalURL:       "X-Original-URL",
	XRewriteURL:        "X-Rewrite-URL",
	XRequestID:         "X-Request-Id",
	MaxForwards:        "Max-Forwards",
	HTTP2Settings:      "HTTP2-Settings",
	UserAgent:          "User-Agent",
}

// String returns the field's name in its usual spelling; it is empty for Other.
func (id ID) String() string { return names[id] }

// idsByLength lists the named fields by the length of their names: at most five share one, so that looking a name up
// costs one or two comparisons and no hash.
var idsByLength = func() (table [24][]ID) {
	for id := Host; id < idCount; id++ {
		n := len(names[id])
		table[n] = append(table[n], id)
	}
	return table
}()

// Lookup returns the ID of a field name, in any case (RFC 9110 §5.1), or Other.
func Lookup[T ~string | ~[]byte](name T) ID {
	if len(name) >= len(idsByLength) || len(name) == 0 {
		return Other
	}
	for _, id := range idsByLength[len(name)] {
		if lower[names[id][0]] == lower[name[0]] && EqualFold(name, names[id]) {
			return id
		}
	}
	return Other
}

// lower maps ASCII letters to lower case and every other byte to itself.
var lower = func() (table [256]byte) {
	for i := range table {
		table[i] = byte(i)
		if 'A' <= i && i <= 'Z' {
			table[i] = byte(i) + 'a' - 'A'
		}
	}
	return table
}()

// EqualFold reports whether a and b are the same but for the case of ASCII letters. Unlike bytes.EqualFold it folds
// nothing else: "K" is never equal to the Kelvin sign.
func EqualFold[A, B ~string | ~[]byte](a A, b B) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i < len(a); i++ {
		if lower[a[i]] != lower[b[i]] {
			return false
		}
	}
	return true
}
