package filter

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// Found says what a request has in its Authorization fields.
type Found uint8

// What may be found.
const (
	Nothing  Found = iota // no field
	Foreign               // another scheme
	Several               // more than one field: two parsers may choose differently
	Suitable              // credentials of the scheme
)

// Credentials reads what a client sends in Authorization under a scheme, in any case (RFC 9110 §11.6.2).
func Credentials(h *exchange.Header, scheme string) (credentials []byte, found Found) {
	at := h.Next(exchange.Authorization, 0)
	if at < 0 {
		return nil, Nothing
	}
	if h.Next(exchange.Authorization, at+1) >= 0 {
		return nil, Several
	}
	_, _, value, _ := h.At(at)
	if len(value) <= len(scheme) || value[len(scheme)] != ' ' || !exchange.EqualFold(value[:len(scheme)], scheme) {
		return nil, Foreign
	}
	value = value[len(scheme):]
	for len(value) > 0 && value[0] == ' ' {
		value = value[1:]
	}
	return value, Suitable
}

// Challenge answers a request whose sender has not shown who it is, and says how to (RFC 9110 §11.6.1).
func Challenge(x *exchange.Exchange, status int, reason exchange.Reason, challenge string) Verdict {
	x.Answer(status, reason)
	x.Response.Header.Add("WWW-Authenticate", challenge)
	return Respond
}

// Unavailable answers a request that cannot be judged now: nobody passes, and the client may come again.
func Unavailable(x *exchange.Exchange) Verdict {
	x.Answer(503, exchange.AuthUnavailable)
	x.Response.Header.AddIDString(exchange.RetryAfter, "5")
	return Respond
}

// Quote writes a quoted-string (RFC 9110 §5.6.4).
func Quote(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

// RemoveField removes a field in every spelling that an endpoint may take for it: in any case, and with underscores for
// dashes, which CGI and its heirs do not tell apart.
func RemoveField(h *exchange.Header, name string) {
	for i := range h.Len() {
		if _, other, _, ok := h.At(i); ok && len(other) == len(name) && alike(other, name) {
			h.RemoveAt(i)
		}
	}
}

func alike(a []byte, b string) bool {
	for i, c := range a {
		if fold(c) != fold(b[i]) {
			return false
		}
	}
	return true
}

func fold(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c + 'a' - 'A'
	case c == '_':
		return '-'
	}
	return c
}

// maxFieldName and maxFieldValue bound the fields that filters write.
const (
	maxFieldName  = 256
	maxFieldValue = 8192
)

// CheckField says what keeps a filter from writing a field of that name into a request: it is no name (RFC 9110 §5.1), or
// the engines write the field themselves.
func CheckField(name string) error {
	if name == "" || len(name) > maxFieldName {
		return fmt.Errorf("a field name has 1 to %d characters", maxFieldName)
	}
	for i := range len(name) {
		c := name[i]
		if ('a' > c || c > 'z') && ('A' > c || c > 'Z') && ('0' > c || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return errors.New("a field name has letters, digits and !#$%&'*+-.^_`|~ only")
		}
	}
	switch exchange.Lookup(name) {
	case exchange.Host, exchange.Connection, exchange.KeepAlive, exchange.ProxyConnection, exchange.TE, exchange.Trailer,
		exchange.TransferEncoding, exchange.ContentLength, exchange.Upgrade, exchange.Expect, exchange.HTTP2Settings,
		exchange.ProxyAuthorization, exchange.ProxyAuthenticate:
		return errors.New("the field is written by the proxy itself")
	}
	return nil
}

// SafeValue reports whether text can stand in a field as it is (RFC 9110 §5.5): a value with a line break in it would be two
// fields.
func SafeValue(text string) bool {
	if len(text) > maxFieldValue || strings.Trim(text, " \t") != text {
		return false
	}
	for i := range len(text) {
		if c := text[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
