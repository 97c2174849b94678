package codec

import (
	"bytes"
	"math/bits"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
)

// Limits bound a head, and a trailer too. A field that is 0 means its default.
type Limits struct {
	RequestLine int // bytes of the first line without its CR LF; 8192
	Bytes       int // bytes of the whole head; 65536, and at most 16 MiB
	Fields      int // field lines; 128
}

const (
	maxMethod    = 32
	maxFieldName = 1024 // far more than any in use, and far less than an exchange.Header can address
)

// WithDefaults gives the limits that are not set their defaults.
func (l Limits) WithDefaults() Limits {
	if l.RequestLine <= 0 {
		l.RequestLine = 8192
	}
	if l.Bytes <= 0 {
		l.Bytes = 65536
	}
	if l.Fields <= 0 {
		l.Fields = 128
	}
	l.Bytes = min(l.Bytes, 16<<20)
	return l
}

// worthParsing reports whether the bytes behind scanned can change what an earlier call made of buf[:scanned]. Without
// it, a client that sends a head byte by byte would have it parsed once a byte. A head is parsed again when it may be
// complete, when its first line is (which is all that HTTP/0.9 sends), when a line is wrong, when a limit is reached, and
// each time it has grown past a power of two, so that other faults are refused before they end: all in all that parses no
// byte more often than a few times.
func worthParsing(buf []byte, scanned int, lim *Limits) bool {
	if scanned <= 0 {
		return true
	}
	if scanned >= len(buf) {
		return false
	}
	if bits.Len(uint(scanned)) != bits.Len(uint(len(buf))) || len(buf) >= lim.Bytes {
		return true
	}
	// The first line may begin behind an empty one: around its limit there are up to four bytes of doubt.
	if len(buf) >= lim.RequestLine+2 && scanned < lim.RequestLine+6 {
		return true
	}
	for p := scanned; ; p++ {
		i := bytes.IndexByte(buf[p:], '\n')
		if i < 0 {
			return false
		}
		if p += i; p < 2 || buf[p-1] != '\r' || buf[p-2] == '\n' {
			return true
		}
		if bytes.IndexByte(buf[2:p], '\n') < 0 { // an empty line in front has two bytes
			return true
		}
	}
}

// headKind says whose fields are parsed.
type headKind uint8

const (
	requestHead headKind = iota
	responseHead
	trailerSection // says nothing about the message's framing: what it claims of it is dropped
)

// fieldFacts is what the fields say about their message.
type fieldFacts struct {
	length       int64 // Content-Length, -1 without
	host         []byte
	hosts        int
	expectations int
	chunked      bool // the Transfer-Encoding is chunked
	close        bool // Connection: close
	keepAlive    bool // Connection: keep-alive
	upgrade      bool // Connection: upgrade
	protocols    bool // an Upgrade field is there
}

// telling are the fields that fieldFacts is made from, by whose fields they are.
var telling = [...]uint64{
	requestHead: 1<<exchange.Host | 1<<exchange.ContentLength | 1<<exchange.TransferEncoding |
		1<<exchange.Connection | 1<<exchange.Expect | 1<<exchange.Upgrade,
	responseHead:   1<<exchange.ContentLength | 1<<exchange.TransferEncoding | 1<<exchange.Connection,
	trailerSection: 0,
}

