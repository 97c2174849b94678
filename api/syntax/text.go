package syntax

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
)

// Token says whether s is a token of RFC 9110, section 5.6.2.
func Token(s string) bool {
	for _, c := range []byte(s) {
		if !LetterOrDigit(c) && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

// CheckName says what is wrong with the name of a service or a route.
func CheckName(s string) string {
	for i, c := range []byte(s) {
		edge := i == 0 || i == len(s)-1
		if !LetterOrDigit(c) && (edge || c != '-' && c != '_' && c != '.') {
			return "must be letters, digits, '-', '_' or '.', and begin and end with a letter or a digit"
		}
	}
	return ""
}

// Shown is a name that nobody knows as it may be printed: up to where it is no name any more. Where somebody has forgotten the space
// behind a colon, what follows is a value, and may be a secret.
func Shown(name string) string {
	for i, r := range name {
		if (r < 'a' || 'z' < r) && (r < 'A' || 'Z' < r) && (r < '0' || '9' < r) && !strings.ContainsRune("-_./", r) {
			return name[:i] + "…"
		}
	}
	return name
}

// CheckSecretRegex is CheckRegex for an expression that may hold a secret: nothing of it is in what is said.
func CheckSecretRegex(s string) string {
	detail := CheckRegex(s)
	var at *syntax.Error
	if _, err := RegexSize(s); errors.As(err, &at) {
		return "invalid regular expression: " + at.Code.String()
	}
	return detail
}

// MaxRegexSize is how many instructions a regular expression may have, compiled. RE2 takes time in proportion to them, for each
// byte that it is shown: `(x?){1000}`, repeated, keeps a request busy for a minute.
const MaxRegexSize = 1000

// CheckRegex says what is wrong with an RE2 expression.
func CheckRegex(s string) string {
	if s == "" {
		return "must be a regular expression"
	}
	size, err := RegexSize(s)
	if err != nil {
		return "invalid regular expression: " + strings.TrimPrefix(err.Error(), "error parsing regexp: ")
	}
	if size > MaxRegexSize {
		return fmt.Sprintf("is too large a regular expression: it must compile to at most %d instructions, and would to %d", MaxRegexSize, size)
	}
	return ""
}

// RegexSize tells about how many instructions an RE2 expression compiles to, without compiling it.
func RegexSize(s string) (int, error) {
	parsed, err := syntax.Parse(s, syntax.Perl)
	if err != nil {
		return 0, err
	}
	return size(parsed), nil
}

// RegexWork is the size of an expression, and 0 of a faulty one, which is reported where it stands.
func RegexWork(s string) int {
	n, _ := RegexSize(s)
	return n
}

func size(re *syntax.Regexp) int {
	n := 1
	if re.Op == syntax.OpLiteral {
		n = len(re.Rune)
	}
	for _, sub := range re.Sub {
		n += size(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min+1, re.Max) // Max is -1 where there is none
	}
	return n
}

// CheckTarget says what is wrong with a path that is sent as it stands.
func CheckTarget(s string) string {
	if !strings.HasPrefix(s, "/") {
		return "must start with '/'"
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '?' || c == '#':
			return "must be a path without a query or a fragment"
		case c >= 0x80:
			return "must be ASCII: other characters are percent-encoded in a path"
		case c <= ' ' || c == 0x7f || c == '\\':
			return "must not hold spaces, backslashes or control characters"
		case c == '%' && (i+2 >= len(s) || !hex(s[i+1]) || !hex(s[i+2])):
			return "a '%' must be followed by two hexadecimal digits"
		}
	}
	return ""
}

// CheckPath says what is wrong with a path that is compared with, or becomes, a normalised one.
func CheckPath(s string) string {
	if detail := CheckTarget(s); detail != "" {
		return detail
	}
	segments := strings.Split(s[1:], "/")
	for i, segment := range segments {
		if segment == "" && i < len(segments)-1 {
			return notNormal
		}
		// An origin may cut a segment further: at parameters, and at slashes and backslashes that are escaped.
		for _, part := range cuts.Split(segment, -1) {
			if part == "." || part == ".." {
				return notNormal
			}
		}
	}
	for i := 0; i+2 < len(s); i++ {
		if s[i] != '%' {
			continue
		}
		n, _ := strconv.ParseUint(s[i+1:i+3], 16, 8)
		switch c := byte(n); {
		case c == 0:
			return "must not hold spaces, backslashes or control characters"
		case LetterOrDigit(c) || strings.IndexByte("-._~", c) >= 0:
			return "must be normalised: '" + s[i:i+3] + "' is '" + string(rune(c)) + "'"
		}
	}
	return ""
}

const notNormal = "must be normalised: without empty, '.' or '..' segments"

var cuts = regexp.MustCompile(`(?i);|%2f|%5c`)

func hex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// CheckAuthority says what is wrong with a host, with or without a port.
func CheckAuthority(s string) string {
	const wrong = "must be a host, with a port if one is wanted, such as `internal.example.com:8080`"
	host := s
	if _, port, err := net.SplitHostPort(s); err == nil && !strings.ContainsAny(s, "/@") {
		if n, ok := parsePort(port); !ok || n == 0 {
			return "port must be between 1 and 65535"
		}
		host = strings.TrimSuffix(s, ":"+port)
	}
	if detail, ok := literal(host); ok {
		return detail
	}
	if !ValidDNSName(host) {
		return wrong
	}
	return ""
}
