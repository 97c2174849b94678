package conformance

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
)

// A laxness is one way in which a parser that is in use somewhere reads more than it should.
type laxness uint32

const (
	bareLF        laxness = 1 << iota // LF alone ends a line
	bareCR                            // CR alone ends a line
	foldJoined                        // a folded line continues the one before it
	foldStripped                      // white space in front of a field name is dropped
	spaceColon                        // white space in front of the colon is dropped
	firstLength                       // of several Content-Length fields the first counts
	lastLength                        // the last
	lengthPrefix                      // the digits that Content-Length begins with
	lengthWins                        // over Transfer-Encoding
	codingWins                        // over Content-Length
	looseCoding                       // any Transfer-Encoding with the word chunked in it
	looseName                         // '_' is '-', and control characters around names are dropped
	sizePrefix                        // the hexadecimal digits that a chunk size begins with, behind 0x or a sign too
	looseChunkEnd                     // no CR LF behind the data of a chunk
	extensionLF                       // LF alone ends a chunk's size line
	nulEnds                           // NUL ends a value
	spaces                            // any white space parts the request line
	oldVersions                       // any version
	ignoredLength                     // Content-Length is not looked at: there is no body (CL.0)
	lastHost                          // the last of several Host fields counts
	laxnessCount  = iota
)

var laxnessNames = [laxnessCount]string{
	"bare LF", "bare CR", "obs-fold joined", "obs-fold stripped", "space before colon", "first CL", "last CL", "CL prefix",
	"CL wins", "TE wins", "loose TE", "loose names", "size prefix", "no CRLF behind a chunk", "LF ends a size line",
	"NUL ends values", "spaces", "any version", "CL ignored", "last Host",
}

func (l laxness) String() string {
	var names []string
	for i, name := range laxnessNames {
		if l&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, " + ")
}

// A reading is what one reader makes of a request. Two readers who make the same of it cannot be played off against
// each other.
type reading struct {
	method, target, host string
	body                 string
	length               int // bytes of the whole request
}

var errUnreadable = errors.New("not a request")

// lenient is a reader with some laxnesses. It reads one request from the start of raw.
type lenient struct {
	laxness
	raw []byte
	at  int
}

func read(raw []byte, lax laxness) (reading, error) {
	l := &lenient{laxness: lax, raw: raw}
	return l.request()
}

func (l *lenient) has(lax laxness) bool { return l.laxness&lax != 0 }

// line returns the next line without its end.
func (l *lenient) line() (string, error) {
	rest := l.raw[l.at:]
	end, size := bytes.Index(rest, []byte("\r\n")), 2
	if i := bytes.IndexByte(rest, '\n'); l.has(bareLF) && i >= 0 && (end < 0 || i < end) {
		end, size = i, 1
	}
	if i := bytes.IndexByte(rest, '\r'); l.has(bareCR) && i >= 0 && (end < 0 || i < end) {
		end, size = i, 1
	}
	if end < 0 {
		return "", errUnreadable
	}
	l.at += end + size
	return string(rest[:end]), nil
}

func (l *lenient) request() (r reading, err error) {
	first, err := l.line()
	if err != nil {
		return r, err
	}
	parts := strings.Split(first, " ")
	if l.has(spaces) {
		parts = strings.Fields(first)
	}
	if len(parts) != 3 || parts[2] != "HTTP/1.1" && !l.has(oldVersions) {
		return r, errUnreadable
	}
	r.method, r.target = parts[0], parts[1]
	fields, err := l.fields()
	if err != nil {
		return r, err
	}
	var hosts, lengths, codings []string
	for _, f := range fields {
		switch strings.ToLower(f[0]) {
		case "host":
			hosts = append(hosts, f[1])
		case "content-length":
			lengths = append(lengths, f[1])
		case "transfer-encoding":
			codings = append(codings, f[1])
		}
	}
	if len(hosts) == 0 || len(hosts) > 1 && !l.has(lastHost) {
		return r, errUnreadable
	}
	r.host = hosts[len(hosts)-1]
	body, err := l.body(lengths, codings)
	r.body, r.length = body, l.at
	return r, err
}

