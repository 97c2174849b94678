package wire

import (
	"hash/maphash"
	"strconv"
	"unsafe"

	"golang.org/x/net/http2/hpack"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// NotSent are the fields that no HTTP/2 message has, or that are written from what the message is and not from its
// header: a mask of IDs for Encoder.Fields.
const NotSent uint64 = 1<<exchange.Connection | 1<<exchange.KeepAlive | 1<<exchange.ProxyConnection |
	1<<exchange.TransferEncoding | 1<<exchange.Upgrade | 1<<exchange.ContentLength | 1<<exchange.Host | 1<<exchange.HTTP2Settings

const (
	// maxIndexed is the longest value that may take a place in hpack's table.
	maxIndexed = 256
	// maxNames is how many names that had to be made lower-case, and values that come again, are remembered.
	maxNames = 64
	// maxSeen is how many values are remembered by their hash, to know one that comes again.
	maxSeen = 256
)

// lowerNames are the named fields as HTTP/2 writes them.
var lowerNames = func() (table [64]string) {
	for id := exchange.Host; id <= exchange.Last; id++ {
		table[id] = lowered(id.String())
	}
	return table
}()

// once are the fields whose values are another's secret, or other each time: they never take a place in hpack's table.
// Sharing one between clients would let one of them guess at another's (RFC 7541 §7.1).
const once uint64 = 1<<exchange.Authorization | 1<<exchange.ProxyAuthorization | 1<<exchange.Cookie | 1<<exchange.SetCookie |
	1<<exchange.XRequestID | 1<<exchange.XForwardedFor | 1<<exchange.Forwarded | 1<<exchange.XRealIP | 1<<exchange.Location

// An Encoder encodes the header blocks of a connection. Output.BeginHeaders hands it out.
//
// hpack keeps what it indexes as strings. So that a response does not cost a string for each of its values, only those
// are indexed that were sent before and come again, such as a Content-Type or a Date; a value is known by its hash then,
// and its string is made once.
type Encoder struct {
	hpack *hpack.Encoder
	block []byte
	seed  maphash.Seed
	seen  [maxSeen]uint32
	known map[string]string // values and names, as they are sent
	lower []byte

	digits []byte
}

func newEncoder() *Encoder {
	e := &Encoder{seed: maphash.MakeSeed(), known: make(map[string]string)}
	e.hpack = hpack.NewEncoder((*blockWriter)(e))
	return e
}

// blockWriter appends what hpack encodes to the block.
type blockWriter Encoder

func (w *blockWriter) Write(p []byte) (int, error) {
	w.block = append(w.block, p...)
	return len(p), nil
}

// Pseudo adds a pseudo-header field. They come first.
func (e *Encoder) Pseudo(name string, value []byte) {
	e.field(name, value, name != ":path" && e.again(name, value))
}

// Status adds a response's.
func (e *Encoder) Status(code int) {
	e.digits = strconv.AppendInt(e.digits[:0], int64(code), 10)
	e.Pseudo(":status", e.digits)
}

// Fields adds all fields of h but those whose bit is set in without.
func (e *Encoder) Fields(h *exchange.Header, without uint64) {
	for i := range h.Len() {
		id, name, value, ok := h.At(i)
		if !ok || without>>id&1 != 0 {
			continue
		}
		if id != exchange.Other {
			e.Field(id, value)
			continue
		}
		text := e.name(name)
		e.field(text, value, e.again(text, value))
	}
}

// Field adds a field by its ID.
func (e *Encoder) Field(id exchange.ID, value []byte) {
	name := lowerNames[id]
	e.field(name, value, once>>id&1 == 0 && e.again(name, value))
}

// Length adds Content-Length.
func (e *Encoder) Length(n int64) {
	e.digits = strconv.AppendInt(e.digits[:0], n, 10)
	e.field("content-length", e.digits, false)
}

// TrailerFields adds what of h may come behind a body; the rest of a trailer is dropped.
func (e *Encoder) TrailerFields(h *exchange.Header) {
	e.Fields(h, NotSent|1<<exchange.TE|1<<exchange.Trailer)
}

func (e *Encoder) field(name string, value []byte, index bool) {
	f := hpack.HeaderField{Name: name, Sensitive: !index}
	if index {
		f.Value = e.text(value)
	} else if len(value) > 0 {
		// unsafe: the value is not kept, for a field that is not indexed is written and forgotten.
		f.Value = unsafe.String(unsafe.SliceData(value), len(value))
	}
	_ = e.hpack.WriteField(f) // the writer never fails
}

// again reports whether the value of that field was sent before, not too long ago. It may be wrong either way.
func (e *Encoder) again(name string, value []byte) bool {
	if len(value) > maxIndexed {
		return false
	}
	hash := maphash.Bytes(e.seed, value)
	hash ^= maphash.String(e.seed, name)
	slot := &e.seen[hash%maxSeen]
	mark := uint32(hash >> 32)
	if *slot == mark {
		return true
	}
	*slot = mark
	return false
}

// text is b as a string, made once for what comes again.
func (e *Encoder) text(b []byte) string {
	if s, ok := e.known[string(b)]; ok {
		return s
	}
	if len(e.known) >= maxNames {
		clear(e.known)
	}
	s := string(b)
	e.known[s] = s
	return s
}

// name is a field's name in lower case.
func (e *Encoder) name(name []byte) string {
	for _, c := range name {
		if 'A' <= c && c <= 'Z' {
			e.lower = append(e.lower[:0], name...)
			for i, c := range e.lower {
				if 'A' <= c && c <= 'Z' {
					e.lower[i] = c + 'a' - 'A'
				}
			}
			return e.text(e.lower)
		}
	}
	return e.text(name)
}

func lowered(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
