package codec

import (
	"encoding/binary"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// The versions that are spoken here, as eight bytes read in one go.
var (
	version11 = binary.LittleEndian.Uint64([]byte("HTTP/1.1"))
	version10 = binary.LittleEndian.Uint64([]byte("HTTP/1.0"))
)

var (
	slash    = []byte("/")
	asterisk = []byte("*")
)

// ParseRequest parses the request head at the start of buf into r, whose slices then lie in buf. It returns the head's
// length, or 0 and nil while the head is not complete; r is then not to be used. scanned is how many bytes of buf an
// earlier call has seen, 0 for a new head. An error is a *HeadError.
//
// One empty line before the head is skipped (RFC 9112 §2.2). An Expect that must be ignored is left out: of HTTP/1.0
// clients, and without a body (RFC 9110 §10.1.1). Fields whose name has an underscore say nothing of the message; the
// header is marked where there is one.
func ParseRequest(r *exchange.Request, buf []byte, scanned int, lim Limits) (n int, err error) {
	lim = lim.WithDefaults()
	if !worthParsing(buf, scanned, &lim) {
		return 0, nil
	}
	n, e := parseRequest(r, buf, &lim)
	if e != nil {
		return 0, &e.request
	}
	return n, nil
}

func parseRequest(r *exchange.Request, buf []byte, lim *Limits) (int, *refusal) {
	head := buf[:min(len(buf), lim.Bytes)]
	start, e := skipEmptyLine(head)
	if e != nil {
		return 0, e
	}

	line := head[:min(len(head), start+lim.RequestLine+2)]
	p, e := parseRequestLine(r, line, start)
	if e != nil {
		return 0, e
	}
	if p == 0 {
		if len(line) == start+lim.RequestLine+2 || len(line) == lim.Bytes {
			return 0, errURITooLong
		}
		return 0, nil
	}

	r.Header.Reset(head)
	facts := fieldFacts{length: -1}
	n, e := parseFields(&r.Header, &facts, head, p, requestHead, lim.Fields)
	if e != nil {
		return 0, e
	}
	if n == 0 {
		if len(head) == lim.Bytes {
			return 0, errHeadTooLarge
		}
		return 0, nil
	}
	return n, settleRequest(r, &facts)
}

// skipEmptyLine returns where the first line begins.
func skipEmptyLine(head []byte) (int, *refusal) {
	if len(head) == 0 || head[0] != '\r' {
		return 0, nil
	}
	switch {
	case len(head) == 1:
		return 1, nil // nothing behind it yet
	case head[1] != '\n':
		return 0, errBareCR
	case len(head) > 2 && head[2] == '\r':
		return 0, errEmptyLines
	}
	return 2, nil
}

// parseRequestLine parses the line that begins at place start of b. It returns the place behind it, or 0 while it is not
// complete; what is there by then has been checked.
func parseRequestLine(r *exchange.Request, b []byte, start int) (int, *refusal) {
	p := start
	for p < len(b) && classes[b[p]]&tokenByte != 0 {
		p++
	}
	if p-start > maxMethod {
		return 0, errMethod
	}
	if p == len(b) {
		return 0, nil
	}
	if b[p] != ' ' || p == start {
		return 0, errMethod
	}
	r.MethodName = b[start:p:p]
	r.Method = exchange.ParseMethod(r.MethodName)

	p++
	target := p
	for p < len(b) && classes[b[p]]&pathByte != 0 {
		p++
	}
	pathEnd := p
	for p < len(b) && classes[b[p]]&queryByte != 0 {
		p++
	}
	if p == len(b) {
		return 0, nil
	}
	if b[p] != ' ' {
		return 0, targetError(b[p])
	}
	targetEnd := p

	p++
	if len(b)-p < len("HTTP/1.1\r\n") {
		return 0, partialVersion(b[p:])
	}
	switch binary.LittleEndian.Uint64(b[p:]) {
	case version11:
		r.Protocol = exchange.HTTP11
	case version10:
		r.Protocol = exchange.HTTP10
	default:
		return 0, versionError(b[p : p+10])
	}
	if b[p+8] != '\r' || b[p+9] != '\n' {
		return 0, errVersionSyntax
	}
	return p + 10, parseTarget(r, b[target:pathEnd:pathEnd], b[pathEnd:targetEnd:targetEnd])
}

func targetError(c byte) *refusal {
	switch c {
	case '\r':
		return errVersionSyntax // HTTP/0.9
	case '\n':
		return errBareLF
	}
	return errTarget
}

// partialVersion checks what has arrived of a version and its line end.
func partialVersion(b []byte) *refusal {
	const prefix = "HTTP/"
	if string(b[:min(len(b), len(prefix))]) != prefix[:min(len(b), len(prefix))] {
		return errVersionSyntax
	}
	for _, c := range b {
		if c == '\n' {
			return errVersionSyntax
		}
	}
	return nil
}

// versionError tells versions that exist but are not spoken here from what is none; b has ten bytes. HTTP/2.0 in text is
// the preface of a client that takes this connection for another, HTTP/0.9 never named itself: neither is understood
// better elsewhere.
func versionError(b []byte) *refusal {
	digit := func(c byte) bool { return '0' <= c && c <= '9' }
	if string(b[:5]) != "HTTP/" || !digit(b[5]) || b[6] != '.' || !digit(b[7]) || b[8] != '\r' || b[9] != '\n' {
		return errVersionSyntax
	}
	if b[5] == '0' || b[5] == '2' {
		return errVersionForeign
	}
	return errVersion
}

// parseTarget reads the request target's four forms (RFC 9112 §3.2). query holds the '?' that it begins with, or is empty.
func parseTarget(r *exchange.Request, path, query []byte) *refusal {
	r.Host, r.RawPath, r.Path, r.Query, r.HasQuery = nil, path, nil, nil, len(query) > 0
	if r.HasQuery {
		r.Query = query[1:]
	}
	switch {
	case r.Method == exchange.CONNECT:
		if r.HasQuery || !validAuthority(path) {
			r.RawPath = nil // it may hold a password, and would be logged
			return errAuthority
		}
		r.Host, r.RawPath = path, nil
		return nil
	case len(path) > 0 && path[0] == '/':
		return nil
	case len(path) == 1 && path[0] == '*' && r.Method == exchange.OPTIONS && !r.HasQuery:
		return nil
	}
	e := parseAbsoluteTarget(r)
	if e != nil {
		r.RawPath = nil // as above
	}
	return e
}

// parseAbsoluteTarget rewrites an absolute-form target, which lies in RawPath, to authority and path.
func parseAbsoluteTarget(r *exchange.Request) *refusal {
	target := r.RawPath
	scheme := 0
	for scheme < len(target) && classes[target[scheme]]&tokenByte != 0 {
		scheme++
	}
	if scheme == 0 || len(target)-scheme < 3 || string(target[scheme:scheme+3]) != "://" {
		return errTargetForm
	}
	if !exchange.EqualFold(target[:scheme], "http") && !exchange.EqualFold(target[:scheme], "https") {
		return errScheme
	}
	rest := target[scheme+3:]
	end := 0
	for end < len(rest) && rest[end] != '/' {
		end++
	}
	if !validAuthority(rest[:end]) {
		return errAuthority
	}
	r.Host, r.RawPath = rest[:end:end], rest[end:]
	if len(r.RawPath) == 0 {
		r.RawPath = slash
		if r.Method == exchange.OPTIONS && !r.HasQuery {
			r.RawPath = asterisk // RFC 9112 §3.2.4
		}
	}
	return nil
}

// settleRequest checks what a complete head's fields say together, and writes it down in r.
func settleRequest(r *exchange.Request, f *fieldFacts) *refusal {
	http11 := r.Protocol == exchange.HTTP11
	switch {
	case f.hosts > 1:
		return errTwoHosts
	case f.hosts == 1:
		if !validAuthority(f.host) {
			return errHost
		}
		if r.Host == nil { // else it is the target's, which wins (RFC 9112 §3.2.2)
			r.Host = f.host
		}
	case http11:
		return errNoHost
	}

	r.ContentLength = max(f.length, 0)
	if f.chunked {
		if f.length >= 0 {
			return errLengthAndCoding
		}
		if !http11 {
			return errCodingHTTP10
		}
		r.ContentLength = -1
	}

	r.Close = f.close || !http11 && !f.keepAlive
	r.Upgrade = http11 && f.upgrade && f.protocols
	r.Expect = http11 && f.expectations > 0 && r.ContentLength != 0
	if f.expectations > 0 && !r.Expect {
		r.Header.DelID(exchange.Expect)
	}
	return nil
}
