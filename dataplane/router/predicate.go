package router

import (
	"bytes"
	"errors"
	"regexp"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/snapshot"
)

// A test compares a value.
type test struct {
	value string
	regex *regexp.Regexp // nil: the value to the letter
}

func newTest(m snapshot.ValueMatch) (test, error) {
	if m.Name == "" {
		return test{}, errors.New("has no name")
	}
	if !m.Regex {
		return test{value: m.Value}, nil
	}
	re, err := regexp.Compile(m.Value)
	return test{regex: re}, err
}

func (t *test) accepts(value []byte) bool {
	if t.regex != nil {
		return t.regex.Match(value)
	}
	return string(value) == t.value
}

// A headerTest holds when one line of a header field has the value.
type headerTest struct {
	test
	name string
	id   exchange.ID
}

func (t *headerTest) holds(q *exchange.Request) bool {
	h := &q.Header
	switch t.id {
	case exchange.Host: // the authority that counts, which an absolute target has in place of the field
		return len(q.Host) > 0 && t.accepts(q.Host)
	case exchange.Other:
		for i := range h.Len() {
			id, name, value, ok := h.At(i)
			if ok && id == exchange.Other && exchange.EqualFold(name, t.name) && t.accepts(value) {
				return true
			}
		}
		return false
	}
	for i := h.Next(t.id, 0); i >= 0; i = h.Next(t.id, i+1) {
		if _, _, value, _ := h.At(i); t.accepts(value) {
			return true
		}
	}
	return false
}

// A queryTest holds when the first query parameter of that name has the value.
type queryTest struct {
	test
	name string
}

// holds reads the query as a form is written: parameters between '&', "%41" is A and '+' a space. An escape that is
// none stands for itself.
func (t *queryTest) holds(query []byte) bool {
	for rest := query; len(rest) > 0; {
		pair := rest
		if i := bytes.IndexByte(rest, '&'); i >= 0 {
			pair, rest = rest[:i], rest[i+1:]
		} else {
			rest = nil
		}
		if len(pair) == 0 {
			continue
		}
		name, value := pair, pair[len(pair):]
		if i := bytes.IndexByte(pair, '='); i >= 0 {
			name, value = pair[:i], pair[i+1:]
		}
		if !equalDecoded(name, t.name) {
			continue
		}
		if t.regex == nil {
			return equalDecoded(value, t.value)
		}
		if bytes.ContainsAny(value, "%+") {
			value = decodeAll(value) // garbage and not Scratch: many rules may look at a long query
		}
		return t.regex.Match(value)
	}
	return false
}

// equalDecoded compares without building the decoded text.
func equalDecoded(encoded []byte, want string) bool {
	at := 0
	for len(encoded) > 0 {
		c, n := decode(encoded)
		if at == len(want) || want[at] != c {
			return false
		}
		encoded = encoded[n:]
		at++
	}
	return at == len(want)
}

func decodeAll(encoded []byte) []byte {
	decoded := make([]byte, 0, len(encoded))
	for len(encoded) > 0 {
		c, n := decode(encoded)
		decoded = append(decoded, c)
		encoded = encoded[n:]
	}
	return decoded
}

// decode returns the first character of s and how many bytes write it.
func decode(s []byte) (c byte, n int) {
	switch {
	case s[0] == '+':
		return ' ', 1
	case s[0] == '%' && len(s) >= 3:
		if hi, lo := unhex(s[1]), unhex(s[2]); hi < 16 && lo < 16 {
			return hi<<4 | lo, 3
		}
	}
	return s[0], 1
}

// unhex returns the value of a hexadecimal digit, or 16.
func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 16
}
