package client

import (
	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2/hpack"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// maxName is the longest name of a field.
const maxName = 1024

// maxBlockMemory is how much memory a block keeps for the next one.
const maxBlockMemory = 8 << 10

// A block is a response's head, or its trailer: fields as they came, with what they say of the message.
type block struct {
	buf     []byte // names and values, one behind the other
	fields  []place
	trailer bool
	status  int
	length  int64  // Content-Length; -1 without
	size    int    // as RFC 9113 §6.5.2 counts it
	bad     string // why the message is malformed; empty: it is not
	regular bool   // a field that is no pseudo-field has come
}

type place struct {
	id                           exchange.ID
	name, nameLen, val, valueLen int
}

func (b *block) reset(trailer bool) {
	if cap(b.buf) > maxBlockMemory {
		b.buf = nil
	}
	*b = block{buf: b.buf[:0], fields: b.fields[:0], trailer: trailer, length: -1}
}

// fill makes the block's fields the header's, which lies in the block's memory from then on.
func (b *block) fill(h *exchange.Header) {
	h.Reset(b.buf)
	for _, f := range b.fields {
		h.Append(f.id, f.name, f.nameLen, f.val, f.valueLen)
	}
}

// add takes a decoded field; maxSize and maxFields bound all of them.
func (b *block) add(f *hpack.HeaderField, maxSize, maxFields int) {
	if b.bad != "" {
		return
	}
	b.size += len(f.Name) + len(f.Value) + 32
	if b.size > maxSize || len(b.fields) >= maxFields {
		b.bad = "its head is too large"
		return
	}
	if len(f.Name) > 0 && f.Name[0] == ':' {
		b.pseudo(f)
		return
	}
	b.regular = true
	if !validName(f.Name) {
		b.bad = "the name of a field is not valid"
		return
	}
	if !validValue(f.Value) {
		b.bad = "the value of a field is not valid"
		return
	}
	id := exchange.Lookup(f.Name)
	switch id {
	case exchange.Connection, exchange.KeepAlive, exchange.ProxyConnection, exchange.TransferEncoding, exchange.Upgrade:
		b.bad = "it has a field of connections"
		return
	case exchange.ContentLength:
		if b.trailer {
			return
		}
		n, ok := parseLength(f.Value)
		if !ok || b.length >= 0 {
			b.bad = "its Content-Length is not valid"
			return
		}
		b.length = n
	case exchange.Host, exchange.Trailer:
		if b.trailer {
			return
		}
	}
	at := len(b.buf)
	b.buf = append(append(b.buf, f.Name...), f.Value...)
	b.fields = append(b.fields, place{id, at, len(f.Name), at + len(f.Name), len(f.Value)})
}

func (b *block) pseudo(f *hpack.HeaderField) {
	if b.trailer || b.regular || b.status != 0 || f.Name != ":status" || len(f.Value) != 3 {
		b.bad = "a pseudo-field is not valid"
		return
	}
	for _, c := range []byte(f.Value) {
		if c < '0' || c > '9' {
			b.bad = "its status is not valid"
			return
		}
		b.status = b.status*10 + int(c-'0')
	}
	if b.status < 100 || b.status > 599 {
		b.bad = "its status is not valid"
	}
}

// close says that the block is complete.
func (b *block) close() {
	if b.bad == "" && !b.trailer && b.status == 0 {
		b.bad = "it has no status"
	}
}

// clone returns a copy with memory of its own.
func (b *block) clone() *block {
	c := *b
	c.buf = append([]byte(nil), b.buf...)
	c.fields = append([]place(nil), b.fields...)
	return &c
}

// validName reports whether a name is a token in lower case (RFC 9113 §8.2.1).
func validName(name string) bool {
	if len(name) == 0 || len(name) > maxName {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' || !httpguts.IsTokenRune(rune(c)) {
			return false
		}
	}
	return true
}

// validValue reports whether a value is one, and has no white space around it.
func validValue(value string) bool {
	if n := len(value); n > 0 && (value[0] == ' ' || value[0] == '\t' || value[n-1] == ' ' || value[n-1] == '\t') {
		return false
	}
	return httpguts.ValidHeaderFieldValue(value)
}

// parseLength reads a Content-Length: digits and nothing else, less than 10^18.
func parseLength(value string) (n int64, ok bool) {
	if len(value) == 0 || len(value) > 18 {
		return 0, false
	}
	for i := range len(value) {
		c := value[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}
