package forward

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/pingora-proxy/pingora-proxy/dataplane/exchange"
	"github.com/pingora-proxy/pingora-proxy/dataplane/filter"
)

// maxBody is how much of the service's answer is passed on, in bytes.
const maxBody = 64 << 10

type forward struct {
	filter.Nop
	log      logr.Logger
	send     func(cluster string, x *exchange.Exchange, timeout time.Duration) error
	cluster  string
	timeout  time.Duration
	request  []string
	response []string
	host     []byte
	path     []byte
	query    []byte
	hasQuery bool

	questions sync.Pool // of *exchange.Exchange

	// Cookies that the service sets while it lets a request pass wait here for the response.
	cookies sync.Map // of [][]byte, by *exchange.Exchange
	waiting atomic.Int64
}

// Request implements filter.Filter.
func (f *forward) Request(x *exchange.Exchange) filter.Verdict {
	f.forget(x)
	h := &x.Request.Header
	if first := h.Next(exchange.Authorization, 0); first >= 0 && h.Next(exchange.Authorization, first+1) >= 0 {
		x.Answer(400, exchange.BadRequest) // the service and the endpoint may believe different ones
		return filter.Respond
	}
	if f.send == nil {
		return filter.Unavailable(x)
	}
	x.Leave()
	q, _ := f.questions.Get().(*exchange.Exchange)
	if q == nil {
		q = &exchange.Exchange{}
	}
	defer func() {
		q.Reset() // gives the connection back
		q.Conn, q.Downstream = nil, nil
		f.questions.Put(q)
	}()
	q.Reset()
	f.ask(q, x)
	begun := time.Now()
	if err := f.send(f.cluster, q, f.timeout); err != nil {
		var failure *exchange.Failure
		if errors.As(err, &failure) {
			f.log.V(1).Info("the authentication service has not answered", "reason", failure.Reason, "request_id", string(x.RequestID))
		}
		return filter.Unavailable(x)
	}
	body, whole, err := read(q.Response.Body, begun.Add(f.timeout))
	switch status := q.Response.Status; {
	case status >= 200 && status <= 299: // whatever becomes of the body
		f.pass(x, &q.Response.Header)
		return filter.Continue
	case status < 200 || status == 304 || err != nil:
		return filter.Unavailable(x)
	default:
		deny(x, &q.Response, body, whole)
		return filter.Respond
	}
}

// ask makes the request to the service.
func (f *forward) ask(q, x *exchange.Exchange) {
	from := &x.Request.Header
	r := &q.Request
	r.Method, r.MethodName, r.Protocol = exchange.GET, []byte("GET"), exchange.HTTP11
	r.Host, r.Path, r.RawPath, r.Query, r.HasQuery = f.host, f.path, f.path, f.query, f.hasQuery
	q.Conn, q.ClientIP, q.ClientTrusted, q.RequestID = x.Conn, x.ClientIP, x.ClientTrusted, x.RequestID
	h := &r.Header
	copyAll(h, from, exchange.Authorization)
	copyCookies(h, from)
	for _, name := range f.request {
		if id := exchange.Lookup(name); id != exchange.Authorization && id != exchange.Cookie {
			copyField(h, from, name)
		}
	}
	// What says who asks for what is ours, also where one of these is named in the configuration.
	for _, name := range [...]string{"X-Forwarded-Method", "X-Forwarded-Uri", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"} {
		filter.RemoveField(h, name)
	}
	h.DelID(exchange.XRequestID)
	method := x.Request.Method.String()
	if len(x.Request.MethodName) > 0 {
		method = string(x.Request.MethodName)
	}
	h.Add("X-Forwarded-Method", method)
	uri := append([]byte(nil), x.Request.Path...) // as it is matched and forwarded: the service judges what will be done
	if x.Request.HasQuery {
		uri = append(append(uri, '?'), x.Request.Query...)
	}
	h.AddID(exchange.XForwardedURI, uri)
	for _, id := range [...]exchange.ID{exchange.XForwardedFor, exchange.XForwardedProto, exchange.XForwardedHost, exchange.XRequestID} {
		copyAll(h, from, id)
	}
}

func copyAll(to, from *exchange.Header, id exchange.ID) {
	for i := from.Next(id, 0); i >= 0; i = from.Next(id, i+1) {
		_, _, value, _ := from.At(i)
		to.AddID(id, value)
	}
}

