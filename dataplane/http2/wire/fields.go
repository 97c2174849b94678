package wire

import (
	"strconv"

	"golang.org/x/net/http2/hpack"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/http1/codec"
)

// Kind says what the fields of a header block belong to.
type Kind uint8

// The kinds.
const (
	RequestHead Kind = iota
	ResponseHead
	RequestTrailer
	ResponseTrailer
)

func (k Kind) trailer() bool { return k >= RequestTrailer }

func (k Kind) response() bool { return k == ResponseHead || k == ResponseTrailer }

// The pseudo-header fields.
const (
	method = iota
	scheme
	authority
	path
	protocol
	status
	pseudoCount
)

// A place is one field in Fields.buf: the value lies right behind the name.
type place struct {
	at       int
	valueLen int
	nameLen  int
	id       exchange.ID
}

// fieldOverhead is what each field counts besides its name and its value (RFC 9113 §6.5.2). It is about what one costs in
// memory here.
const fieldOverhead = 32

// Fields collects the fields of one header block, and judges them. Names and values lie behind each other in one buffer,
// which becomes the base of an exchange.Header: they live until the next Reset.
//
// The first fault is kept, and the rest of the block is not looked at: it is decoded all the same, for the sake of the
// blocks that follow.
type Fields struct {
	kind   Kind
	limits codec.Limits
	buf    []byte
	places []place
	pseudo [pseudoCount][2]int // where a value begins and ends
	have   uint8               // a bit for each pseudo-header field
	size   int                 // as RFC 9113 §6.5.2 counts it
	count  int

	regular      bool // an ordinary field was there
	underscored  bool // the name of one has an underscore
	hosts        int
	host         [2]int
	length       int64
	expectations int
	cookies      int
	fault        *refusal
}

// Reset makes f ready for a header block.
func (f *Fields) Reset(kind Kind, limits codec.Limits) {
	*f = Fields{kind: kind, limits: limits.WithDefaults(), buf: f.buf[:0], places: f.places[:0], length: -1}
}

// Size is how large the fields are, as SETTINGS_MAX_HEADER_LIST_SIZE counts.
func (f *Fields) Size() int { return f.size }

// Memory is how many bytes the fields occupy, whatever they say.
func (f *Fields) Memory() int { return cap(f.buf) + cap(f.places)*fieldOverhead }

// Fault returns what was wrong with the fields, if anything was.
func (f *Fields) Fault() *Fault {
	switch {
	case f.fault == nil:
		return nil
	case f.kind.response():
		return &f.fault.response
	}
	return &f.fault.request
}

// add takes one field. It returns false where the rest is not wanted.
func (f *Fields) add(h hpack.HeaderField) bool {
	if f.fault == nil {
		f.fault = f.take(h)
	}
	return f.fault == nil
}

func (f *Fields) take(h hpack.HeaderField) *refusal {
	f.count++
	f.size += len(h.Name) + len(h.Value) + fieldOverhead
	switch {
	case f.size > f.limits.Bytes:
		return errTooLarge
	case f.count > f.limits.Fields+pseudoCount:
		return errTooMany
	case len(h.Name) > codec.MaxFieldName:
		return errNameTooLong
	case !codec.ValidValue(h.Value):
		return errValue
	case len(h.Name) > 0 && h.Name[0] == ':':
		return f.takePseudo(h.Name, h.Value)
	}
	f.regular = true
	ok, underscored := codec.ValidName(h.Name)
	if !ok || hasUpper(h.Name) {
		return errName
	}
	if underscored && f.kind == RequestTrailer {
		return nil // as over HTTP/1.1: an origin may take it for another's
	}
	f.underscored = f.underscored || underscored
	id := exchange.Lookup(h.Name)
	if f.kind.trailer() {
		return f.takeTrailer(id, h)
	}
	p := place{at: len(f.buf), nameLen: len(h.Name), valueLen: len(h.Value), id: id}
	f.buf = append(append(f.buf, h.Name...), h.Value...)
	if e := f.note(&p); e != nil {
		return e
	}
	f.places = append(f.places, p)
	return nil
}

