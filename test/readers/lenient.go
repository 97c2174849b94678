package readers

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// A Reading is what one reader makes of a message. Two readers who make the same of it cannot be played off against
// each other.
type Reading struct {
	Method, Target, Host string // of a request
	Status               string // of a response
	Framing              string // the fields that say where the message ends and what becomes of its connection
	Body                 string
	Length               int // bytes of the whole message
}

// framing are the fields that say where a message ends and what becomes of its connection, in lower case.
var framing = []string{"content-length", "transfer-encoding", "connection", "upgrade", "expect"}

// framingOf lists those of fields, whose names are in lower case, by name and then in their order.
func framingOf(fields [][2]string) string {
	var list []string
	for _, name := range framing {
		for _, f := range fields {
			if f[0] == name {
				list = append(list, f[0]+": "+f[1])
			}
		}
	}
	return strings.Join(list, "\n")
}

var errUnreadable = errors.New("not a message")

// lenient is a reader with some laxnesses.
type lenient struct {
	lax Laxness
	raw []byte
	at  int
}

// ReadRequest reads the request at the start of raw with these laxnesses; with 0 it is a strict reader.
func ReadRequest(raw []byte, lax Laxness) (Reading, error) {
	l := &lenient{lax: lax, raw: raw}
	return l.request()
}

// ReadResponse reads the response to a request of that method at the start of raw. One that ends with its connection ends
// with raw.
func ReadResponse(raw []byte, method string, lax Laxness) (Reading, error) {
	l := &lenient{lax: lax, raw: raw}
	return l.response(method)
}

func (l *lenient) has(lax Laxness) bool { return l.lax&lax != 0 }

// line returns the next line without its end.
func (l *lenient) line() (string, error) {
	rest := l.raw[l.at:]
	end, size := bytes.Index(rest, []byte("\r\n")), 2
	if i := bytes.IndexByte(rest, '\n'); l.has(BareLF) && i >= 0 && (end < 0 || i < end) {
		end, size = i, 1
	}
	if i := bytes.IndexByte(rest, '\r'); l.has(BareCR) && i >= 0 && (end < 0 || i < end) {
		end, size = i, 1
	}
	if end < 0 {
		return "", errUnreadable
	}
	l.at += end + size
	return string(rest[:end]), nil
}

// first returns the parts of the first line.
func (l *lenient) first() ([]string, error) {
	for l.has(EmptyLines) && l.at < len(l.raw) && strings.IndexByte("\r\n\t\v\f \x00", l.raw[l.at]) >= 0 {
		l.at++
	}
	text, err := l.line()
	if err != nil {
		return nil, err
	}
	if l.has(Spaces) {
		return strings.Fields(text), nil
	}
	return strings.Split(text, " "), nil
}

func (l *lenient) request() (r Reading, err error) {
	parts, err := l.first()
	if err != nil {
		return r, err
	}
	if len(parts) != 3 || parts[2] != "HTTP/1.1" && !l.has(OldVersions) {
		return r, errUnreadable
	}
	r.Method, r.Target = parts[0], parts[1]
	fields, err := l.fields()
	if err != nil {
		return r, err
	}
	if r.Body, fields, err = l.body(fields, ""); err != nil {
		return r, err
	}
	hosts := valuesOf(fields, "host")
	if len(hosts) == 0 || len(hosts) > 1 && !l.has(LastHost) {
		return r, errUnreadable
	}
	r.Host, r.Framing, r.Length = hosts[len(hosts)-1], framingOf(fields), l.at
	return r, nil
}

func (l *lenient) response(method string) (r Reading, err error) {
	parts, err := l.first()
	if err != nil {
		return r, err
	}
	if len(parts) < 2 || parts[0] != "HTTP/1.1" && !l.has(OldVersions) || len(parts[1]) != 3 {
		return r, errUnreadable
	}
	r.Status = parts[1]
	fields, err := l.fields()
	if err != nil {
		return r, err
	}
	if !noBody(method, r.Status) {
		if r.Body, fields, err = l.body(fields, r.Status); err != nil {
			return r, err
		}
	}
	r.Framing, r.Length = framingOf(fields), l.at
	return r, nil
}

// noBody tells the responses that have no body, whatever their fields say (RFC 9112 §6.3).
func noBody(method, status string) bool {
	return method == "HEAD" || status[0] == '1' || status == "204" || status == "304"
}

func valuesOf(fields [][2]string, name string) (values []string) {
	for _, f := range fields {
		if f[0] == name {
			values = append(values, f[1])
		}
	}
	return values
}

const tokenBytes = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

func isToken(s string) bool { return s != "" && strings.Trim(s, tokenBytes) == "" }

