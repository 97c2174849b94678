package exchange

import "bytes"

// What a byte of a path means to NormalizePath.
const (
	pathRefused byte = iota // control, space, non-ASCII, and what two parsers may read differently: \ # ?
	pathPlain               // stands for itself (pchar, RFC 3986 §3.3)
	pathSlash
	pathEscape  // %
	pathParam   // ; which some origins cut a segment at
	pathEncoded // printable, yet never to be sent as it is: written as an escape
)

var pathClass = func() (table [256]byte) {
	for c := byte('!'); c <= '~'; c++ {
		table[c] = pathPlain
	}
	for _, c := range []byte(`\#?`) {
		table[c] = pathRefused
	}
	for _, c := range []byte("\"<>[]^`{|}") {
		table[c] = pathEncoded
	}
	table['/'], table['%'], table[';'] = pathSlash, pathEscape, pathParam
	return table
}()

// unreserved holds the bytes whose escapes mean the same as themselves (RFC 3986 §2.3).
var unreserved = func() (table [256]bool) {
	for c := range table {
		b := lower[c]
		table[c] = 'a' <= b && b <= 'z' || '0' <= b && b <= '9' || b == '-' || b == '.' || b == '_' || b == '~'
	}
	return table
}()

const upperHex = "0123456789ABCDEF"

// NormalizePath sets Request.Path from Request.RawPath, and reports whether there is a path to serve; see the function
// of that name. It does not allocate beyond the exchange's own memory.
func (x *Exchange) NormalizePath() bool {
	path, ok := x.Normalize(x.Request.RawPath)
	x.Request.Path = path
	return ok
}

// Normalize returns the one form of a path that was changed on its way, as Request.KeepSlashes says; see NormalizePath.
func (x *Exchange) Normalize(path []byte) (normal []byte, ok bool) {
	if pathIsNormal(path, x.Request.KeepSlashes) {
		return path, true
	}
	return normalizeInto(x.Scratch(normalizedSize(path)), path, x.Request.KeepSlashes)
}

// NormalizePath returns the one form of a path that is matched, checked, rewritten and sent (RFC 3986 §6.2.2): escapes
// of unreserved characters are decoded and the hexadecimal digits of others are upper case, characters that must not
// stand in a path are escaped, dot segments are removed, and runs of slashes are one. An escaped slash or backslash is
// data. "*" is itself. Normalising twice is normalising once.
//
// It returns raw where nothing has to change, else memory from scratch, which may be nil.
//
// ok is false, and the answer 400, where the path is not one, or where an origin could read another path in it:
// invalid escapes and %00, raw backslashes, '#', '?', controls, spaces and non-ASCII bytes, dot segments that lead
// above the root, and dot segments in disguise: in front of parameters ("/..;/") or beside an escaped slash ("..%2f").
func NormalizePath(scratch func(n int) []byte, raw []byte) (path []byte, ok bool) {
	if pathIsNormal(raw, false) {
		return raw, true
	}
	if scratch == nil {
		return normalizeInto(make([]byte, normalizedSize(raw)), raw, false)
	}
	return normalizeInto(scratch(normalizedSize(raw)), raw, false)
}

// NormalizeKeepingSlashes is NormalizePath, but that several slashes in a row stay. ".." behind an empty segment is refused
// then: an origin that merges slashes leaves another segment than one that does not.
func NormalizeKeepingSlashes(raw []byte) (path []byte, ok bool) {
	if pathIsNormal(raw, true) {
		return raw, true
	}
	return normalizeInto(make([]byte, normalizedSize(raw)), raw, true)
}

// pathIsNormal is the fast path. It says no where it would have to think: at any escape, and at a dot behind a slash.
func pathIsNormal(raw []byte, keepSlashes bool) bool {
	if len(raw) == 0 || raw[0] != '/' {
		return string(raw) == "*"
	}
	last := byte(0)
	for _, c := range raw {
		if class := pathClass[c]; class != pathPlain && class != pathSlash && class != pathParam {
			return false
		}
		if last == '/' && (c == '/' && !keepSlashes || c == '.') {
			return false
		}
		last = c
	}
	return true
}

// normalizedSize is how long the normalised path is at most.
func normalizedSize(raw []byte) int {
	n := len(raw)
	for _, c := range raw {
		if pathClass[c] == pathEncoded {
			n += 2
		}
	}
	return n
}

// normalizeInto builds the path in out, which is long enough, segment by segment.
func normalizeInto(out, raw []byte, keepSlashes bool) (path []byte, ok bool) {
	if len(raw) == 0 || raw[0] != '/' {
		return nil, false
	}
	out = out[:0]
	for i := 0; i < len(raw); {
		i++
		for !keepSlashes && i < len(raw) && raw[i] == '/' {
			i++
		}
		start := len(out)
		out = append(out, '/')
		suspect := false // an origin may cut this segment further
		for ; i < len(raw) && raw[i] != '/'; i++ {
			c := raw[i]
			switch pathClass[c] {
			case pathPlain:
				out = append(out, c)
			case pathParam:
				out = append(out, c)
				suspect = true
			case pathEncoded:
				out = append(out, '%', upperHex[c>>4], upperHex[c&15])
			case pathEscape:
				v, valid := unescape(raw[i:])
				if !valid || v == 0 {
					return nil, false
				}
				i += 2
				if unreserved[v] {
					out = append(out, v)
					continue
				}
				out = append(out, '%', upperHex[v>>4], upperHex[v&15])
				suspect = suspect || v == '/' || v == '\\' || v == ';'
			default:
				return nil, false
			}
		}
		switch segment := out[start+1:]; {
		case suspect && hidesDots(segment):
			return nil, false
		case string(segment) == "..":
			if start == 0 || out[start-1] == '/' {
				return nil, false
			}
			out = out[:bytes.LastIndexByte(out[:start], '/')]
		case string(segment) == ".":
			out = out[:start]
		default:
			continue
		}
		if i == len(raw) { // a dot segment at the end names a directory
			out = append(out, '/')
		}
	}
	return out, true
}

// unescape reads the escape that s starts with.
func unescape(s []byte) (v byte, ok bool) {
	if len(s) < 3 {
		return 0, false
	}
	hi, lo := unhex(s[1]), unhex(s[2])
	return hi<<4 | lo, hi < 16 && lo < 16
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

// hidesDots reports whether a piece of a normalised segment, cut at escaped slashes and backslashes, is "." or ".." but
// for its parameters: there is no way to know which path an origin makes of it.
func hidesDots(segment []byte) bool {
	for piece := segment; ; {
		cut, next := len(piece), -1
		for i := 0; i+2 < len(piece); i++ {
			if piece[i] == '%' && (string(piece[i+1:i+3]) == "2F" || string(piece[i+1:i+3]) == "5C") {
				cut, next = i, i+3
				break
			}
		}
		name := piece[:cut]
		if i := bytes.IndexByte(name, ';'); i >= 0 {
			name = name[:i]
		}
		if i := bytes.Index(name, []byte("%3B")); i >= 0 {
			name = name[:i]
		}
		if s := string(name); s == "." || s == ".." {
			return true
		}
		if next < 0 {
			return false
		}
		piece = piece[next:]
	}
}