// takeTrailer keeps what may come behind a body, and drops the rest.
func (f *Fields) takeTrailer(id exchange.ID, h hpack.HeaderField) *refusal {
	switch id {
	case exchange.Connection, exchange.KeepAlive, exchange.ProxyConnection, exchange.TransferEncoding, exchange.Upgrade:
		return errConnection
	}
	at := len(f.buf)
	f.buf = append(f.buf, h.Name...)
	if !codec.AllowedInTrailer(id, f.buf[at:]) {
		f.buf = f.buf[:at]
		return nil
	}
	f.buf = append(f.buf, h.Value...)
	f.places = append(f.places, place{at: at, nameLen: len(h.Name), valueLen: len(h.Value), id: id})
	return nil
}

// note notes what one field says of its message, and refuses those that HTTP/2 does not have (RFC 9113 §8.2.2).
func (f *Fields) note(p *place) *refusal {
	value := f.buf[p.at+p.nameLen:]
	switch p.id {
	case exchange.Connection, exchange.KeepAlive, exchange.ProxyConnection, exchange.TransferEncoding, exchange.Upgrade:
		return errConnection
	case exchange.TE:
		if string(value) != "trailers" && !f.kind.response() {
			return errTE
		}
	case exchange.Host:
		if f.hosts++; f.hosts > 1 {
			return errTwoHosts
		}
		f.host = [2]int{p.at + p.nameLen, len(f.buf)}
	case exchange.ContentLength:
		if f.length >= 0 {
			return errTwoLengths
		}
		length, ok := codec.ParseLength(value)
		if !ok {
			return errLength
		}
		f.length = length
	case exchange.Cookie:
		f.cookies++
	case exchange.Expect:
		if f.kind.response() {
			break
		}
		if f.expectations++; f.expectations > 1 || !exchange.EqualFold(value, "100-continue") {
			return errExpectation
		}
	}
	return nil
}

func (f *Fields) takePseudo(name, value string) *refusal {
	var which int
	switch name {
	case ":method":
		which = method
	case ":scheme":
		which = scheme
	case ":authority":
		which = authority
	case ":path":
		which = path
	case ":protocol":
		which = protocol
	case ":status":
		which = status
	default:
		return errPseudo
	}
	switch {
	case f.kind.trailer():
		return errPseudoTrailer
	case (which == status) != (f.kind == ResponseHead):
		return errPseudo
	case f.regular:
		return errPseudoLate
	case f.have>>which&1 != 0:
		return errPseudoTwice
	}
	f.have |= 1 << which
	at := len(f.buf)
	f.buf = append(f.buf, value...)
	f.pseudo[which] = [2]int{at, len(f.buf)}
	return nil
}

// value returns a pseudo-header field's; empty where it is not there.
func (f *Fields) value(which int) []byte { return f.span(f.pseudo[which]) }

func (f *Fields) span(s [2]int) []byte { return f.buf[s[0]:s[1]:s[1]] }

func hasUpper(s string) bool {
	for i := 0; i < len(s); i++ {
		if 'A' <= s[i] && s[i] <= 'Z' {
			return true
		}
	}
	return false
}

// Request fills in r with what the fields say; ended says that the stream ended with them. r's slices lie in f. Protocol
// returns the :protocol of an extended CONNECT, which is empty otherwise.
//
// Where there is a Fault, as much of r is filled in as was understood.
func (f *Fields) Request(r *exchange.Request, ended bool) *Fault {
	r.Protocol = exchange.HTTP2
	fault := f.fault
	if e := f.target(r); fault == nil {
		fault = e
	}
	f.header(&r.Header)
	if fault == nil {
		fault = f.settle(r, ended)
	}
	if fault != nil {
		return &fault.request
	}
	return nil
}

// Protocol is the :protocol of an extended CONNECT (RFC 8441); it is empty otherwise.
func (f *Fields) Protocol() []byte { return f.value(protocol) }