// fields reads field lines to the empty one. Names come in lower case.
func (l *lenient) fields() (fields [][2]string, err error) {
	for {
		text, err := l.line()
		if err != nil || text == "" {
			return fields, err
		}
		if text[0] == ' ' || text[0] == '\t' {
			switch {
			case l.has(FoldJoined) && len(fields) > 0:
				fields[len(fields)-1][1] += " " + strings.Trim(text, " \t")
				continue
			case l.has(FoldStripped):
				text = strings.TrimLeft(text, " \t")
			default:
				return nil, errUnreadable
			}
		}
		name, value, ok := strings.Cut(text, ":")
		if !ok {
			return nil, errUnreadable
		}
		if l.has(SpaceColon) {
			name = strings.TrimRight(name, " \t")
		}
		if l.has(LooseName) {
			name = strings.ReplaceAll(strings.Trim(name, "\x00\v\f\r \t"), "_", "-")
		}
		if !isToken(name) {
			return nil, errUnreadable
		}
		if i := strings.IndexByte(value, 0); l.has(NULEnds) && i >= 0 {
			value = value[:i]
		}
		value = strings.Trim(value, " \t")
		if l.has(LooseValue) {
			value = strings.TrimFunc(value, func(r rune) bool { return r <= ' ' || r == 0x7f || r == 0xfffd || r == 0xa0 || r == 0x85 })
		}
		fields = append(fields, [2]string{strings.ToLower(name), value})
	}
}

// body reads the body of a message with these fields. It returns the fields too, which a trailer may have become part of.
// status is empty for a request, whose body is empty where nothing announces one.
func (l *lenient) body(fields [][2]string, status string) (string, [][2]string, error) {
	lengths, codings := valuesOf(fields, "content-length"), valuesOf(fields, "transfer-encoding")
	chunked, err := l.isChunked(codings)
	if err != nil {
		return "", nil, err
	}
	if len(codings) > 0 && len(lengths) > 0 {
		switch {
		case l.has(LengthWins):
			chunked = false
		case l.has(CodingWins):
			lengths = nil
		default:
			return "", nil, errUnreadable
		}
	}
	switch {
	case chunked:
		body, trailer, err := l.chunks()
		if l.has(TrailerCounts) {
			fields = append(slices.Clip(fields), trailer...)
		}
		return body, fields, err
	case len(lengths) == 0 && status != "":
		body, err := l.take(len(l.raw) - l.at)
		return body, fields, err
	case len(lengths) == 0, l.has(IgnoredLength):
		return "", fields, nil
	}
	text := lengths[0]
	switch {
	case len(lengths) > 1 && l.has(LastLength):
		text = lengths[len(lengths)-1]
	case len(lengths) > 1 && !l.has(FirstLength):
		return "", nil, errUnreadable
	}
	if l.has(LengthPrefix) {
		text = strings.TrimLeft(text, "+ ")
		text = text[:len(text)-len(strings.TrimLeft(text, "0123456789"))]
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return "", nil, errUnreadable
	}
	body, err := l.take(int(n))
	return body, fields, err
}

func (l *lenient) isChunked(codings []string) (chunked bool, err error) {
	for _, coding := range codings {
		chunked = chunked || strings.EqualFold(coding, "chunked") ||
			l.has(LooseCoding) && strings.Contains(strings.ToLower(coding), "chunked")
		if !chunked && !l.has(LooseCoding) {
			return false, errUnreadable
		}
	}
	if len(codings) > 1 && !l.has(LooseCoding) {
		return false, errUnreadable
	}
	return chunked, nil
}

func (l *lenient) take(n int) (string, error) {
	if n > len(l.raw)-l.at {
		return "", errUnreadable
	}
	l.at += n
	return string(l.raw[l.at-n : l.at]), nil
}

// chunks reads chunks to the last one, and the trailer.
func (l *lenient) chunks() (string, [][2]string, error) {
	var body strings.Builder
	for {
		n, err := l.size()
		if err != nil {
			return "", nil, err
		}
		if n == 0 {
			trailer, err := l.fields()
			return body.String(), trailer, err
		}
		data, err := l.take(n)
		if err != nil {
			return "", nil, err
		}
		body.WriteString(data)
		if end := l.raw[l.at:]; bytes.HasPrefix(end, []byte("\r\n")) {
			l.at += 2
		} else if !l.has(LooseChunkEnd) {
			return "", nil, errUnreadable
		}
	}
}

// size reads the line in front of a chunk's data.
func (l *lenient) size() (int, error) {
	lax := l.lax
	if l.has(ExtensionLF) {
		l.lax |= BareLF
	}
	text, err := l.line()
	l.lax = lax
	if err != nil {
		return 0, err
	}
	text, _, _ = strings.Cut(text, ";") // extensions are legal
	if l.has(SizePrefix) {
		text = strings.ToLower(strings.TrimLeft(text, "+- \t"))
		if rest, ok := strings.CutPrefix(text, "0x"); ok {
			text = rest
		}
		text = text[:len(text)-len(strings.TrimLeft(text, "0123456789abcdef"))]
	}
	if l.has(SizeWraps) && strings.Trim(text, "0123456789abcdefABCDEF") == "" {
		text = text[max(0, len(text)-8):]
	}
	n, err := strconv.ParseUint(text, 16, 31)
	if err != nil || strings.Contains(text, "_") {
		return 0, errUnreadable
	}
	return int(n), nil
}
