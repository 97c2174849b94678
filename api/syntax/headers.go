package syntax

import (
	"fmt"
	"slices"
	"strings"
)

// CheckMethod says what is wrong with a method that a route matches.
func CheckMethod(name string) string {
	switch {
	case name == "":
		return "must be set"
	case !Token(name):
		return "must be a method such as `GET`"
	case name != strings.ToUpper(name):
		return "must be in capitals; did you mean `" + strings.ToUpper(name) + "`?"
	case name == "CONNECT" || name == "TRACE":
		return "is refused by the proxy, whatever the routes say"
	}
	return ""
}

// framing are the fields that frame a message or belong to one connection: the proxy writes them itself.
var framing = []string{
	"connection", "content-length", "expect", "host", "http2-settings", "keep-alive", "proxy-authenticate",
	"proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
}

// CheckHeaderName says what is wrong with the name of a field that a filter changes.
func CheckHeaderName(name string) string {
	switch {
	case !Token(name):
		return "must be the name of a header field: letters, digits and !#$%&'*+-.^_`|~"
	case strings.EqualFold(name, "host"):
		return "cannot be changed here; use `rewrite.host`"
	case slices.Contains(framing, strings.ToLower(name)):
		return "is written by the proxy itself and cannot be changed"
	case len(name) > 256:
		return fmt.Sprintf("must have at most 256 characters, has %d", len(name))
	}
	return ""
}

// CheckHeaderValue says what is wrong with the value of a field.
func CheckHeaderValue(v string) string {
	if len(v) > 4096 {
		return fmt.Sprintf("must have at most 4096 characters, has %d", len(v))
	}
	if strings.TrimSpace(v) != v {
		return "must not begin or end with a space"
	}
	for _, c := range []byte(v) {
		if c < ' ' && c != '\t' || c == 0x7f {
			return "must not hold control characters"
		}
	}
	return ""
}