// parseFields parses the field lines from place p of buf on to the empty line that ends them, appends them to h, whose
// base is buf, and notes in f what they say. It returns the place behind the empty line, or 0 while that is not there.
func parseFields(h *exchange.Header, f *fieldFacts, buf []byte, p int, kind headKind, maxFields int) (int, *refusal) {
	for count := 0; p < len(buf); count++ {
		if buf[p] == '\r' {
			if p+1 == len(buf) {
				return 0, nil
			}
			if buf[p+1] != '\n' {
				return 0, errBareCR
			}
			return p + 2, nil
		}
		if count == maxFields {
			return 0, errTooManyFields
		}

		name, kinds := p, uint8(0)
		for p < len(buf) {
			class := classes[buf[p]]
			if class&tokenByte == 0 {
				break
			}
			kinds |= class
			p++
		}
		nameEnd := p
		if nameEnd-name > maxFieldName {
			return 0, errNameTooLong
		}
		if p == len(buf) {
			return 0, nil
		}
		if buf[p] != ':' || nameEnd == name {
			return 0, nameError(buf[p], nameEnd == name)
		}

		p++
		for p < len(buf) && classes[buf[p]]&separatorSpace != 0 {
			p++
		}
		value := p
		p = scanValue(buf, p)
		if p == len(buf) {
			return 0, nil
		}
		if buf[p] != '\r' {
			return 0, valueError(buf[p])
		}
		if p+1 == len(buf) {
			return 0, nil
		}
		if buf[p+1] != '\n' {
			return 0, errBareCR
		}
		valueEnd := p
		for valueEnd > value && classes[buf[valueEnd-1]]&separatorSpace != 0 {
			valueEnd--
		}
		p += 2

		if kind == requestHead && kinds&underscore != 0 {
			h.MarkUnderscored() // who may have it is known when the service is
		}
		id := exchange.Lookup(buf[name:nameEnd])
		if telling[kind]>>id&1 != 0 {
			// The bytes between the colon and CR LF, for the one field that may not have all white space there is.
			if e := f.note(id, buf[value:valueEnd:valueEnd], buf[nameEnd+1:p-2]); e != nil {
				return 0, e
			}
		}
		h.Append(id, name, nameEnd-name, value, valueEnd-value)
	}
	return 0, nil
}

func nameError(c byte, empty bool) *refusal {
	switch {
	case c == '\n':
		return errBareLF
	case empty && (c == ' ' || c == '\t'):
		return errFold
	}
	return errFieldName
}

func valueError(c byte) *refusal {
	if c == '\n' {
		return errBareLF
	}
	return errFieldValue
}

// note notes one of the telling fields; raw is value with the white space around it.
func (f *fieldFacts) note(id exchange.ID, value, raw []byte) *refusal {
	switch id {
	case exchange.Host:
		f.hosts++
		f.host = value
	case exchange.ContentLength:
		if f.length >= 0 {
			return errTwoLengths
		}
		length, ok := parseLength(value)
		if !ok {
			return errLength
		}
		f.length = length
	case exchange.TransferEncoding:
		if f.chunked {
			return errTwoCodings
		}
		if e := checkCoding(value, raw); e != nil {
			return e
		}
		f.chunked = true
	case exchange.Connection:
		f.noteConnection(value)
	case exchange.Upgrade:
		f.protocols = f.protocols || len(value) > 0
	case exchange.Expect:
		f.expectations++
		if f.expectations > 1 || !exchange.EqualFold(value, "100-continue") {
			return errExpectation
		}
	}
	return nil
}

func (f *fieldFacts) noteConnection(list []byte) {
	for len(list) > 0 {
		var option []byte
		option, list = exchange.NextToken(list)
		switch len(option) {
		case len("close"):
			f.close = f.close || exchange.EqualFold(option, "close")
		case len("upgrade"):
			f.upgrade = f.upgrade || exchange.EqualFold(option, "upgrade")
		case len("keep-alive"):
			f.keepAlive = f.keepAlive || exchange.EqualFold(option, "keep-alive")
		}
	}
}

// parseLength reads a Content-Length: digits and nothing else, less than 10^18.
func parseLength(value []byte) (int64, bool) {
	if len(value) == 0 || len(value) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range value {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// checkCoding accepts chunked and nothing else, with at most one space before it and none behind: other white space is
// what the many disguises of this field are made of. Well-formed codings that are unknown get an answer of their own.
func checkCoding(value, raw []byte) *refusal {
	if exchange.EqualFold(value, "chunked") {
		if spaces := len(raw) - len(value); spaces == 0 || spaces == 1 && raw[0] == ' ' {
			return nil
		}
		return errCoding
	}
	if len(value) == 0 || value[len(value)-1] == ',' {
		return errCoding
	}
	for rest := value; len(rest) > 0; {
		var coding []byte
		coding, rest = exchange.NextToken(rest)
		chunkedEarly := len(rest) > 0 && exchange.EqualFold(coding, "chunked")
		if !isToken(coding) || chunkedEarly || exchange.EqualFold(coding, "identity") {
			return errCoding
		}
	}
	return errCodingUnknown
}

func isToken(b []byte) bool {
	for _, c := range b {
		if classes[c]&tokenByte == 0 {
			return false
		}
	}
	return len(b) > 0
}
