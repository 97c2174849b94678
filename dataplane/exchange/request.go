package exchange

// A Protocol is the version of HTTP that one side of an exchange speaks.
type Protocol uint8

// The protocols.
const (
	HTTP10 Protocol = iota + 1
	HTTP11
	HTTP2
	// TCP is no HTTP: bytes are passed on as they are. It stands in the access log alone.
	TCP
)

// String returns the protocol as metrics and logs name it.
func (p Protocol) String() string {
	switch p {
	case HTTP10:
		return "HTTP/1.0"
	case HTTP11:
		return "HTTP/1.1"
	case HTTP2:
		return "HTTP/2"
	case TCP:
		return "TCP"
	}
	return "unknown"
}

// A Method is a request method; MethodOther is any that is not listed. Its name then stands in Request.MethodName.
type Method uint8

// The methods with a meaning of their own (RFC 9110 §9.3 and RFC 5789).
const (
	MethodOther Method = iota
	GET
	HEAD
	POST
	PUT
	PATCH
	DELETE
	OPTIONS
	CONNECT
	TRACE
	MethodCount // how many there are
)

var methodNames = [MethodCount]string{"OTHER", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"}

// String returns the method's name, or OTHER.
func (m Method) String() string { return methodNames[m] }

// ParseMethod returns the method of that name. Method names are case-sensitive (RFC 9110 §9.1).
func ParseMethod[T ~string | ~[]byte](name T) Method {
	for m := GET; m < MethodCount; m++ {
		if string(name) == methodNames[m] {
			return m
		}
	}
	return MethodOther
}

// Idempotent reports whether sending the request twice has the effect of sending it once (RFC 9110 §9.2.2).
func (m Method) Idempotent() bool {
	switch m {
	case GET, HEAD, PUT, DELETE, OPTIONS, TRACE:
		return true
	}
	return false
}

// A Request is what the client asks, as it will be sent upstream: filters change it in place.
type Request struct {
	Method     Method
	Protocol   Protocol
	Upgrade    bool   // the client asks to switch protocols (Connection: upgrade with an Upgrade field)
	Close      bool   // the client's connection ends with this exchange
	Expect     bool   // the client waits for 100 Continue before it sends the body
	MethodName []byte // as it stood on the wire
	Host       []byte // the authority: of an absolute target, else of Host; empty only for HTTP/1.0 without either
	RawPath    []byte // the target's path as it stood on the wire: starts with '/', or is "*"
	Path       []byte // the normalised path: what is matched, rewritten and sent
	Query      []byte // what follows '?', without it
	HasQuery   bool   // there was a '?', perhaps with nothing behind it

	KeepSlashes bool // several slashes in a row stay in Path

	Header  Header
	Trailer Header // filled in when Body has ended

	ContentLength int64 // bytes of the body; -1 where only its end tells
	Body          Body  // nil where there is none

	sealed [][]string // names of fields that the trailer must not bring; see Seal
}

// Seal keeps fields out of the trailer, which comes when no filter can look at it any more: some endpoints read it as if its
// fields had stood in the head. Filters call it with the names that they have removed or written.
func (r *Request) Seal(names []string) {
	if len(names) > 0 {
		r.sealed = append(r.sealed, names)
	}
}

// SealTrailer removes what is sealed from the trailer. Engines call it before they send one.
func (r *Request) SealTrailer() {
	if r.Trailer.Len() == 0 {
		return
	}
	for _, names := range r.sealed {
		for _, name := range names {
			r.Trailer.delAlike(name)
		}
	}
}

// A Response is what will be sent to the client: an endpoint's, or one made here (Local).
type Response struct {
	Status   int
	Protocol Protocol
	Local    bool   // made by the proxy itself
	Close    bool   // the engine must end the client's connection behind this response
	Reason   []byte // the reason phrase; the usual one of the status where empty
	Header   Header
	Trailer  Header // filled in when Body has ended

	ContentLength int64 // bytes of the body; -1 where only its end tells. To a HEAD: what the field said, or -1
	Body          Body  // nil where there is none
	Tunnel        Tunnel
	Stream        Stream // what the response came on; nil for one made here
}

// HasBody reports whether a response of that status to that method carries a body at all (RFC 9112 §6.3).
func HasBody(m Method, status int) bool {
	return m != HEAD && status >= 200 && status != 204 && status != 304
}
