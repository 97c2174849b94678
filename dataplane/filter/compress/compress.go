package compress

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

// Config describes the filter.
type Config struct {
	Owner      string   `outline:"-"`    // service and route
	Algorithms []string `outline:"show"` // zstd, br, gzip, in the order of preference; none: all of them
	MinBytes   int      // of a body below which it is not worth it
	Types      []string `outline:"show"` // media types such as "text/html" or "text/*"; none: those that usually get smaller
}

// Key implements filter.Config.
func (c Config) Key() string {
	return fmt.Sprintf("compress %q algorithms %q min %d types %q", c.Owner, c.Algorithms, c.MinBytes, c.Types)
}

// Validate says what keeps New from working.
func (c Config) Validate() error {
	_, err := c.build()
	return err
}

// New implements filter.Config.
func (c Config) New(filter.Env) (filter.Filter, error) {
	f, err := c.build()
	if err != nil {
		return nil, err // and not f: an interface that holds a nil pointer is not nil
	}
	return f, nil
}

func (c Config) build() (*compress, error) {
	if c.MinBytes < 0 {
		return nil, fmt.Errorf("min_bytes: %d: must be 0 or more", c.MinBytes)
	}
	f := &compress{min: int64(c.MinBytes), types: typeSet{defaults: len(c.Types) == 0}}
	names := c.Algorithms
	if len(names) == 0 {
		names = []string{"zstd", "br", "gzip"}
	}
	seen := [codings]bool{}
	for _, name := range names {
		c := codingOf(name)
		if c == identity || name != c.String() {
			return nil, fmt.Errorf("algorithms: %q: must be zstd, br or gzip", name)
		}
		if seen[c] {
			return nil, fmt.Errorf("algorithms: %q: is listed twice", name)
		}
		seen[c] = true
		f.preferred = append(f.preferred, c)
	}
	for _, t := range c.Types {
		kind, sub, found := strings.Cut(strings.ToLower(t), "/")
		switch {
		case !found || kind == "" || sub == "" || strings.ContainsAny(t, " ;,\r\n"):
			return nil, fmt.Errorf("content_types: %q: must be a media type such as `text/html`, or `text/*`", t)
		case sub == "*":
			f.types.kinds = append(f.types.kinds, kind+"/")
		default:
			f.types.exact = append(f.types.exact, kind+"/"+sub)
		}
	}
	return f, nil
}

// maxEncoders is how many responses one filter compresses at the same time: an encoder takes one to two and a half MiB. A
// response above that passes as it is.
const maxEncoders = 128

type compress struct {
	filter.Nop
	preferred []coding
	min       int64
	types     typeSet
	pools     [codings]pool
	busy      atomic.Int32 // encoders
}

// Request implements filter.Filter. It notes what the client takes: another filter may want the endpoint to see none of it.
func (f *compress) Request(x *exchange.Exchange) filter.Verdict {
	x.Coding = uint8(negotiate(&x.Request.Header, f.preferred))
	return filter.Continue
}

// Response implements filter.Filter.
func (f *compress) Response(x *exchange.Exchange) {
	r := &x.Response
	if r.Status == 304 {
		notModified(x)
		return
	}
	if r.Status < 200 || r.Status > 299 || !f.types.has(r.Header.Value(exchange.ContentType)) {
		return
	}
	r.Header.Merge("Vary", "Accept-Encoding") // also of what another client gets as it is
	if !f.worth(x) {
		return
	}
	found := look(&r.Header)
	if found.fixed || !f.reserve() {
		return
	}
	chosen := choice(x.Coding).coding()
	b := f.pools[chosen].get(chosen)
	b.start(f, r.Body)
	found.change(&r.Header, chosen)
	r.Body, r.ContentLength = b, -1
	if b.atHand() && r.Trailer.Len() == 0 && !r.Header.Has(exchange.Trailer) {
		r.ContentLength = int64(len(b.out))
	}
}

// worth says whether the client takes a coding and the body is one to compress.
func (f *compress) worth(x *exchange.Exchange) bool {
	r := &x.Response
	switch {
	case choice(x.Coding).coding() == identity, r.Body == nil, x.Request.Method == exchange.HEAD:
		return false
	case r.Status == 204, r.Status == 205, r.Status == 206:
		return false
	case r.ContentLength < 0 || r.ContentLength >= f.min:
		return r.ContentLength != 0
	}
	return choice(x.Coding).onlyCoded() && r.ContentLength > 0
}

func (f *compress) reserve() bool {
	if f.busy.Add(1) > maxEncoders {
		f.busy.Add(-1)
		return false
	}
	return true
}

// Done implements filter.Filter.
func (f *compress) Done(x *exchange.Exchange) {
	if b, ok := x.Response.Body.(*body); ok && b.owner == f {
		x.Response.Body = nil
		b.source, b.owner = nil, nil
		f.pools[b.coding].put(b)
		f.busy.Add(-1)
	}
}

// found is what a response's fields say of changing its body.
type found struct {
	fixed  bool // it must not be changed, or is coded already
	etag   []byte
	remove [8]int // places of fields that are not true any more
	n      int
}