// target reads the pseudo-header fields of a request (RFC 9113 §8.3.1). It goes on behind a fault, so that the log says
// what was asked for.
func (f *Fields) target(r *exchange.Request) (fault *refusal) {
	note := func(e *refusal) {
		if fault == nil {
			fault = e
		}
	}
	r.Host, r.RawPath, r.Path, r.Query, r.HasQuery = nil, nil, nil, nil, false
	if name := f.value(method); codec.ValidMethod(name) {
		r.MethodName, r.Method = name, exchange.ParseMethod(name)
	} else {
		note(errMethod)
	}
	host, extended := f.value(authority), f.have>>protocol&1 != 0
	switch {
	case r.Method == exchange.CONNECT && !extended:
		if f.have != 1<<method|1<<authority {
			note(errConnect)
		}
	case f.have&^(1<<authority|1<<protocol) != 1<<method|1<<scheme|1<<path:
		note(errIncomplete)
	case extended && (r.Method != exchange.CONNECT || f.have>>authority&1 == 0):
		note(errProtocol)
	}
	if f.have>>authority&1 == 0 {
		host = f.span(f.host)
	} else if f.hosts > 0 && !exchange.EqualFold(host, f.span(f.host)) {
		note(errMismatch)
	}
	if codec.ValidAuthority(host) {
		r.Host = host
	} else {
		note(errAuthority)
	}
	if f.have>>scheme&1 != 0 {
		if s := f.value(scheme); !exchange.EqualFold(s, "http") && !exchange.EqualFold(s, "https") {
			note(errScheme)
		}
	}
	if f.have>>path&1 == 0 {
		return fault
	}
	target := f.value(path)
	if len(target) > f.limits.RequestLine {
		note(errURITooLong)
		return fault
	}
	p, query, hasQuery, ok := codec.SplitTarget(target)
	if !ok || len(p) == 1 && p[0] == '*' && r.Method != exchange.OPTIONS {
		note(errPath)
		return fault
	}
	r.RawPath, r.Query, r.HasQuery = p, query, hasQuery
	return fault
}

// settle checks what a request's fields say together.
func (f *Fields) settle(r *exchange.Request, ended bool) *refusal {
	if ended && f.length > 0 {
		return errEnded
	}
	r.ContentLength = f.length
	if ended {
		r.ContentLength = 0
	}
	r.Expect = f.expectations > 0 && r.ContentLength != 0
	if f.expectations > 0 && !r.Expect {
		r.Header.DelID(exchange.Expect)
	}
	return nil
}

// Response fills in r with what the fields of a response to method say; ended says that the stream ended with them. r's
// slices lie in f.
func (f *Fields) Response(r *exchange.Response, m exchange.Method, ended bool) *Fault {
	fault := f.fault
	r.Protocol, r.Reason = exchange.HTTP2, nil
	code, err := strconv.Atoi(string(f.value(status)))
	if fault == nil && (err != nil || len(f.value(status)) != 3 || code < 100 || code > 599 || code == 101) {
		fault = errStatus
	}
	r.Status = code
	hasBody := exchange.HasBody(m, code) && code >= 200
	if fault == nil && ended && f.length > 0 && hasBody {
		fault = errEnded
	}
	f.header(&r.Header)
	r.ContentLength = f.length
	if ended && hasBody {
		r.ContentLength = 0
	}
	if fault != nil {
		return &fault.response
	}
	return nil
}

// header gives h the ordinary fields, in their order; crumbs of Cookie become one (RFC 9113 §8.2.3).
func (f *Fields) header(h *exchange.Header) {
	crumbs := f.cookies > 1 && !f.kind.response()
	cookie := place{id: exchange.Cookie, nameLen: len("cookie")}
	if crumbs {
		cookie.at = len(f.buf)
		f.buf = append(f.buf, "cookie"...)
		first := true
		for i := range f.places {
			p := &f.places[i]
			if p.id != exchange.Cookie {
				continue
			}
			if !first {
				f.buf = append(f.buf, "; "...)
			}
			first = false
			f.buf = append(f.buf, f.buf[p.at+p.nameLen:p.at+p.nameLen+p.valueLen]...)
		}
		cookie.valueLen = len(f.buf) - cookie.at - cookie.nameLen
	}
	h.Reset(f.buf)
	if f.underscored && f.kind == RequestHead {
		h.MarkUnderscored() // who may have it is known when the service is
	}
	for i := range f.places {
		p := &f.places[i]
		if crumbs && p.id == exchange.Cookie {
			if cookie.at == 0 {
				continue
			}
			c := cookie
			cookie.at = 0
			p = &c
		}
		h.Append(p.id, p.at, p.nameLen, p.at+p.nameLen, p.valueLen)
	}
}

// Trailer adds the fields of a trailer to h, which owns its copies of them.
func (f *Fields) Trailer(h *exchange.Header) {
	for i := range f.places {
		p := &f.places[i]
		h.AddBytes(f.buf[p.at:p.at+p.nameLen], f.buf[p.at+p.nameLen:p.at+p.nameLen+p.valueLen])
	}
}