// copyCookies makes one field of all (RFC 9113 §8.2.3).
func copyCookies(to, from *exchange.Header) {
	var all []byte
	for i := from.Next(exchange.Cookie, 0); i >= 0; i = from.Next(exchange.Cookie, i+1) {
		_, _, value, _ := from.At(i)
		if len(all) > 0 {
			all = append(all, "; "...)
		}
		all = append(all, value...)
	}
	if len(all) > 0 {
		to.AddID(exchange.Cookie, all)
	}
}

// copyField copies all fields of a name.
func copyField(to, from *exchange.Header, name string) {
	for i := range from.Len() {
		if _, other, value, ok := from.At(i); ok && exchange.EqualFold(other, name) {
			to.AddBytes([]byte(name), value)
		}
	}
}

// pass tells the endpoint what the service says, and keeps its cookies for the client.
func (f *forward) pass(x *exchange.Exchange, answer *exchange.Header) {
	h := &x.Request.Header
	for _, name := range f.response {
		filter.RemoveField(h, name)
	}
	x.Request.Seal(f.response)
	for _, name := range f.response {
		copyField(h, answer, name)
	}
	var cookies [][]byte
	for i := answer.Next(exchange.SetCookie, 0); i >= 0; i = answer.Next(exchange.SetCookie, i+1) {
		_, _, value, _ := answer.At(i)
		cookies = append(cookies, bytes.Clone(value))
	}
	if len(cookies) > 0 {
		f.cookies.Store(x, cookies)
		f.waiting.Add(1)
	}
}

// Response implements filter.Filter.
func (f *forward) Response(x *exchange.Exchange) {
	if f.waiting.Load() == 0 {
		return
	}
	if cookies, ok := f.cookies.Load(x); ok {
		for _, value := range cookies.([][]byte) {
			x.Response.Header.AddID(exchange.SetCookie, value)
		}
	}
}

// Done implements filter.Filter.
func (f *forward) Done(x *exchange.Exchange) { f.forget(x) }

// forget forgets the cookies of an exchange: those of one that a panic has ended must not come to the next one.
func (f *forward) forget(x *exchange.Exchange) {
	if f.waiting.Load() == 0 {
		return
	}
	if _, there := f.cookies.LoadAndDelete(x); there {
		f.waiting.Add(-1)
	}
}

// read reads a body. whole is false where it is longer than what is passed on.
func read(b exchange.Body, until time.Time) (body []byte, whole bool, err error) {
	if b == nil || b.Ended() {
		return nil, true, nil
	}
	buffer := make([]byte, 0, 4096)
	for {
		if len(buffer) == cap(buffer) {
			buffer = append(buffer, 0)[:len(buffer)]
		}
		n, err := b.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		switch {
		case len(buffer) > maxBody:
			return nil, false, nil
		case errors.Is(err, io.EOF):
			return buffer, true, nil
		case err != nil:
			return nil, false, err
		case time.Now().After(until):
			return nil, false, errors.New("the answer took too long")
		}
	}
}

// deny passes the service's answer to the client. Where its body is too long, it is the proxy's own.
func deny(x *exchange.Exchange, answer *exchange.Response, body []byte, whole bool) {
	if whole {
		x.ResetResponse()
		x.Record.Reason = exchange.AuthDenied
		x.Response.Status, x.Response.Local, x.Response.Protocol = answer.Status, true, exchange.HTTP11
		if len(body) > 0 {
			x.AnswerBody(string(answer.Header.Value(exchange.ContentType)), body)
			if !answer.Header.Has(exchange.ContentType) {
				x.Response.Header.DelID(exchange.ContentType)
			}
			for _, name := range [...]string{"Content-Encoding", "Content-Language"} {
				copyField(&x.Response.Header, &answer.Header, name)
			}
		}
		copyField(&x.Response.Header, &answer.Header, "Cache-Control")
		if _, there := x.Response.Header.Get("Cache-Control"); !there {
			x.Response.Header.Add("Cache-Control", "no-store")
		}
	} else {
		x.Answer(answer.Status, exchange.AuthDenied)
	}
	for _, name := range [...]string{"Location", "WWW-Authenticate", "Set-Cookie", "Retry-After"} {
		copyField(&x.Response.Header, &answer.Header, name)
	}
}
