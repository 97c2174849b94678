package signing

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"strconv"
	"sync"
	"time"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

// label names the proxy's signature among others in the fields (RFC 9421 §4).
const label = "pingora-proxy"

type signing struct {
	filter.Nop
	components []component
	digests    bool   // content-digest is among them
	params     string // of the signature, behind the time
	scheme     string
	port       string // that the scheme means

	private ed25519.PrivateKey // else
	macs    sync.Pool          // of hash.Hash, with the secret: making one hashes it twice
}

// Attempt implements filter.Filter. A client's own signatures go: an endpoint that looks at any of them sees the proxy's.
func (f *signing) Attempt(x *exchange.Exchange) {
	h := &x.Request.Header
	h.Del("Signature-Input")
	h.Del("Signature")
	if f.digests {
		addDigest(x)
	}
	base, input := f.base(x, time.Now().Unix())
	h.AddBytes([]byte("Signature-Input"), input)
	h.AddBytes([]byte("Signature"), f.sign(x, base))
}

// addDigest says what the body is (RFC 9530) where all of it lies in memory. What the client has said stays: it may know
// what was lost on the way here.
func addDigest(x *exchange.Exchange) {
	h := &x.Request.Header
	if _, has := h.Get(contentDigest); has {
		return
	}
	body, known := wholeBody(&x.Request)
	if !known {
		return
	}
	sum := sha256.Sum256(body)
	value := append(x.Scratch(len("sha-256=::") + base64.StdEncoding.EncodedLen(len(sum)))[:0], "sha-256=:"...)
	value = append(base64.StdEncoding.AppendEncode(value, sum[:]), ':')
	h.AddBytes([]byte("Content-Digest"), value)
}

// wholeBody returns the body where all of it is at hand: a buffer filter has read it, or it came together with the head.
func wholeBody(r *exchange.Request) ([]byte, bool) {
	if b, ok := r.Body.(*exchange.Bytes); ok {
		return b.Whole(), true
	}
	if r.Body == nil || r.ContentLength <= 0 {
		return nil, false
	}
	at := r.Body.Buffered()
	return at, int64(len(at)) == r.ContentLength
}

// base builds what is signed (RFC 9421 §2.5), and the Signature-Input field. A component that the request does not have is in
// neither.
func (f *signing) base(x *exchange.Exchange, created int64) (base, input []byte) {
	base, input = x.Scratch(1024)[:0], x.Scratch(512)[:0]
	input = append(input, label+"=("...)
	for _, c := range f.components {
		before := len(base)
		base = append(append(append(base, '"'), c.name...), `": `...)
		var has bool
		if base, has = f.value(base, x, c); !has {
			base = base[:before]
			continue
		}
		base = append(base, '\n')
		if input[len(input)-1] != '(' {
			input = append(input, ' ')
		}
		input = append(append(append(input, '"'), c.name...), '"')
	}
	input = strconv.AppendInt(append(input, ");created="...), created, 10)
	input = append(input, f.params...)
	base = append(base, `"@signature-params": `...)
	return append(base, input[len(label)+1:]...), input
}

// value appends the value of a component, and reports whether the request has it.
func (f *signing) value(dst []byte, x *exchange.Exchange, c component) ([]byte, bool) {
	r := &x.Request
	switch c.name {
	case "@method":
		if len(r.MethodName) > 0 {
			return append(dst, r.MethodName...), true
		}
		return append(dst, r.Method.String()...), true
	case "@authority":
		return f.authority(dst, r.Host), true
	case "@scheme":
		return append(dst, f.scheme...), true
	case "@target-uri":
		dst = append(append(dst, f.scheme...), "://"...)
		return appendQuery(appendPath(f.authority(dst, r.Host), r), r), true
	case "@request-target":
		return appendQuery(append(dst, path(r)...), r), true
	case "@path":
		return appendPath(dst, r), true
	case "@query":
		return append(append(dst, '?'), r.Query...), true
	}
	switch c.id {
	case exchange.Host:
		return append(dst, r.Host...), true
	case exchange.ContentLength:
		if r.Body == nil || r.ContentLength < 0 {
			return dst, false
		}
		return strconv.AppendInt(dst, r.ContentLength, 10), true
	}
	return appendField(dst, &r.Header, c)
}

// authority appends the authority in lower case, without the port that the scheme means (RFC 9421 §2.2.3).
func (f *signing) authority(dst, authority []byte) []byte {
	host, port := exchange.SplitPort(authority)
	at := len(dst)
	dst = append(dst, host...)
	if len(port) > 0 && string(port) != f.port {
		dst = append(append(dst, ':'), port...)
	}
	for i := at; i < len(dst); i++ {
		if c := dst[i]; 'A' <= c && c <= 'Z' {
			dst[i] = c + 'a' - 'A'
		}
	}
	return dst
}

// path is what stands in the request line or in :path.
func path(r *exchange.Request) []byte {
	if r.Path != nil {
		return r.Path
	}
	return r.RawPath
}

// appendPath appends the path of the target: that of OPTIONS * is empty, and an empty one is "/" (RFC 9421 §2.2.6).
func appendPath(dst []byte, r *exchange.Request) []byte {
	if p := path(r); len(p) > 0 && string(p) != "*" {
		return append(dst, p...)
	}
	return append(dst, '/')
}

func appendQuery(dst []byte, r *exchange.Request) []byte {
	if r.HasQuery {
		return append(append(dst, '?'), r.Query...)
	}
	return dst
}

// appendField appends the lines of a field, without the white space around each (RFC 9421 §2.1).
func appendField(dst []byte, h *exchange.Header, c component) ([]byte, bool) {
	found := false
	for i := range h.Len() {
		id, name, value, ok := h.At(i)
		if !ok || id != c.id || id == exchange.Other && !exchange.EqualFold(name, c.name) {
			continue
		}
		if found {
			dst = append(dst, ", "...)
		}
		found = true
		dst = append(dst, bytes.Trim(value, " \t")...)
	}
	return dst, found
}

// sign makes the Signature field.
func (f *signing) sign(x *exchange.Exchange, base []byte) []byte {
	var room [ed25519.SignatureSize]byte
	signature := room[:0]
	if f.private != nil {
		signature = ed25519.Sign(f.private, base)
	} else {
		mac, _ := f.macs.Get().(hash.Hash)
		mac.Reset()
		mac.Write(base)
		signature = mac.Sum(signature)
		f.macs.Put(mac)
	}
	field := append(x.Scratch(len(label) + 3 + base64.StdEncoding.EncodedLen(len(signature)))[:0], label+"=:"...)
	return append(base64.StdEncoding.AppendEncode(field, signature), ':')
}