func (l *lenient) fields() (fields [][2]string, err error) {
	for {
		text, err := l.line()
		if err != nil || text == "" {
			return fields, err
		}
		if text[0] == ' ' || text[0] == '\t' {
			switch {
			case l.has(foldJoined) && len(fields) > 0:
				fields[len(fields)-1][1] += " " + strings.Trim(text, " \t")
				continue
			case l.has(foldStripped):
				text = strings.TrimLeft(text, " \t")
			default:
				return nil, errUnreadable
			}
		}
		name, value, ok := strings.Cut(text, ":")
		if !ok {
			return nil, errUnreadable
		}
		if l.has(spaceColon) {
			name = strings.TrimRight(name, " \t")
		}
		if l.has(looseName) {
			name = strings.ReplaceAll(strings.Trim(name, "\x00\v\f\r \t"), "_", "-")
		}
		if !isToken(name) {
			return nil, errUnreadable
		}
		if i := strings.IndexByte(value, 0); l.has(nulEnds) && i >= 0 {
			value = value[:i]
		}
		fields = append(fields, [2]string{name, strings.Trim(value, " \t")})
	}
}

func (l *lenient) body(lengths, codings []string) (string, error) {
	chunked := false
	for _, coding := range codings {
		chunked = chunked || strings.EqualFold(coding, "chunked") ||
			l.has(looseCoding) && strings.Contains(strings.ToLower(coding), "chunked")
		if !chunked && !l.has(looseCoding) {
			return "", errUnreadable
		}
	}
	if len(codings) > 1 && !l.has(looseCoding) {
		return "", errUnreadable
	}
	if len(codings) > 0 && len(lengths) > 0 {
		switch {
		case l.has(lengthWins):
			chunked = false
		case l.has(codingWins):
			lengths = nil
		default:
			return "", errUnreadable
		}
	}
	switch {
	case chunked:
		return l.chunks()
	case len(lengths) == 0, l.has(ignoredLength):
		return "", nil
	}
	text := lengths[0]
	switch {
	case len(lengths) > 1 && l.has(lastLength):
		text = lengths[len(lengths)-1]
	case len(lengths) > 1 && !l.has(firstLength):
		return "", errUnreadable
	}
	if l.has(lengthPrefix) {
		text = strings.TrimLeft(text, "+ ")
		text = text[:len(text)-len(strings.TrimLeft(text, "0123456789"))]
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return "", errUnreadable
	}
	return l.take(int(n))
}

func (l *lenient) take(n int) (string, error) {
	if n > len(l.raw)-l.at {
		return "", errUnreadable
	}
	l.at += n
	return string(l.raw[l.at-n : l.at]), nil
}

func (l *lenient) chunks() (string, error) {
	var body strings.Builder
	for {
		lax := l.laxness
		if l.has(extensionLF) {
			l.laxness |= bareLF
		}
		text, err := l.line()
		l.laxness = lax
		if err != nil {
			return "", err
		}
		text, _, _ = strings.Cut(text, ";") // extensions are legal
		if l.has(sizePrefix) {
			text = strings.ToLower(strings.TrimLeft(text, "+- \t"))
			if rest, ok := strings.CutPrefix(text, "0x"); ok {
				text = rest
			}
			text = text[:len(text)-len(strings.TrimLeft(text, "0123456789abcdef"))]
		}
		n, err := strconv.ParseUint(text, 16, 31)
		if err != nil || strings.Contains(text, "_") {
			return "", errUnreadable
		}
		if n == 0 {
			_, err := l.fields()
			return body.String(), err
		}
		data, err := l.take(int(n))
		if err != nil {
			return "", err
		}
		body.WriteString(data)
		if end := l.raw[l.at:]; bytes.HasPrefix(end, []byte("\r\n")) {
			l.at += 2
		} else if !l.has(looseChunkEnd) {
			return "", errUnreadable
		}
	}
}
