package affinity

import (
	"bytes"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// Cookies calls yield with the value of each cookie of that name, until it returns false. Names are compared to the letter
// (RFC 6265).
func Cookies(h *exchange.Header, name string, yield func(value []byte) bool) {
	for i := h.Next(exchange.Cookie, 0); i >= 0; i = h.Next(exchange.Cookie, i+1) {
		_, _, rest, _ := h.At(i)
		for len(rest) > 0 {
			var pair []byte
			pair, rest, _ = bytes.Cut(rest, []byte{';'})
			key, value, ok := bytes.Cut(pair, []byte{'='})
			if ok && string(bytes.Trim(key, " \t")) == name && !yield(unquote(bytes.Trim(value, " \t"))) {
				return
			}
		}
	}
}

// Cookie returns the value of the first cookie of that name, or nil.
func Cookie(h *exchange.Header, name string) []byte {
	var found []byte
	Cookies(h, name, func(value []byte) bool {
		found = value
		return false
	})
	return found
}

// unquote removes the quotes that a value may stand in.
func unquote(value []byte) []byte {
	if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
		return value[1 : n-1]
	}
	return value
}