// look reads the fields once.
func look(h *exchange.Header) found {
	var f found
	if coded := h.Value(exchange.ContentEncoding); coded != nil && !exchange.EqualFold(coded, "identity") {
		f.fixed = true
		return f
	}
	for i := range h.Len() {
		id, name, value, ok := h.At(i)
		if !ok || id != exchange.Other {
			continue
		}
		gone := false
		switch len(name) {
		case len("ETag"):
			if exchange.EqualFold(name, "ETag") {
				f.etag, gone = value, true
			}
		case len("Digest"):
			gone = exchange.EqualFold(name, "Digest")
		case len("Content-MD5"):
			gone = exchange.EqualFold(name, "Content-MD5") || exchange.EqualFold(name, "Repr-Digest")
		case len("Cache-Control"):
			if exchange.EqualFold(name, "Cache-Control") {
				f.fixed = f.fixed || lists(value, "no-transform")
			}
			f.fixed = f.fixed || exchange.EqualFold(name, "Content-Range")
			gone = exchange.EqualFold(name, "Accept-Ranges")
		case len("Content-Digest"):
			gone = exchange.EqualFold(name, "Content-Digest")
		}
		if gone && f.n < len(f.remove) {
			f.remove[f.n] = i
			f.n++
		}
	}
	return f
}

// change makes the fields true of the compressed body.
func (f *found) change(h *exchange.Header, c coding) {
	for _, i := range f.remove[:f.n] {
		h.RemoveAt(i)
	}
	h.DelID(exchange.ContentEncoding)
	h.DelID(exchange.ContentLength)
	h.AddIDString(exchange.ContentEncoding, c.String())
	if len(f.etag) > 0 {
		setETag(h, f.etag)
	}
}

// setETag adds a weak one: the bytes are not those that the endpoint has named (RFC 9110 §8.8.1).
func setETag(h *exchange.Header, etag []byte) {
	var room [256]byte
	weak := room[:0]
	if !bytes.HasPrefix(etag, []byte("W/")) {
		weak = append(weak, "W/"...)
	}
	weak = append(weak, etag...)
	h.AddBytes([]byte("ETag"), weak)
}

// notModified makes a 304 name the representation that the client has: the compressed one, if that was asked about.
func notModified(x *exchange.Exchange) {
	h := &x.Response.Header
	h.Merge("Vary", "Accept-Encoding")
	etag, ok := h.Get("ETag")
	if !ok || len(etag) == 0 || etag[0] != '"' {
		return
	}
	for i := range x.Request.Header.Len() {
		_, name, value, ok := x.Request.Header.At(i)
		if !ok || !exchange.EqualFold(name, "If-None-Match") {
			continue
		}
		for at := bytes.Index(value, etag); at >= 0; {
			if at >= 2 && string(value[at-2:at]) == "W/" {
				h.Del("ETag")
				setETag(h, etag)
				return
			}
			next := bytes.Index(value[at+1:], etag)
			if next < 0 {
				break
			}
			at += 1 + next
		}
	}
}

func lists(value []byte, token string) bool {
	for len(value) > 0 {
		var item []byte
		if item, value = exchange.NextToken(value); exchange.EqualFold(item, token) {
			return true
		}
	}
	return false
}

// A typeSet is a set of media types.
type typeSet struct {
	defaults bool
	exact    []string // in lower case
	kinds    []string // "text/"
}

// usual are the types that get smaller, beside text/*, application/*+json and application/*+xml.
var usual = [...]string{
	"application/json", "application/javascript", "application/x-javascript", "application/ecmascript", "application/xml",
	"application/x-ndjson", "application/graphql", "application/rtf", "application/wasm", "application/vnd.ms-fontobject",
	"font/ttf", "font/otf", "font/collection", "image/svg+xml", "image/bmp", "image/x-icon", "image/vnd.microsoft.icon",
}

const eventStream = "text/event-stream"

// has reports whether a Content-Type is in the set. Event streams are only where they are named: a page that waits for an
// event gains little by it.
func (s *typeSet) has(value []byte) bool {
	if i := bytes.IndexByte(value, ';'); i >= 0 {
		value = value[:i]
	}
	value = bytes.Trim(value, " \t")
	if len(value) == 0 {
		return false
	}
	for _, t := range s.exact {
		if exchange.EqualFold(value, t) {
			return true
		}
	}
	if exchange.EqualFold(value, eventStream) {
		return false
	}
	for _, kind := range s.kinds {
		if hasPrefix(value, kind) {
			return true
		}
	}
	if !s.defaults {
		return false
	}
	if hasPrefix(value, "text/") {
		return true
	}
	if hasPrefix(value, "application/") && (hasSuffix(value, "+json") || hasSuffix(value, "+xml")) {
		return true
	}
	for _, t := range usual {
		if exchange.EqualFold(value, t) {
			return true
		}
	}
	return false
}

func hasPrefix(b []byte, prefix string) bool {
	return len(b) > len(prefix) && exchange.EqualFold(b[:len(prefix)], prefix)
}

func hasSuffix(b []byte, suffix string) bool {
	return len(b) > len(suffix) && exchange.EqualFold(b[len(b)-len(suffix):], suffix)
}
